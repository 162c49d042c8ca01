from __future__ import annotations

import pytest

from strongroom.kms import KeyringFileError, LocalProvider
from strongroom.kms.providers.local import keyring_file
from tests.support.kms.keyring_files import CONTEXT, OTHER_PASSPHRASE, PASSPHRASE, ROOT, change_document, refused


@pytest.mark.usefixtures("cheap_scrypt")
async def test_passphrase_protects_the_keys(path):
    """A keyring with a passphrase opens with it, and holds no key in plaintext."""
    made = LocalProvider("local", path, passphrase=PASSPHRASE)
    await made.create_keyring()
    kek = await made.create_kek("a")
    wrapped = await made.wrap(kek, ROOT, context=CONTEXT)
    again = LocalProvider("local", path, passphrase=PASSPHRASE)
    assert (await again.unwrap(wrapped, context=CONTEXT)).reveal() == ROOT.reveal()
    clear = keyring_file.read_keyring(path, PASSPHRASE).keks["a"].versions[1].reveal()
    assert keyring_file._b64(clear) not in path.read_text()
    assert PASSPHRASE not in path.read_text()


@pytest.mark.usefixtures("cheap_scrypt")
@pytest.mark.parametrize("passphrase", [OTHER_PASSPHRASE, PASSPHRASE + " ", PASSPHRASE.upper()])
async def test_wrong_passphrase_is_refused(path, passphrase):
    """A wrong passphrase is refused with a message that distinguishes it from damage, and nothing is written under it."""
    made = LocalProvider("local", path, passphrase=PASSPHRASE)
    await made.create_keyring()
    await made.create_kek("a")
    before = path.read_bytes()
    await refused(path, "passphrase does not open", passphrase)
    with pytest.raises(KeyringFileError, match="passphrase does not open"):
        await LocalProvider("local", path, passphrase=passphrase).create_kek("b")
    assert path.read_bytes() == before


@pytest.mark.usefixtures("cheap_scrypt")
async def test_wrong_passphrase_is_refused_by_an_empty_keyring(path):
    """A keyring without KEKs also refuses a wrong passphrase."""
    await LocalProvider("local", path, passphrase=PASSPHRASE).create_keyring()
    with pytest.raises(KeyringFileError):
        await LocalProvider("local", path, passphrase=OTHER_PASSPHRASE).create_kek("a")


@pytest.mark.usefixtures("cheap_scrypt")
@pytest.mark.parametrize("passphrase", [None, ""])
async def test_missing_passphrase_is_refused(path, passphrase):
    """A keyring with a passphrase is refused if no passphrase is configured, and the message says so."""
    made = LocalProvider("local", path, passphrase=PASSPHRASE)
    await made.create_keyring()
    await made.create_kek("a")
    await refused(path, "none is configured", passphrase)


@pytest.mark.usefixtures("local_provider", "cheap_scrypt")
async def test_clear_file_is_refused_where_a_passphrase_is_given(path):
    """A keyring without protection is refused if a passphrase is configured."""
    await refused(path, "passphrase", PASSPHRASE)


@pytest.mark.usefixtures("cheap_scrypt")
async def test_keys_of_a_protected_file_do_not_change_places(path):
    """A sealed key that was copied to another KEK or version in the file does not open there."""
    made = LocalProvider("local", path, passphrase=PASSPHRASE)
    await made.create_keyring()
    for key_id in ("a", "b"):
        await made.create_kek(key_id)
    content = path.read_bytes()

    def other_kek(document):
        document["keks"]["b"]["1"] = document["keks"]["a"]["1"]

    def other_version(document):
        document["keks"]["a"]["2"] = document["keks"]["a"]["1"]

    for change in (other_kek, other_version):
        path.write_bytes(content)
        change_document(path, change)
        await refused(path, "altered", PASSPHRASE)
