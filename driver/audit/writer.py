"""A thread that has its turn whenever it is rung for, and by itself again while something is left to do."""

from __future__ import annotations

import queue
import threading
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

RETRY = 0.5
"""Seconds until what could not be done is tried again, where nobody rings first."""


class Writer:
    """The thread; it starts when it is rung for first, and keeps no process from ending.

    Args:
        turn: does what there is to do; returns whether nothing is left. Must not raise.
    """

    def __init__(self, turn: Callable[[], bool]) -> None:
        self._turn = turn
        self._rings: queue.SimpleQueue[bool] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None

    def ring(self) -> None:
        """Have a turn taken, soon."""
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name="strongroom-audit", daemon=True)
            self._thread.start()
        self._rings.put(True)

    def end(self, patience: float) -> bool:
        """Take a last turn, and end; return whether the thread has ended after so many seconds.

        Nothing can be rung for afterwards.
        """
        if self._thread is None:
            return True
        self._rings.put(False)
        self._thread.join(patience)
        return not self._thread.is_alive()

    def _run(self) -> None:
        well = goes_on = True
        while goes_on:
            try:
                goes_on = self._rings.get(timeout=None if well else RETRY)
            except queue.Empty:
                goes_on = True
            well = self._turn()
