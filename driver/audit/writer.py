"""A thread that takes a turn on request, and retries by itself while work is left."""

from __future__ import annotations

import queue
import threading
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

RETRY = 0.5
"""Time until failed work is tried again without a request, in seconds."""


class Writer:
    """The thread. It starts at the first request, and is a daemon, so the process can end without it.

    Args:
        turn: Does all work, and returns whether all of it is done. It must not raise.
    """

    def __init__(self, turn: Callable[[], bool]) -> None:
        self._turn = turn
        self._requests: queue.SimpleQueue[bool] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None

    def request_turn(self) -> None:
        """Request a turn, which the thread takes soon."""
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name="strongroom-audit", daemon=True)
            self._thread.start()
        self._requests.put(True)

    def end(self, timeout: float) -> bool:
        """Take a last turn and end; no turn can be requested afterwards.

        Args:
            timeout: Timeout in seconds.

        Returns:
            Whether the thread has ended in time.
        """
        if self._thread is None:
            return True
        self._requests.put(False)
        self._thread.join(timeout)
        return not self._thread.is_alive()

    def _run(self) -> None:
        done = goes_on = True
        while goes_on:
            try:
                goes_on = self._requests.get(timeout=None if done else RETRY)
            except queue.Empty:
                goes_on = True
            done = self._turn()
