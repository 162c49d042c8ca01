"""The deadlines of calls, in buckets of ten milliseconds: one timer for all calls costs less than a timer for each."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable

TICK = 0.010
"""The width of a bucket, in seconds. A deadline passes up to one bucket early."""
SHORT = 0.1
"""A deadline in less than this time has a timer of its own, in seconds."""

Bucket: TypeAlias = "dict[object, Callable[[], None]]"


class Deadlines:
    """Calls a function for each key whose deadline passes.

    Args:
        loop: The event loop. Its clock is monotonic.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._buckets: dict[int, Bucket] = {}
        self._passed = 0
        self._timer: asyncio.TimerHandle | None = None

    def add(self, key: object, seconds: float, passed: Callable[[], None]) -> Callable[[], object]:
        """Add a deadline. Return the function that removes it.

        Args:
            key: What the deadline is for; each has one deadline at most.
            seconds: The time until the deadline.
            passed: Is called when the deadline passes, unless it was removed.
        """
        if seconds < SHORT:
            return self._loop.call_later(seconds, passed).cancel
        now = self._loop.time()
        tick = int((now + seconds) / TICK)
        bucket = self._buckets.get(tick)
        if bucket is None:
            bucket = self._buckets[tick] = {}
        bucket[key] = passed
        if self._timer is None:
            self._passed = int(now / TICK)
            self._timer = self._loop.call_later(TICK, self._turn)
        return lambda: bucket.pop(key, None)

    def _turn(self) -> None:
        """Call the functions of the buckets that have passed. Go on while another bucket is left."""
        now = int(self._loop.time() / TICK)
        due = [bucket for tick in range(self._passed + 1, now + 1) if (bucket := self._buckets.pop(tick, None))]
        self._passed = now
        if any(self._buckets.values()):
            self._timer = self._loop.call_later(TICK, self._turn)
        else:
            self._buckets.clear()
            self._timer = None
        for bucket in due:
            for passed in list(bucket.values()):
                passed()
