from __future__ import annotations

import asyncio

import pytest

from strongroom.kms import LocalProvider
from tests.support.kms.keyring_files import PASSPHRASE, change_document, refused


@pytest.mark.parametrize("passphrase", [None, PASSPHRASE])
@pytest.mark.usefixtures("cheap_scrypt")
async def test_truncated_file_is_refused(path, passphrase):
    """A keyring that was truncated anywhere is refused as damaged, and is never read as a keyring with fewer keys."""
    made = LocalProvider("local", path, passphrase=passphrase)
    await made.create_keyring()
    for key_id in ("a", "b", "c"):
        await made.create_kek(key_id)
    content = path.read_bytes()
    cuts = {*range(0, len(content), 50), len(content) - 1}
    for cut in sorted(cuts):
        path.write_bytes(content[:cut])
        await refused(path, "damaged", passphrase)


@pytest.mark.usefixtures("local_provider")
@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\x00" * 100,
        b"\xff\xfe\x00",
        b"null",
        b"[]",
        b"{}",
        b"7",
        b'"text"',
        b"{" * 5000,
        b"[" * 100_000,
        b'{"format": "strongroom-keyring/1"}',
        b'{"format": "strongroom-keyring/2", "protection": null, "keks": {}}',
        b'{"format": [], "protection": null, "keks": {}}',
        b'{"format": "strongroom-keyring/1", "protection": null, "keks": []}',
        b'{"format": "strongroom-keyring/1", "protection": null, "keks": null}',
        b'{"format": "strongroom-keyring/1", "protection": null, "keks": {"a": {}}}',
        b'{"format": "strongroom-keyring/1", "protection": null, "keks": {"a": []}}',
        b'{"format": "strongroom-keyring/1", "protection": null, "keks": {"a": {"1": "key"}}}',
        b'{"format": "strongroom-keyring/1", "protection": null, "keks": {"a": {"1": {}}}}',
        b'{"format": "strongroom-keyring/1", "protection": false, "keks": {}}',
        b'{"format": "strongroom-keyring/1", "protection": [], "keks": {}}',
        b'{"format": "strongroom-keyring/1", "protection": {}, "keks": {}}',
        b'{"format": "strongroom-keyring/1", "protection": {"kdf": "argon2id"}, "keks": {}}',
    ],
)
async def test_garbage_is_refused(path, content):
    """Content that is not a keyring of this format is refused as damaged, and no parser error escapes."""
    path.write_bytes(content)
    await refused(path, "damaged")


@pytest.mark.usefixtures("local_provider")
@pytest.mark.parametrize(
    "entry",
    [
        {"key": None},
        {"key": 7},
        {"key": ""},
        {"key": "AAAA"},
        {"key": "not base64!"},
        {"key": "é"},
        {"key": "A" * 64},
        {"created": "2026-11-23"},
        {"key": []},
    ],
)
async def test_entry_of_wrong_type_is_refused(path, entry):
    """A key that is not 32 bytes of base64 is refused as damaged."""
    change_document(path, lambda document: document["keks"].update(a={"1": {"created": "then", **entry}}))
    await refused(path, "damaged")


@pytest.mark.usefixtures("local_provider")
@pytest.mark.parametrize("number", ["0", "-1", "x", "1.0", "", "9" * 5000])
async def test_version_that_is_no_number_is_refused(path, number):
    """A version that is not a positive number is refused as damaged."""
    change_document(path, lambda document: document["keks"].update(a={number: document["keks"]["a"]["1"]}))
    await refused(path, "damaged")


@pytest.mark.parametrize(
    "cost",
    [
        {"n": 2**30},
        {"r": 2**20},
        {"p": 2**20},
        {"n": 0},
        {"n": -1},
        {"n": 3},
        {"n": "many"},
        {"n": None},
        {"n": float("nan")},
        {"p": 10**400},
        {"salt": 7},
        {"salt": "!"},
        {"kdf": "pbkdf2"},
    ],
    ids=str,
)
@pytest.mark.usefixtures("cheap_scrypt")
async def test_cost_that_no_keyring_asks_for_is_refused(path, cost):
    """A file can't make its reader spend gigabytes or minutes on scrypt, or fail with another error."""
    made = LocalProvider("local", path, passphrase=PASSPHRASE)
    await made.create_keyring()
    await made.create_kek("a")
    change_document(path, lambda document: document["protection"].update(cost))
    await asyncio.wait_for(refused(path, "damaged", PASSPHRASE), 60)


@pytest.mark.usefixtures("cheap_scrypt")
async def test_infinite_cost_is_refused(path):
    """An infinite cost is refused as damaged."""
    made = LocalProvider("local", path, passphrase=PASSPHRASE)
    await made.create_keyring()
    change_document(path, lambda document: document["protection"].update(n=float("inf")))
    await refused(path, "damaged", PASSPHRASE)


@pytest.mark.usefixtures("local_provider")
@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("id", 7),
        ("id", "0c0c"),
        ("id", None),
        ("lineage", []),
        ("lineage", "0123456789abcdef"),
        ("lineage", ["x"]),
        ("lineage", [7]),
        ("lineage", None),
        ("deleted", []),
        ("deleted", {"a": []}),
        ("deleted", {"a": {"x": "2026-01-01"}}),
    ],
)
async def test_damaged_identity_is_refused(path, name, value):
    """A keyring whose id, changes or deletions can't be read is damaged. It is never read as a keyring without them."""
    change_document(path, lambda document: document.update({name: value}))
    await refused(path, "damaged")
    change_document(path, lambda document: document.pop(name))
    await refused(path, "damaged")
