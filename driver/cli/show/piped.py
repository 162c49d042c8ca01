"""Progress of long work where standard error is not a terminal, for example in the journal of systemd."""

from __future__ import annotations

from time import monotonic
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

FIRST, EVERY = 10, 60
"""Seconds until the first line, and between two lines. Work that is shorter prints nothing."""


def piped_progress(write: Callable[[str], None]) -> Callable[[str], None]:
    """Return a function that takes the state of some work at any time, and writes it at most once a minute.

    Args:
        write: Writes a line.
    """
    due = monotonic() + FIRST

    def show(text: str) -> None:
        nonlocal due
        now = monotonic()
        if now >= due:
            due = now + EVERY
            write(text)

    return show
