from __future__ import annotations

import asyncio
import dataclasses
import errno
import json
import os
import stat
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from strongroom.kms import (
    IntegrityError,
    InvalidRequest,
    KekRef,
    KeyNotFound,
    KeyringFileError,
    KmsError,
    LocalProvider,
    Secret,
    Wrapped,
)
from strongroom.kms.providers.local import keyring_file, local

CONTEXT = {"strongroom:cell": "c", "strongroom:namespace": "n", "strongroom:class": "data", "strongroom:version": "1"}
ROOT = Secret(bytes(range(32)))
PASSPHRASE = "correct horse"  # noqa: S105 - of files that a test makes
OTHER_PASSPHRASE = "battery staple"  # noqa: S105 - as above


@pytest.fixture
def path(tmp_path):
    return tmp_path / "keyring.json"


@pytest.fixture
async def local_provider(path):
    made = LocalProvider("local", path)
    assert await made.create_keyring()
    await made.create_kek("a")
    return made


@pytest.fixture
async def local_kek(local_provider):
    return await local_provider.create_kek("a")


async def refused(path, match, passphrase=None):
    with pytest.raises(KeyringFileError, match=match) as refusal:
        await LocalProvider("local", path, passphrase=passphrase).check()
    assert str(path) in str(refusal.value)


def change_document(path, change):
    document = json.loads(path.read_text())
    change(document)
    path.write_text(json.dumps(document))


# --- the file and its mode


async def test_file_is_made_private(local_provider, path):
    """The keyring, as it is made and after each change, is readable by its owner only, whatever the umask."""
    await local_provider.rotate_kek(KekRef("local", "a"))
    umask = os.umask(0)
    try:
        await local_provider.create_kek("b")
    finally:
        os.umask(umask)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.with_name(f".{path.name}.lock").stat().st_mode) == 0o600


async def test_existing_keyring_is_not_made_again(local_provider, path):
    """Making a keyring where there is one changes nothing: what it wrapped still opens."""
    before = path.read_bytes()
    assert not await local_provider.create_keyring()
    assert path.read_bytes() == before


@pytest.mark.usefixtures("local_provider")
@pytest.mark.parametrize("mode", [0o644, 0o640, 0o604, 0o620, 0o602, 0o610, 0o601, 0o666, 0o777])
async def test_file_that_others_can_use_is_refused(path, mode):
    """A keyring that its group or others can read, write or execute is refused; the message has the remedy."""
    path.chmod(mode)
    await refused(path, rf"mode {mode:04o}.*chmod 600")


async def test_mode_is_checked_again_when_it_changes(local_provider, local_kek, path):
    """A keyring whose mode is opened up while it is in use is refused from the next call on."""
    wrapped = await local_provider.wrap(local_kek, ROOT, context=CONTEXT)
    path.chmod(0o644)
    with pytest.raises(KeyringFileError):
        await local_provider.unwrap(wrapped, context=CONTEXT)
    path.chmod(0o600)
    assert (await local_provider.unwrap(wrapped, context=CONTEXT)).reveal() == ROOT.reveal()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file away")
@pytest.mark.usefixtures("local_provider")
async def test_file_of_another_user_is_refused(path):
    """A keyring that another user owns, and could change, is refused."""
    os.chown(path, 65534, -1)
    await refused(path, "another user")


async def test_missing_file_is_refused(path):
    """Without its file the provider says that it is missing, and makes no new one that would open nothing."""
    await refused(path, "missing")
    with pytest.raises(KeyringFileError, match="missing"):
        await LocalProvider("local", path).create_kek("a")
    assert not path.exists()


async def test_file_that_goes_missing_is_noticed(local_provider, local_kek, path):
    """A keyring that is removed while it is in use stops all use."""
    wrapped = await local_provider.wrap(local_kek, ROOT, context=CONTEXT)
    path.unlink()
    with pytest.raises(KeyringFileError, match="missing"):
        await local_provider.unwrap(wrapped, context=CONTEXT)


