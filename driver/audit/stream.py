"""One process's audit log on disk: numbered records in segments, each chained to the one before.

The chain is described in docs/how-to/audit-log.md, "The chain".
"""

from __future__ import annotations

import errno
import os
import re
import time
from contextlib import suppress
from datetime import datetime
from typing import TYPE_CHECKING, Any
from uuid import UUID

import orjson

from strongroom.kms import sync_folder
from strongroom.kms.private_files import UnsafePath, check_descriptor, open_regular

from .backwards import ends_of
from .base import read_base
from .chain import GENESIS, MARK, MARKED_BYTES
from .encoding import members

if TYPE_CHECKING:
    from collections.abc import Iterable
    from datetime import date
    from pathlib import Path

    from .backwards import Ends
    from .events import Event
    from .settings import LogSettings

_STREAM = re.compile(r"stream-([0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12})")
_SEGMENT = re.compile(r"(\d{12})\.jsonl")
_OLD = os.O_WRONLY | os.O_DSYNC | os.O_NOFOLLOW | os.O_CLOEXEC
_NEW = _OLD | os.O_CREAT | os.O_EXCL
_NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_CHECK_SECONDS = 1.0
"""Seconds between two checks that the file has not been moved."""


class Stream:
    """A folder of segments. One process writes it at a time, and the next process continues where that one ended.

    No method awaits, because `AuditLog` calls them in a thread.

    Attributes:
        folder: The stream's folder.
        stream_id: The stream's id, which is in each of its records.
        written: Number of the last record on disk, and the chain after it. It is one tuple, because other threads read it.

    Args:
        folder: The stream's folder.
        stream_id: The stream's id.
        lock: The descriptor that holds the folder's lock.
        settings: Limits, disk and clock.
    """

    def __init__(self, folder: Path, stream_id: UUID, lock: int, settings: LogSettings) -> None:
        self._settings = settings
        self.stream_id = stream_id
        self._head = b'{"stream":"%b","sequence":' % str(stream_id).encode()
        self.written = (0, GENESIS)
        self.folder, self._lock = folder, lock
        self._path = folder
        self._file: int | None = None
        self._offset = 0
        self._day: date | None = None
        self._resumable = False
        self._checked_at = float("-inf")
        # Encoded records that are not known to be on disk. They are written before any other, so they keep their numbers and chain.
        self._waiting: list[bytes] = []

    def write(self, events: Iterable[Event]) -> None:
        """Write records, and return once they are on disk.

        Records of a failed write stay in memory with their numbers, and are written before any later one.

        Raises:
            OSError: The records may or may not be on disk.
        """
        self._waiting += [event if isinstance(event, bytes) else members(event) for event in events]
        if not self._waiting:
            return
        if self._file is not None and not self._is_in_place():
            os.close(self._file)  # Later records would go to a file that no reader finds.
            self._file = None
        if self._file is None and self._resumable:
            self._reopen_segment()
        if (
            self._file is None
            or self._offset >= self._settings.segment_bytes
            or self._day != self._settings.now().date()
        ):
            self._begin_segment()
        assert self._file is not None  # noqa: S101 - the segment was begun above
        last, chain = self.written
        try:
            # The file was opened with O_DSYNC, so the records are on disk when this returns.
            length, chain = self._settings.append(self._file, self._offset, self._head, last + 1, chain, self._waiting)
        except OSError as error:
            if error.errno not in _NO_ROOM:
                # It is unknown what is on disk, and a second write could wrongly report success. So the next write uses a new file.
                os.close(self._file)
                self._file = None
            raise
        self._offset += length
        self.written = (last + len(self._waiting), chain)
        self._waiting = []

    @property
    def waiting(self) -> int:
        """The number of records that have a number and are not known to be on disk."""
        return len(self._waiting)

    def end(self) -> list[bytes]:
        """Release the stream, which is not continued, and return the records that have no place in it yet."""
        self.close()
        return self._waiting

    def close(self) -> None:
        """Release the stream for another process."""
        if self._file is not None:
            os.close(self._file)
            self._file = None
        os.close(self._lock)

    def _begin_segment(self) -> None:
        if self._file is not None:
            os.close(self._file)
            self._file = None
        first = self.written[0] + 1
        # After a failed write of the same records a segment of this name exists, and must not be overwritten.
        names = (self.folder / f"{number:012}.jsonl" for number in range(first, first + len(self._waiting)))
        path = next((name for name in names if not name.exists()), None)
        if path is None:
            msg = "the disk failed to write these records several times"
            raise OSError(errno.EIO, msg)
        self._path, self._file, self._offset = path, os.open(path, _NEW, 0o600), 0
        self._day = self._settings.now().date()
        sync_folder(self.folder)

    def _reopen_segment(self) -> None:
        """Continue the segment of another process. An incomplete last record is cut off, because no caller's wait ended with it."""
        self._resumable = False
        self._file = os.open(self._path, _OLD)
        check_descriptor(self._path, self._file)
        os.ftruncate(self._file, self._offset)

    def _is_in_place(self) -> bool:
        """Return whether the open segment was neither deleted nor moved."""
        assert self._file is not None  # noqa: S101 - see `write`
        checked_at = time.monotonic()
        if checked_at - self._checked_at < _CHECK_SECONDS:
            return True
        self._checked_at = checked_at
        with suppress(OSError):
            return os.path.samestat(os.fstat(self._file), self._path.stat(follow_symlinks=False))
        return False

    def resume(self) -> bool:
        """Continue after the last whole record. Return False if it can't be read; the stream is then left for verification."""
        for segment in reversed(segments(self.folder)):
            ends = _ends_of_segment(segment)
            if not ends.size:
                continue
            first, last = parse(ends.first), parse(ends.last)
            if first is None or last is None or last[0]["stream"] != str(self.stream_id):
                return False
            self.written = (last[0]["sequence"], last[2])
            self._path, self._offset, self._resumable = segment, ends.size, True
            with suppress(KeyError, TypeError, ValueError):
                self._day = datetime.fromisoformat(first[0]["at"]).date()
            break
        else:
            base = read_base(self.folder)
            if base is not None:
                self.written = base
        return True


