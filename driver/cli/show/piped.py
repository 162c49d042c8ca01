"""Progress of long work where standard error is not a terminal, for example in the journal of systemd."""

from __future__ import annotations

from contextlib import contextmanager, suppress
from threading import Lock, Timer
from time import monotonic
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

FIRST, EVERY = 10, 60
"""Seconds until the first line, and between two lines. Work that is shorter prints nothing."""


@contextmanager
def piped_progress(write: Callable[[str], None], text: str = "") -> Iterator[Callable[[str], None]]:
    """Yield a function that takes the state of some work at any time, and write it at most once a minute.

    A timer writes the first line, because work may report nothing for long, or never.

    Args:
        write: Writes a line.
        text: The state at the beginning; "" for none.
    """
    due, state, is_silent, lock = monotonic() + FIRST, text, True, Lock()

    def write_state() -> None:
        nonlocal due, is_silent
        due, is_silent = monotonic() + EVERY, False
        write(state)

    def show(changed: str) -> None:
        nonlocal state
        with lock:
            state = changed
            if monotonic() >= due:
                write_state()

    def first() -> None:
        with lock, suppress(OSError, ValueError):  # standard error may be full or closed
            if is_silent and state:
                write_state()

    timer = Timer(FIRST, first)
    timer.daemon = True  # a process that is killed twice does not wait for it
    timer.start()
    try:
        yield show
    finally:
        timer.cancel()
        with lock:
            is_silent = False  # the timer may be about to write