async def test_missing_folder_is_refused(tmp_path):
    """A keyring cannot be made in a folder that does not exist; the error is the provider's own."""
    with pytest.raises(KeyringFileError, match="folder"):
        await LocalProvider("local", tmp_path / "absent" / "keyring.json").create_keyring()


async def test_directory_in_its_place_is_refused(path):
    """A directory where the keyring should be is refused with the provider's own error."""
    path.mkdir(mode=0o700)
    await refused(path, "directory|regular file")


async def test_fifo_in_its_place_is_refused(path):
    """A fifo where the keyring should be is refused, and does not hang its reader."""
    os.mkfifo(path, 0o600)
    await asyncio.wait_for(refused(path, "not a regular file"), 5)


# --- damage


@pytest.mark.parametrize("passphrase", [None, PASSPHRASE])
@pytest.mark.usefixtures("cheap_scrypt")
async def test_truncated_file_is_refused(path, passphrase):
    """A keyring that was cut short anywhere is damaged; it is never read as one of fewer keys."""
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
    """Anything that is not a keyring of this format is refused as damaged, not with an error of a parser."""
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
    """A file cannot make its reader spend gigabytes or minutes on scrypt, nor fail with another error."""
    made = LocalProvider("local", path, passphrase=PASSPHRASE)
    await made.create_keyring()
    await made.create_kek("a")
    change_document(path, lambda document: document["protection"].update(cost))
    await asyncio.wait_for(refused(path, "damaged", PASSPHRASE), 5)


@pytest.mark.usefixtures("cheap_scrypt")
async def test_infinite_cost_is_refused(path):
    """A cost that is infinite is refused as damaged too."""
    made = LocalProvider("local", path, passphrase=PASSPHRASE)
    await made.create_keyring()
    change_document(path, lambda document: document["protection"].update(n=float("inf")))
    await refused(path, "damaged", PASSPHRASE)


# --- passphrase


@pytest.mark.usefixtures("cheap_scrypt")
async def test_passphrase_protects_the_keys(path):
    """A keyring with a passphrase opens with it, and holds no key in clear."""
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
    """Another passphrase opens nothing, and the message distinguishes it from damage; nothing is written under it."""
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
    """Also before its first KEK is made, a keyring refuses another passphrase than it was made with."""
    await LocalProvider("local", path, passphrase=PASSPHRASE).create_keyring()
    with pytest.raises(KeyringFileError):
        await LocalProvider("local", path, passphrase=OTHER_PASSPHRASE).create_kek("a")


@pytest.mark.usefixtures("cheap_scrypt")
@pytest.mark.parametrize("passphrase", [None, ""])
async def test_missing_passphrase_is_refused(path, passphrase):
    """A keyring with a passphrase says that it needs one when none is given."""
    made = LocalProvider("local", path, passphrase=PASSPHRASE)
    await made.create_keyring()
    await made.create_kek("a")
    await refused(path, "none is configured", passphrase)


@pytest.mark.usefixtures("local_provider", "cheap_scrypt")
async def test_clear_file_is_refused_where_a_passphrase_is_given(path):
    """A caller with a passphrase gets an error if the keyring is not protected by it."""
    await refused(path, "passphrase", PASSPHRASE)


@pytest.mark.usefixtures("cheap_scrypt")
async def test_keys_of_a_protected_file_do_not_change_places(path):
    """The sealed key of one KEK or version, copied to another's place in the file, does not open there."""
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


# --- writing


@pytest.mark.parametrize("error", [OSError(errno.EIO, "Input/output error"), KeyboardInterrupt()], ids=["io", "kill"])
async def test_crash_before_replace_leaves_the_old_file(local_provider, local_kek, path, monkeypatch, error):
    """A writer that dies before it replaces the file leaves the old one as it was, and no key in a stray file."""
    wrapped = await local_provider.wrap(local_kek, ROOT, context=CONTEXT)
    before = path.read_bytes()

    def crash(*_):
        raise error

    with monkeypatch.context() as patched:
        patched.setattr(Path, "replace", crash)
        with pytest.raises(KeyringFileError if isinstance(error, OSError) else KeyboardInterrupt):
            # In this thread: a KeyboardInterrupt in another one would end the event loop.
            local_provider._change("a", only_new=False)
    assert path.read_bytes() == before
    assert sorted(entry.name for entry in path.parent.iterdir()) == [f".{path.name}.lock", path.name]
    assert (await local_provider.unwrap(wrapped, context=CONTEXT)).reveal() == ROOT.reveal()
    assert await local_provider.rotate_kek(KekRef("local", "a")) == "2"


