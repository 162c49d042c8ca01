"""One process's audit log on disk: numbered records in segments, each chained to the one before (docs/audit-log.md, "The chain")."""

from __future__ import annotations

import errno
import fcntl
import os
import re
import time
from contextlib import suppress
from datetime import datetime
from typing import TYPE_CHECKING, Any
from uuid import UUID, uuid4

import orjson

from strongroom.kms import sync_folder

from .chain import GENESIS, MARK, MARKED_BYTES
from .encoding import members
from .settings import LogSettings

if TYPE_CHECKING:
    from collections.abc import Iterable
    from datetime import date
    from pathlib import Path

    from .events import Event

_STREAM = re.compile(r"stream-([0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12})")
_SEGMENT = re.compile(r"(\d{12})\.jsonl")
_OLD = os.O_WRONLY | os.O_DSYNC | os.O_NOFOLLOW | os.O_CLOEXEC
_NEW = _OLD | os.O_CREAT | os.O_EXCL
_NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_LOOK_SECONDS = 1.0
"""After which it is looked again whether the file is still where it was."""


class Stream:
    """A folder of segments that one process writes at a time; the next process goes on where it ended.

    Nothing here awaits: `AuditLog` calls it in a thread.

    Attributes:
        stream_id: of the log, in each of its records.
        written: sequence of the last record that is on disk, and the chain up to that one; one value, as other threads read it.
    """

    def __init__(self, folder: Path, stream_id: UUID, lock: int, settings: LogSettings) -> None:
        self._settings = settings
        self.stream_id = stream_id
        self._head = b'{"stream":"%b","sequence":' % str(stream_id).encode()
        self.written = (0, GENESIS)
        self._folder, self._lock = folder, lock
        self._path = folder
        self._file: int | None = None
        self._offset = 0
        self._day: date | None = None
        self._resumable = False
        self._looked = float("-inf")
        # Encoded, not known to be on disk. Their numbers and chain are theirs, as they are written before anything else.
        self._waiting: list[bytes] = []

    @classmethod
    def take(cls, root: Path, settings: LogSettings | None = None) -> Stream:
        """Take a stream that no process writes, or create one.

        Args:
            root: The folder of all streams; it is created if it does not exist.
            settings: See `LogSettings`.

        Raises:
            OSError: The folder can't be used.
        """
        root.mkdir(mode=0o700, parents=True, exist_ok=True)
        while True:
            for stream_id, folder in streams(root):
                lock = _locked(folder)
                if lock is not None:
                    stream = cls(folder, stream_id, lock, settings or LogSettings())
                    if stream._resume():
                        return stream
                    os.close(lock)
            # Made, and taken in the next turn: another process may be faster.
            (root / f"stream-{uuid4()}").mkdir(mode=0o700)
            sync_folder(root)

    def write(self, events: Iterable[Event]) -> None:
        """Write records; when this returns they are on disk.

        What fails stays in memory, numbered, and is written before anything that comes later.

        Raises:
            OSError: they may be on disk or not.
        """
        self._waiting += [event if isinstance(event, bytes) else members(event) for event in events]
        if not self._waiting:
            return
        if self._file is not None and not self._is_in_place():
            os.close(self._file)  # its records are somebody's, but nobody will find what is written to it from now on
            self._file = None
        if self._file is None and self._resumable:
            self._reopen_segment()
        if (
            self._file is None
            or self._offset >= self._settings.segment_bytes
            or self._day != self._settings.now().date()
        ):
            self._begin_segment()
        assert self._file is not None  # noqa: S101 - begun above
        last, chain = self.written
        try:
            # O_DSYNC: on disk when it returns.
            length, chain = self._settings.append(self._file, self._offset, self._head, last + 1, chain, self._waiting)
        except OSError as error:
            if error.errno not in _NO_ROOM:
                # Nobody knows what of the file is on disk now, and another try could say that all is well: another file, then.
                os.close(self._file)
                self._file = None
            raise
        self._offset += length
        self.written = (last + len(self._waiting), chain)
        self._waiting = []

    @property
    def waiting(self) -> int:
        """How many records are numbered and not known to be on disk."""
        return len(self._waiting)

    def close(self) -> None:
        """Let another process have it."""
        if self._file is not None:
            os.close(self._file)
            self._file = None
        os.close(self._lock)

    def _begin_segment(self) -> None:
        if self._file is not None:
            os.close(self._file)
            self._file = None
        first = self.written[0] + 1
        # A segment of this name is there after a failed write of the same records, and must not be written over.
        names = (self._folder / f"{number:012}.jsonl" for number in range(first, first + len(self._waiting)))
        path = next((name for name in names if not name.exists()), None)
        if path is None:
            msg = "the disk failed to keep these records several times"
            raise OSError(errno.EIO, msg)
        self._path, self._file, self._offset = path, os.open(path, _NEW, 0o600), 0
        self._day = self._settings.now().date()
        sync_folder(self._folder)

    def _reopen_segment(self) -> None:
        """Go on in the segment of another process; a record that it was cut off in was acknowledged to nobody."""
        self._resumable = False
        self._file = os.open(self._path, _OLD)
        os.ftruncate(self._file, self._offset)

    def _is_in_place(self) -> bool:
        """Return whether the open segment is still the one that its path names: not deleted, and not moved."""
        assert self._file is not None  # noqa: S101 - see `write`
        at = time.monotonic()
        if at - self._looked < _LOOK_SECONDS:
            return True
        self._looked = at
        with suppress(OSError):
            return os.path.samestat(os.fstat(self._file), self._path.stat(follow_symlinks=False))
        return False

    def _resume(self) -> bool:
        """Go on after the last whole record; False where that can't be read, and the stream is left to who verifies it."""
        for segment in reversed(segments(self._folder)):
            content = segment.read_bytes()
            whole = content[: content.rfind(b"\n") + 1]
            if not whole:
                continue
            first, last = parse(whole.split(b"\n", 1)[0]), parse(whole.rstrip(b"\n").rpartition(b"\n")[2])
            if first is None or last is None or last[0]["stream"] != str(self.stream_id):
                return False
            self.written = (last[0]["sequence"], last[2])
            self._path, self._offset, self._resumable = segment, len(whole), True
            with suppress(KeyError, TypeError, ValueError):
                self._day = datetime.fromisoformat(first[0]["at"]).date()
            break
        else:
            base = read_base(self._folder)
            if base is not None:
                self.written = base
        return True


def parse(line: bytes) -> tuple[dict[str, Any], bytes, bytes] | None:
    """Read a record.

    Returns:
        Its fields, its JSON object without the chain, and the chain that it states; None for what is no record.
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
    """Return the streams below a folder, in the order of their ids."""
    if not root.is_dir():
        return []
    found = [(match, path) for path in root.iterdir() if (match := _STREAM.fullmatch(path.name)) and path.is_dir()]
    return sorted((UUID(match[1]), path) for match, path in found)


def segments(folder: Path) -> list[Path]:
    """Return the segments of a stream, in order."""
    return sorted(path for path in folder.iterdir() if _SEGMENT.fullmatch(path.name))


def read_base(folder: Path) -> tuple[int, bytes] | None:
    """Return sequence and chain of the last record that was pruned; None where none was."""
    with suppress(FileNotFoundError):
        base = orjson.loads((folder / "base.json").read_bytes())
        return base["sequence"], bytes.fromhex(base["chain"])
    return None


def _locked(folder: Path) -> int | None:
    descriptor = os.open(folder / "lock", os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(descriptor)
        return None
    return descriptor
