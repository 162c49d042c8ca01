"""Take a stream for this process, and end each stream that is not what the database's checkpoint states.

A person with access to the folder alone can cut a stream. So a process continues a stream only if it still has the record that the
newest checkpoint in the database covers. Otherwise nothing is appended to the stream, because it is evidence, and a new stream begins.
"""

from __future__ import annotations

import fcntl
import os
from dataclasses import dataclass
from typing import TYPE_CHECKING
from uuid import UUID, uuid4

import orjson

from strongroom.kms import replace_file, sync_folder
from strongroom.kms.private_files import check_descriptor, check_folder, open_regular

from .backwards import lines_backwards
from .base import is_signed_base, read_base
from .chain import GENESIS
from .checkpoint import Checkpoint
from .events import BREAK, now
from .settings import LogSettings
from .stream import Stream, parse, segments, streams

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from .events import Fields

MARKER = "ended.json"
"""The file in the folder of a stream that was ended because of a break."""

BEHIND, OTHER, UNREADABLE, PRUNED = "behind", "other", "unreadable", "pruned"
"""Reasons of a break: the records that the checkpoint covers are missing, are others, or can't be read; or the statement that
records were pruned is not signed."""
DATABASE = "database"
"""Reason of a break of the database: it no longer has the checkpoint that the process added last."""


@dataclass(frozen=True, slots=True)
class Break:
    """A difference between a stream and the database's checkpoint.

    Attributes:
        stream_id: The stream.
        reason: `BEHIND`, `OTHER`, `UNREADABLE` or `PRUNED`.
        found: The number of the last record in the files.
        stated: The checkpoint in the database; None if the database has none.
    """

    stream_id: UUID
    reason: str
    found: int
    stated: Checkpoint | None

    def event(self) -> Fields:
        """Return the record of this break."""
        fields = {"event": BREAK, "at": now(), "ended": self.stream_id, "reason": self.reason, "found": self.found}
        if self.stated is None:
            return fields
        return {**fields, "stated": self.stated.sequence, "stated_chain": self.stated.chain.hex()}


@dataclass(slots=True)
class Taken:
    """A stream of this process.

    Attributes:
        stream: The stream.
        breaks: The streams to end. The records about them come first in the new stream, and then `mark_ended` is called.
    """

    stream: Stream
    breaks: list[Break]


def take(
    root: Path,
    settings: LogSettings | None = None,
    *,
    stated: Mapping[UUID, Checkpoint] | None = None,
    public_key: bytes | None = None,
) -> Taken:
    """Take a stream that no process writes, or create one.

    Args:
        root: The folder of all streams; it is created if it does not exist.
        settings: See `LogSettings`.
        stated: The newest checkpoint of each stream in the database.
        public_key: The public key of the cell's audit log, with which statements about pruned records are checked; None if
            it is not known yet.

    Raises:
        OSError: The folder can't be used.
    """
    root.mkdir(mode=0o700, parents=True, exist_ok=True)
    check_folder(root)
    settings, stated = settings or LogSettings(), stated or {}
    breaks: list[Break] = []
    held: list[Stream] = []
    try:
        for stream_id, folder in streams(root):
            if is_ended(folder):
                continue
            check_folder(folder)
            held += [] if held else _resumed(folder, stream_id, settings)
            # Streams that this process does not take are compared too, because it may be long until a process takes them.
            found = _compared(folder, stream_id, stated.get(stream_id), public_key)
            if found is not None:
                breaks.append(found)
        if held and not breaks:
            return Taken(held.pop(), [])
        return Taken(_new_stream(root, settings), breaks)
    finally:
        for stream in held:
            stream.close()


def _compared(folder: Path, stream_id: UUID, stated: Checkpoint | None, public_key: bytes | None) -> Break | None:
    """Compare the last record of a stream with the checkpoint in the database."""
    last = _last_record(folder, stream_id)
    if last is None:
        return Break(stream_id, UNREADABLE, 0, stated)
    return find_break(folder, last, stated, public_key)