async def test_file_is_on_disk_before_it_takes_its_place(local_provider, monkeypatch):
    """The new content is synced before it replaces the old, and the folder after: no crash loses both."""
    steps = []
    fsync, replace = os.fsync, Path.replace

    def noted_fsync(descriptor):
        steps.append("folder" if stat.S_ISDIR(os.fstat(descriptor).st_mode) else "file")
        fsync(descriptor)

    def noted_replace(self, target):
        steps.append("replace")
        return replace(self, target)

    monkeypatch.setattr(os, "fsync", noted_fsync)
    monkeypatch.setattr(Path, "replace", noted_replace)
    await local_provider.rotate_kek(KekRef("local", "a"))
    assert steps == ["file", "replace", "folder"]


CREATOR = textwrap.dedent(
    """
    import asyncio, sys
    from pathlib import Path
    from strongroom.kms import KekRef, LocalProvider

    async def main(path, name):
        provider = LocalProvider("local", Path(path))
        sys.stdin.readline()  # so that both begin together
        for number in range(20):
            await provider.create_kek(f"{name}-{number}")
            await provider.rotate_kek(KekRef("local", "a"))

    asyncio.run(main(*sys.argv[1:]))
    """
)


def start_writer(path, name):
    return subprocess.Popen([sys.executable, "-W", "error", "-c", CREATOR, str(path), name], stdin=subprocess.PIPE)


async def test_processes_that_write_at_once_lose_nothing(local_provider, path):
    """KEKs and versions that two processes make at the same time are all there afterwards."""
    writers = [start_writer(path, name) for name in ("first", "second")]
    for writer in writers:
        writer.stdin.write(b"\n")
        writer.stdin.flush()
    for writer in writers:
        await asyncio.to_thread(writer.communicate, timeout=60)
    assert [writer.returncode for writer in writers] == [0, 0]
    keks = keyring_file.read_keyring(path).keks
    assert keks.keys() == {"a"} | {f"{name}-{number}" for name in ("first", "second") for number in range(20)}
    assert (await local_provider.describe(KekRef("local", "a"))).primary_version == "41"


async def test_kek_of_another_process_is_seen(local_provider, path):
    """A KEK or a version that another process made is used by the next call, without a restart."""
    other = LocalProvider("local", path)
    kek = await other.create_kek("theirs")
    assert (await local_provider.wrap(kek, ROOT, context=CONTEXT)).kek_version == "1"
    await other.rotate_kek(KekRef("local", "theirs"))
    assert (await local_provider.wrap(kek, ROOT, context=CONTEXT)).kek_version == "2"


# --- wrapping


async def test_existing_kek_is_left_alone(local_provider, local_kek):
    """Making a KEK that exists returns it as it is: what it wrapped still unwraps."""
    wrapped = await local_provider.wrap(local_kek, ROOT, context=CONTEXT)
    assert await local_provider.create_kek("a") == local_kek
    assert (await local_provider.describe(local_kek)).versions == ("1",)
    assert (await local_provider.unwrap(wrapped, context=CONTEXT)).reveal() == ROOT.reveal()


async def test_rotated_kek_still_unwraps(local_provider, local_kek):
    """After a rotation new keys are wrapped under the new version, and old wrapped keys unwrap; rewrap moves them."""
    old = await local_provider.wrap(local_kek, ROOT, context=CONTEXT)
    assert await local_provider.rotate_kek(KekRef("local", "a")) == "2"
    new = await local_provider.wrap(local_kek, ROOT, context=CONTEXT)
    assert (old.kek_version, new.kek_version) == ("1", "2")
    moved = await local_provider.rewrap(old, local_kek, context=CONTEXT)
    assert moved.kek_version == "2"
    for wrapped in (old, new, moved):
        assert (await local_provider.unwrap(wrapped, context=CONTEXT)).reveal() == ROOT.reveal()
    info = await local_provider.describe(local_kek)
    assert (info.primary_version, info.versions, info.state) == ("2", ("1", "2"), "enabled")


