"""Values that are loaded from files and reloaded when the files change."""

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
    """A value that is loaded from files. Each access checks the files, and loads the value again if they have changed.

    If the changed files can't be used, the previous value stays in use, and one warning is logged to `strongroom.reloaded`. The
    next change of the files is tried again.

    Args:
        load: Loads the value from the files.
        files: The files. None stands for a file that is not configured.

    Raises:
        StrongroomError: The first `load` fails.
    """

    def __init__(self, load: Callable[[], T], *files: Path | None) -> None:
        self._load = load
        self._files = [file for file in files if file is not None]
        self._lock = Lock()
        self._seen = self._state()
        self._value = load()

    def current(self) -> T:
        """Return the value of the current files, or of their last usable version if the current files can't be used."""
        with self._lock:
            seen = self._state()  # taken before the load, so that a change during the load is noticed next time
            if seen != self._seen:
                self._seen = seen
                try:
                    self._value = self._load()
                except StrongroomError as error:
                    _log.warning("%s; the previous files stay in use", error)
                else:
                    _log.info("reloaded %s", ", ".join(map(str, self._files)))
            return self._value

    def _state(self) -> _State:
        return [_stamp(file) for file in self._files]


def _stamp(file: Path) -> tuple[int, int, int] | None:
    try:
        status = file.stat()
    except OSError:
        return None
    return status.st_mtime_ns, status.st_size, status.st_ino