def parse(line: bytes) -> tuple[dict[str, Any], bytes, bytes] | None:
    """Read a record.

    Returns:
        The record's fields, its JSON object without the chain, and its chain; None if the line is not a record.
    """
    line = line.rstrip(b"\n")
    body, mark, stated = line[:-MARKED_BYTES] + b"}", line[-MARKED_BYTES : -MARKED_BYTES + len(MARK)], line[-66:-2]
    try:
        fields = orjson.loads(body)
        chain = bytes.fromhex(stated.decode("ascii"))
    except ValueError:
        return None
    if mark != MARK or not line.endswith(b'"}') or chain.hex().encode() != stated or not isinstance(fields, dict):
        return None
    if type(fields.get("sequence")) is not int or not isinstance(fields.get("stream"), str):
        return None
    return fields, body, chain


def streams(root: Path) -> list[tuple[UUID, Path]]:
    """Return the streams below a folder, in the order of their ids.

    Raises:
        UnsafePath: A stream is a link.
    """
    if not root.is_dir():
        return []
    named = [(match, path) for path in root.iterdir() if (match := _STREAM.fullmatch(path.name)) and path.is_dir()]
    if linked := next((path for _, path in named if path.is_symlink()), None):
        raise UnsafePath(linked, "is a link", "put the folder itself in its place")
    return sorted((UUID(match[1]), path) for match, path in named)


def segments(folder: Path) -> list[Path]:
    """Return the segments of a stream, in order."""
    return sorted(path for path in folder.iterdir() if _SEGMENT.fullmatch(path.name))


def _ends_of_segment(path: Path) -> Ends:
    """Read the ends of a segment that will be continued. It must be a file that others can't change."""
    with open_regular(path) as file:
        check_descriptor(path, file.fileno())
        return ends_of(file)