async def test_versions_are_ordered_as_numbers(local_provider, local_kek):
    """The eleventh version wraps after the tenth: versions are numbers, not text."""
    for _ in range(10):
        await local_provider.rotate_kek(KekRef("local", "a"))
    assert (await local_provider.wrap(local_kek, ROOT, context=CONTEXT)).kek_version == "11"
    assert (await local_provider.describe(local_kek)).versions[-2:] == ("10", "11")


async def test_generated_key_unwraps(local_provider, local_kek):
    """A generated root is 32 fresh bytes, and its wrapped form unwraps to it."""
    made = [await local_provider.generate_data_key(local_kek, context=CONTEXT) for _ in range(3)]
    assert len({key.root.reveal() for key in made}) == 3
    for key in made:
        assert len(key.root.reveal()) == 32
        assert key.root.reveal() not in key.wrapped.ciphertext
        assert (await local_provider.unwrap(key.wrapped, context=CONTEXT)).reveal() == key.root.reveal()


@pytest.mark.parametrize(
    "context",
    [
        {},
        CONTEXT | {"strongroom:version": "2"},
        CONTEXT | {"more": ""},
        {name: value for name, value in CONTEXT.items() if name != "strongroom:class"},
        CONTEXT | {"strongroom:cell": "n", "strongroom:namespace": "c"},
        CONTEXT | {"strongroom:cell": "", "strongroom:namespace": "cn"},
    ],
)
async def test_other_context_is_refused(local_provider, local_kek, context):
    """A wrapped key unwraps only under the encryption context that it was wrapped under."""
    wrapped = await local_provider.wrap(local_kek, ROOT, context=CONTEXT)
    with pytest.raises(IntegrityError):
        await local_provider.unwrap(wrapped, context=context)
    with pytest.raises(IntegrityError):
        await local_provider.rewrap(wrapped, local_kek, context=context)


async def test_order_of_the_context_does_not_matter(local_provider, local_kek):
    """A context is a map: the order of its entries is not part of it."""
    wrapped = await local_provider.wrap(local_kek, ROOT, context=CONTEXT)
    turned = dict(reversed(CONTEXT.items()))
    assert (await local_provider.unwrap(wrapped, context=turned)).reveal() == ROOT.reveal()


async def test_other_kek_is_refused(local_provider, local_kek):
    """A wrapped key names its KEK and version; under another one it is refused, and none is tried in turn."""
    other = await local_provider.create_kek("b")
    await local_provider.rotate_kek(KekRef("local", "a"))
    wrapped = await local_provider.wrap(local_kek, ROOT, context=CONTEXT)
    for change, error in (
        ({"kek": other, "kek_version": "1"}, IntegrityError),
        ({"kek_version": "1"}, IntegrityError),
        ({"kek_version": "3"}, KeyNotFound),
        ({"kek_version": "0"}, KeyNotFound),
        ({"kek_version": ""}, KeyNotFound),
        ({"kek_version": "-1"}, KeyNotFound),
        ({"kek_version": "two"}, KeyNotFound),
        ({"kek": KekRef("local", "absent")}, KeyNotFound),
    ):
        with pytest.raises(error):
            await local_provider.unwrap(dataclasses.replace(wrapped, **change), context=CONTEXT)


async def test_kek_with_the_same_name_in_another_keyring_is_refused(local_provider, local_kek, tmp_path):
    """A KEK of the same name in another file is another key."""
    wrapped = await local_provider.wrap(local_kek, ROOT, context=CONTEXT)
    stranger = LocalProvider("local", tmp_path / "other.json")
    await stranger.create_keyring()
    await stranger.create_kek("a")
    with pytest.raises(IntegrityError):
        await stranger.unwrap(wrapped, context=CONTEXT)


