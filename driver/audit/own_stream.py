"""The stream that a process writes: it is taken at the first record, and replaced if it is not what the database states."""

from __future__ import annotations

import os
import socket
from contextlib import suppress
from importlib.metadata import version
from typing import TYPE_CHECKING

from .checkpoint import Checkpoint, SignedCheckpoint
from .events import OPENED
from .stream import streams
from .taking import find_break, mark_ended, siblings, take

if TYPE_CHECKING:
    from pathlib import Path
    from uuid import UUID

    from .events import Event
    from .settings import LogSettings
    from .stream import Stream
    from .taking import Break
    from .witness import Known

_MOST_CHARACTERS = 500


def place_of(root: Path) -> str:
    """Return the host and the folder of a log."""
    return f"{socket.gethostname()}:{root.absolute()}"[:_MOST_CHARACTERS]


class OwnStream:
    """The stream of a process. The writing thread appends, and the event loop asks for positions.

    Attributes:
        compared: The checkpoint in the database that the files were compared with; None for none.
        signed: The number of the last record that a signature covers.
        breaks: The number of breaks that were recorded.

    Args:
        root: The folder of all streams.
        settings: Limits, disk and clock.
    """

    def __init__(self, root: Path, settings: LogSettings) -> None:
        self._root, self._settings = root, settings
        self._place = place_of(root)
        self._stream: Stream | None = None
        self._known: Known | None = None
        self._stated: dict[UUID, Checkpoint] = {}
        self._public_key: bytes | None = None
        self._is_base_checked = self._is_ending = False
        self._to_mark: list[Break] = []
        self.compared: Checkpoint | None = None
        self.signed = self.breaks = 0

    @property
    def is_taken(self) -> bool:
        """Whether the process has a stream."""
        return self._stream is not None

    @property
    def waiting(self) -> int:
        """The number of records that have a number and are not known to be on disk."""
        return 0 if self._stream is None else self._stream.waiting

    @property
    def unsigned(self) -> int:
        """The number of records written since the last signature."""
        return 0 if self._stream is None else self._stream.written[0] - self.signed

    def knows(self, known: Known) -> None:
        """Compare streams with these checkpoints when one is taken."""
        self._known = known
        self._stated = {**known.newest, **self._stated}

    def position(self) -> Checkpoint:
        """Return the last record on disk. The process must have a stream."""
        assert self._stream is not None  # noqa: S101 - see above
        return Checkpoint(self._stream.stream_id, *self._stream.written)

    def made(self, number: int, previous: bytes, policy_version: int) -> SignedCheckpoint:
        """Return a checkpoint of all records on disk, without a signature.

        Args:
            number: The number of its row.
            previous: The hash of the row before it.
            policy_version: The highest version of the access policy that is known.
        """
        return SignedCheckpoint(number, previous, self.position(), self._place, policy_version, self._settings.now())

    def fits(self, stated: Checkpoint | None, public_key: bytes) -> bool:
        """Return whether the files are what the database states. If not, the next `append` continues in a new stream.

        Args:
            stated: The newest checkpoint of the stream in the database.
            public_key: The public key of the cell's audit log.
        """
        stream, self._public_key = self._stream, public_key
        assert stream is not None  # noqa: S101 - as in `position`
        if stated == self.compared and self._is_base_checked:
            return True
        if find_break(stream.folder, self.position(), stated, public_key) is None:
            self.compared, self._is_base_checked = stated, True
            return True
        if stated is not None:
            self._stated[stream.stream_id] = stated
        self._is_ending = True
        return False

    def append(self, events: list[Event]) -> None:
        """Write records, and return once they are on disk.

        Args:
            events: The records. Those of a stream that was ended are put in front of them.

        Raises:
            OSError: The records may or may not be on disk.
        """
        if self._stream is not None and self._is_ending:
            events[:0] = self._stream.end()
            self._stream = None
        self._is_ending = False
        written = events if self._stream is not None else [*self._begun(), *events]
        assert self._stream is not None  # noqa: S101 - it was begun above
        self._stream.write(written)
        while self._to_mark:  # The record about the break is on disk. Without the mark, it would be written again.
            with suppress(OSError):
                mark_ended(self._root, self._to_mark[-1])
            self._to_mark.pop()

    def close(self) -> None:
        """Release the stream for another process."""
        if self._stream is not None:
            self._stream.close()

    def _begun(self) -> list[Event]:
        """Take a stream, and return its first records."""
        taken = take(self._root, self._settings, stated=self._stated, public_key=self._public_key)
        stream = self._stream = taken.stream
        self.signed = stream.written[0]
        self.compared, self._is_base_checked = self._stated.get(stream.stream_id), self._public_key is not None
        self._to_mark += taken.breaks
        self.breaks += len(taken.breaks)
        opened = {
            "event": OPENED,
            "at": self._settings.now(),
            "host": socket.gethostname(),
            "process": os.getpid(),
            "version": version("strongroom"),
            "streams": siblings(self._root, stream.stream_id),
        }
        absent = self._absent()
        return [*(each.event() for each in taken.breaks), {**opened, "absent": absent} if absent else opened]

    def _absent(self) -> list[UUID]:
        """Return the streams that the database has for this folder, and that are not in it."""
        here = {stream_id for stream_id, _ in streams(self._root)}
        places = {} if self._known is None else self._known.places
        return [stream_id for stream_id, place in places.items() if place == self._place and stream_id not in here]
