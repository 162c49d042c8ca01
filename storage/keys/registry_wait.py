"""Wait until every process has read the key registry again after it changed.

A process uses cached keys for its `encrypt_ttl` without reading the registry. A job that changes the registry waits that long before
it relies on the change: resealing and key destruction, index rotation, and the eviction time in an erasure certificate.
"""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

MARGIN = 30.0
"""Seconds that a request may take after it has got its keys."""
SKEW = 60.0
"""Maximum difference between the clocks of two hosts, in seconds."""


def _utc_now() -> datetime:
    return datetime.now(UTC)


@dataclass(frozen=True, slots=True)
class RegistryWait:
    """The time after which every process has read a change of the registry.

    Attributes:
        seconds: That time, in seconds: the longest `encrypt_ttl` of any process, and `MARGIN`.
        now: The clock that times in the registry are compared with, in UTC.
        monotonic: The clock of waits within this process, in seconds.
        sleep: Suspends for some seconds.
    """

    seconds: float
    now: Callable[[], datetime] = _utc_now
    monotonic: Callable[[], float] = time.monotonic
    sleep: Callable[[float], Awaitable[object]] = asyncio.sleep

    def left(self, changed_at: datetime) -> float:
        """Return the seconds until every process has read a change, which another host may have made.

        Args:
            changed_at: The time of the change by the clock of the host that made it, in UTC.
        """
        age = (self.now() - changed_at).total_seconds()
        return max(0.0, min(self.seconds, self.seconds + SKEW - age))

    def deadline(self) -> float:
        """Return the monotonic time at which every process has read a change that this process makes now."""
        return self.monotonic() + self.seconds

    async def wait_until(self, deadline: float, progress: Callable[[str, int], None]) -> None:
        """Wait until a deadline.

        Args:
            deadline: A time of the monotonic clock, as `deadline` returns it.
            progress: Called about once a second with "wait" and the seconds left.
        """
        while (left := deadline - self.monotonic()) > 0:
            progress("wait", round(left))
            await self.sleep(min(left, 1.0))

    async def wait_for(self, seconds: float, progress: Callable[[str, int], None]) -> None:
        """Wait for some seconds, as `left` returns them; see `wait_until`."""
        await self.wait_until(self.monotonic() + seconds, progress)