async def test_every_flipped_bit_of_a_wrapped_key_is_refused(local_provider, local_kek):
    """A wrapped key that was altered or cut anywhere is refused, with one error for all causes."""
    wrapped = await local_provider.wrap(local_kek, ROOT, context=CONTEXT)
    content = wrapped.ciphertext
    spoilt = [content[:cut] for cut in range(len(content))] + [content + b"\x00"]
    for position in range(len(content) * 8):
        flipped = bytearray(content)
        flipped[position // 8] ^= 1 << position % 8
        spoilt.append(bytes(flipped))
    items = [(Wrapped(local_kek, "1", ciphertext), CONTEXT) for ciphertext in spoilt]
    answers = await local_provider.unwrap_many(items)
    assert {type(answer) for answer in answers} == {IntegrityError}
    assert len({str(answer) for answer in answers}) == 1


async def test_unwrap_many_answers_in_order(local_provider, local_kek):
    """What fails has its error in its place and fails no other."""
    good = await local_provider.wrap(local_kek, ROOT, context=CONTEXT)
    items = [
        (good, CONTEXT),
        (dataclasses.replace(good, kek=KekRef("local", "absent")), CONTEXT),
        (good, {}),
        (good, CONTEXT),
    ]
    answers = await local_provider.unwrap_many(items)
    assert [type(answer) for answer in answers] == [Secret, KeyNotFound, IntegrityError, Secret]
    assert await local_provider.unwrap_many([]) == []


async def test_version_of_many_digits_fails_in_its_place(local_provider, local_kek):
    """A registry row with an absurd KEK version fails alone, and does not fail the namespace's other keys."""
    good = await local_provider.wrap(local_kek, ROOT, context=CONTEXT)
    absurd = dataclasses.replace(good, kek_version="9" * 5000)
    bad, fine = await local_provider.unwrap_many([(absurd, CONTEXT), (good, CONTEXT)])
    assert isinstance(bad, KmsError)
    assert isinstance(fine, Secret)


async def test_unknown_kek_is_not_found(local_provider):
    """A KEK that the keyring does not hold is KeyNotFound in every operation, and is not made by the way."""
    absent = KekRef("local", "absent")
    for call in (
        local_provider.wrap(absent, ROOT, context=CONTEXT),
        local_provider.generate_data_key(absent, context=CONTEXT),
        local_provider.describe(absent),
        local_provider.rotate_kek(KekRef("local", "absent")),
    ):
        with pytest.raises(KeyNotFound, match="absent"):
            await call


def test_wrap_context_is_encoded_injectively():
    """Different KEKs, versions and contexts never give the same associated data, however their text is split."""
    places = [
        ("a", 1, {}),
        ("a1", 1, {}),
        ("a", 11, {}),
        ("", 1, {"a": "b"}),
        ("a", 1, {"b": "c"}),
        ("a", 1, {"bc": ""}),
        ("a", 1, {"": "bc"}),
        ("a", 1, {"b": "", "c": ""}),
        ("a", 1, {"b": "c", "d": "e"}),
        ("a", 1, {"b": "d", "c": "e"}),
    ]
    assert len({local.associated_data(local._WRAP_LABEL, *place) for place in places}) == len(places)


@pytest.mark.parametrize(
    ("uri", "parsed"),
    [
        ("local:customer-a", KekRef("local", "customer-a")),
        ("aws-1:arn:aws:kms:eu:1:key/2", KekRef("aws-1", "arn:aws:kms:eu:1:key/2")),
    ],
)
def test_uri_of_a_kek(uri, parsed):
    """A KEK is written `provider:key`, and the key may hold colons of its own."""
    assert KekRef.parse(uri) == parsed
    assert str(parsed) == uri


@pytest.mark.parametrize(
    "uri", ["", "local", "local:", ":a", "Local:a", "1l:a", "local:a b", "local:a\n", "local:\u00e9", "l" * 33 + ":a"]
)
def test_wrong_uri_is_refused(uri):
    """What is not of that form is refused, without repeating it."""
    with pytest.raises(InvalidRequest):
        KekRef.parse(uri)
