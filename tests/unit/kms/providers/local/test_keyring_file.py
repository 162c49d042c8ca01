from __future__ import annotations

import asyncio
import errno
import os
import stat
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from strongroom.kms import KekRef, KeyringFileError, LocalProvider
from strongroom.kms.providers.local import keyring_file
from strongroom.kms.providers.local.keyring_file import read_keyring, write_keyring
from tests.support.kms.keyring_files import CONTEXT, ROOT, refused


async def test_file_is_made_private(local_provider, path):
    """A keyring is readable by its owner only, when it is created and after each change, whatever the umask."""
    await local_provider.rotate_kek(KekRef("local", "a"))
    umask = os.umask(0)
    try:
        await local_provider.create_kek("b")
    finally:
        os.umask(umask)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.with_name(f".{path.name}.lock").stat().st_mode) == 0o600


async def test_existing_keyring_is_not_made_again(local_provider, path):
    """Creating a keyring that exists changes nothing."""
    before = path.read_bytes()
    assert not await local_provider.create_keyring()
    assert path.read_bytes() == before


@pytest.mark.usefixtures("local_provider")
@pytest.mark.parametrize("mode", [0o644, 0o640, 0o604, 0o620, 0o602, 0o610, 0o601, 0o666, 0o777])
async def test_file_that_others_can_use_is_refused(path, mode):
    """A keyring that its group or others can read, write or execute is refused, and the message has the remedy."""
    path.chmod(mode)
    await refused(path, rf"mode {mode:04o}.*chmod 600")


async def test_mode_is_checked_again_when_it_changes(local_provider, local_kek, path):
    """A keyring whose mode becomes too open during use is refused from the next call."""
    wrapped = await local_provider.wrap(local_kek, ROOT, context=CONTEXT)
    path.chmod(0o644)
    with pytest.raises(KeyringFileError):
        await local_provider.unwrap(wrapped, context=CONTEXT)
    path.chmod(0o600)
    assert (await local_provider.unwrap(wrapped, context=CONTEXT)).reveal() == ROOT.reveal()


@pytest.mark.usefixtures("local_provider")
async def test_file_of_another_user_is_refused(path):
    """A keyring that another user owns is refused, because that user could change it."""
    if os.geteuid() != 0:
        pytest.skip("only root can give a file away")
    os.chown(path, 65534, -1)
    await refused(path, "another user")


async def test_missing_file_is_refused(path):
    """A missing keyring is reported as missing, and no new keyring is created in its place."""
    await refused(path, "missing")
    with pytest.raises(KeyringFileError, match="missing"):
        await LocalProvider("local", path).create_kek("a")
    assert not path.exists()


async def test_file_that_goes_missing_is_noticed(local_provider, local_kek, path):
    """A keyring that is removed during use is refused from the next call."""
    wrapped = await local_provider.wrap(local_kek, ROOT, context=CONTEXT)
    path.unlink()
    with pytest.raises(KeyringFileError, match="missing"):
        await local_provider.unwrap(wrapped, context=CONTEXT)


async def test_missing_folder_is_refused(tmp_path):
    """Creating a keyring in a folder that does not exist raises the provider's own error."""
    with pytest.raises(KeyringFileError, match="folder"):
        await LocalProvider("local", tmp_path / "absent" / "keyring.json").create_keyring()


async def test_directory_in_its_place_is_refused(path):
    """A directory in place of the keyring is refused with the provider's own error."""
    path.mkdir(mode=0o700)
    await refused(path, "directory|regular file")


async def test_fifo_in_its_place_is_refused(path):
    """A FIFO in place of the keyring is refused, and the reader does not hang."""
    os.mkfifo(path, 0o600)
    await asyncio.wait_for(refused(path, "not a regular file"), 60)


@pytest.mark.parametrize("error", [OSError(errno.EIO, "Input/output error"), KeyboardInterrupt()], ids=["io", "kill"])
async def test_crash_before_replace_leaves_the_old_file(local_provider, local_kek, path, monkeypatch, error):
    """A writer that crashes before it replaces the file leaves the old file unchanged, and no key in a temporary file."""
    wrapped = await local_provider.wrap(local_kek, ROOT, context=CONTEXT)
    before = path.read_bytes()

    def crash(*_):
        raise error

    with monkeypatch.context() as patched:
        patched.setattr(Path, "replace", crash)
        with pytest.raises(KeyringFileError if isinstance(error, OSError) else KeyboardInterrupt):
            # Run in this thread, because a KeyboardInterrupt in another thread would end the event loop.
            write_keyring(path, read_keyring(path))
    assert path.read_bytes() == before
    assert sorted(entry.name for entry in path.parent.iterdir()) == [f".{path.name}.lock", path.name]
    assert (await local_provider.unwrap(wrapped, context=CONTEXT)).reveal() == ROOT.reveal()
    assert await local_provider.rotate_kek(KekRef("local", "a")) == "2"


async def test_file_is_on_disk_before_it_takes_its_place(local_provider, monkeypatch):
    """The new file is synced before it replaces the old one, and the folder after, so that no crash loses both."""
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
        sys.stdin.readline()  # so that both start together
        for number in range(20):
            await provider.create_kek(f"{name}-{number}")
            await provider.rotate_kek(KekRef("local", "a"))

    asyncio.run(main(*sys.argv[1:]))
    """
)


def start_writer(path, name):
    return subprocess.Popen([sys.executable, "-W", "error", "-c", CREATOR, str(path), name], stdin=subprocess.PIPE)


async def test_processes_that_write_at_once_lose_nothing(local_provider, path):
    """KEKs and versions that two processes create at the same time are all stored."""
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
    """A KEK or version that another process created is used by the next call, without a restart."""
    other = LocalProvider("local", path)
    kek = await other.create_kek("theirs")
    assert (await local_provider.wrap(kek, ROOT, context=CONTEXT)).kek_version == "1"
    await other.rotate_kek(KekRef("local", "theirs"))
    assert (await local_provider.wrap(kek, ROOT, context=CONTEXT)).kek_version == "2"
