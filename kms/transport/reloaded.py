"""What files say, read again when they change; what was read before stays in use while they can't be used."""

from __future__ import annotations

import logging
from threading import Lock
from typing import TYPE_CHECKING, Generic, TypeAlias, TypeVar

from strongroom.kms.errors import StrongroomError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

T = TypeVar("T")
_State: TypeAlias = list[tuple[int, int, int] | None]

_log = logging.getLogger("strongroom.reloaded")


class Reloaded(Generic[T]):
    """A value made of files. Each look at it looks at the files, so a change is taken up by the next who asks.

    A change that can't be used is a warning in the log `strongroom.reloaded`, once, and is tried again when the files change again.

    Args:
        load: reads the files.
        files: that it reads; None for one that is not configured.

    Raises:
        StrongroomError: `load` fails the first time.
    """

    def __init__(self, load: Callable[[], T], *files: Path | None) -> None:
        self._load = load
        self._files = [file for file in files if file is not None]
        self._lock = Lock()
        self._seen = self._state()
        self._value = load()

    def current(self) -> T:
        """Return the value of the files as they are, or as they were when they last could be used."""
        with self._lock:
            seen = self._state()  # before reading: what changes in between is seen the next time
            if seen != self._seen:
                self._seen = seen
                try:
                    self._value = self._load()
                except StrongroomError as error:
                    _log.warning("%s; what was read before stays in use", error)
                else:
                    _log.info("read again: %s", ", ".join(map(str, self._files)))
            return self._value

    def _state(self) -> _State:
        return [_stamp(file) for file in self._files]


def _stamp(file: Path) -> tuple[int, int, int] | None:
    try:
        status = file.stat()
    except OSError:
        return None
    return status.st_mtime_ns, status.st_size, status.st_ino
