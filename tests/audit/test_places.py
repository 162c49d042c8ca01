"""An audit log is written only where nobody else can change it."""

from __future__ import annotations

import os

import pytest

from strongroom.driver.audit import AuditLog, AuditUnavailable
from strongroom.driver.audit.log import opened
from strongroom.driver.audit.reader import read_lines, read_records
from strongroom.driver.audit.sinks import File, SinkUnavailable
from strongroom.driver.audit.stream import segments, streams
from strongroom.kms.private_files import UnsafePath
from tests.support.audit.logs import PATIENT, key

EVENT = {"event": "check"}


async def write(root):
    async with opened(AuditLog(root, sign=key, settings=PATIENT)) as log:
        await log.record(EVENT)


@pytest.fixture
async def root(tmp_path):
    """The folder of a log with one record."""
    await write(tmp_path / "audit")
    return tmp_path / "audit"


async def refused(root, *words):
    """Assert that a new process's first record is refused, with a message that has some words, and that nothing was added."""
    before = {path: path.read_bytes() for path in root.rglob("*.jsonl")}
    with pytest.raises(AuditUnavailable) as error:
        await write(root)
    for word in words:
        assert word in str(error.value)
    assert {path: path.read_bytes() for path in root.rglob("*.jsonl")} == before


@pytest.mark.parametrize("mode", [0o777, 0o770, 0o720, 0o702, 0o1777])
async def test_a_folder_that_others_can_write_is_refused(root, mode):
    """A user who can write in the folder of a log can exchange its segments. The message has the mode and the command."""
    for folder in (root, streams(root)[0][1]):
        folder.chmod(mode)
        await refused(
            root, f"nothing was done: {folder} has mode {mode:04o}", f"chmod go-w {folder}; or set audit.folder"
        )
        folder.chmod(0o700)
    await write(root)


@pytest.mark.parametrize("mode", [0o666, 0o620, 0o602, 0o777])
async def test_a_segment_that_others_can_write_is_refused(root, mode):
    """A segment or a lock that others can write is not continued."""
    folder = streams(root)[0][1]
    for path in (segments(folder)[-1], folder / "lock"):
        path.chmod(mode)
        await refused(root, f"{path} has mode {mode:04o}", f"chmod 600 {path}")
        path.chmod(0o600)
    await write(root)


@pytest.mark.parametrize("kind", ["link", "hard link", "fifo"])
async def test_a_segment_elsewhere_is_refused(root, tmp_path, kind):
    """A segment that is a link, has a second name or is no file is not continued."""
    segment = segments(streams(root)[0][1])[-1]
    if kind == "hard link":
        os.link(segment, tmp_path / "second")
    else:
        segment.rename(tmp_path / "moved")
        os.mkfifo(segment, 0o600) if kind == "fifo" else segment.symlink_to(tmp_path / "moved")
    with pytest.raises(AuditUnavailable):
        await write(root)


async def test_a_folder_behind_a_link_is_refused(root, tmp_path):
    """The folder is given by its own path, because a link can be turned."""
    (tmp_path / "link").symlink_to(root)
    await refused(tmp_path / "link", "is a link")


async def test_a_parent_that_others_can_write_is_refused(tmp_path):
    """A user who can write in the folder above can exchange the whole log."""
    (tmp_path / "wide").mkdir()
    (tmp_path / "wide").chmod(0o777)
    await refused(tmp_path / "wide" / "audit", f"{tmp_path / 'wide'} has mode 0777")


@pytest.mark.parametrize("mode", [0o666, 0o777])
async def test_an_export_to_a_file_that_others_can_write_is_refused(tmp_path, mode):
    """Exported records go to no file that others can change, and to no link."""
    path = tmp_path / "export"
    await File(path).send([b"1"])
    path.chmod(mode)
    with pytest.raises(SinkUnavailable, match=f"mode {mode:04o}"):
        await File(path).send([b"2"])
    assert path.read_bytes() == b"1\n"


@pytest.mark.parametrize("kind", ["link", "fifo", "folder behind a link", "statement behind a link"])
async def test_a_reader_follows_no_link(root, tmp_path, kind):
    """Verification, export and review would show the lines of another file, or wait for ever for a pipe."""
    stream = streams(root)[0][1]
    secret = tmp_path / "secret"
    secret.write_text("a password\n")
    if kind == "folder behind a link":
        stream.rename(tmp_path / "moved")
        stream.symlink_to(tmp_path / "moved")
    elif kind == "statement behind a link":
        (stream / "base.json").symlink_to(secret)
    else:
        segment = segments(stream)[-1]
        segment.unlink()
        os.mkfifo(segment, 0o600) if kind == "fifo" else segment.symlink_to(secret)
    for read in (read_lines, read_records):
        with pytest.raises(UnsafePath, match=r"is a link|not a regular file"):
            list(read(root))