def _resumed(folder: Path, stream_id: UUID, settings: LogSettings) -> list[Stream]:
    """Return a stream, continued after its last record; none if another process writes it, or if it can't be read."""
    lock = _locked(folder)
    if lock is None:
        return []
    stream = Stream(folder, stream_id, lock, settings)
    is_resumed = False
    try:
        is_resumed = stream.resume()
    finally:
        if not is_resumed:
            stream.close()
    return [stream] if is_resumed else []


def _last_record(folder: Path, stream_id: UUID) -> Checkpoint | None:
    """Return the last whole record of a stream that another process may be writing; None if it can't be read."""
    for segment in reversed(segments(folder)):
        for line in lines_backwards(segment):
            parsed = parse(line)
            if parsed is None or parsed[0]["stream"] != str(stream_id):
                return None
            return Checkpoint(stream_id, parsed[0]["sequence"], parsed[2])
    return Checkpoint(stream_id, *(read_base(folder) or (0, GENESIS)))


def find_break(
    folder: Path, last: Checkpoint, stated: Checkpoint | None, public_key: bytes | None = None
) -> Break | None:
    """Compare the files of a stream with a checkpoint. Return None if they fit.

    Args:
        folder: The stream's folder.
        last: The last record on disk.
        stated: The newest checkpoint in the database; None if there is none.
        public_key: See `take`.
    """
    if public_key is not None and read_base(folder) is not None and not is_signed_base(folder, public_key):
        return Break(last.stream_id, PRUNED, last.sequence, stated)
    if stated is None:
        return None
    if last.sequence < stated.sequence:
        return Break(last.stream_id, BEHIND, last.sequence, stated)
    if _chain_at(folder, stated.sequence) == stated.chain:
        return None
    base = read_base(folder)  # It is read after the search, because the record may be pruned meanwhile.
    is_pruned = base is not None and (stated.sequence < base[0] or (stated.sequence, stated.chain) == base)
    return None if is_pruned else Break(last.stream_id, OTHER, last.sequence, stated)


def _chain_at(folder: Path, sequence: int) -> bytes | None:
    """Return the chain after a record. The newest checkpoint covers one of the last records, so the search begins at the end."""
    mark = b'"sequence":%d,' % sequence
    for segment in reversed(segments(folder)):
        for line in lines_backwards(segment):
            if mark in line and (parsed := parse(line)) is not None and parsed[0]["sequence"] == sequence:
                return parsed[2]
    return None


def is_ended(folder: Path) -> bool:
    """Return whether a stream was ended because of a break."""
    return os.path.lexists(folder / MARKER)


def mark_ended(root: Path, found: Break) -> None:
    """Mark a stream so that no process continues it. Its records are not changed.

    Raises:
        OSError: The mark can't be written.
    """
    replace_file(root / f"stream-{found.stream_id}" / MARKER, orjson.dumps(found.event()) + b"\n")


def siblings(root: Path, own: UUID) -> list[UUID]:
    """Return the other streams of a folder that have records."""
    return [stream_id for stream_id, folder in streams(root) if stream_id != own and _has_records(folder)]


def _has_records(folder: Path) -> bool:
    if os.path.lexists(folder / "base.json"):
        return True
    for segment in segments(folder)[:1]:
        with open_regular(segment) as file:
            return file.readline().endswith(b"\n")
    return False


def _new_stream(root: Path, settings: LogSettings) -> Stream:
    while True:
        stream_id = uuid4()
        folder = root / f"stream-{stream_id}"
        folder.mkdir(mode=0o700)
        sync_folder(root)
        lock = _locked(folder)
        if lock is not None:  # Another process may take it first, and may have written to it.
            stream = Stream(folder, stream_id, lock, settings)
            if stream.resume():
                return stream
            stream.close()


def _locked(folder: Path) -> int | None:
    descriptor = os.open(folder / "lock", os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    try:
        check_descriptor(folder / "lock", descriptor)
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        return None
    except OSError:
        os.close(descriptor)
        raise
    return descriptor
