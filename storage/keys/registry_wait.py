"""Wait until every process has read the key registry again after it changed.

A process uses cached keys for its `encrypt_ttl` without reading the registry. A job that changes the registry waits that long before
it relies on the change: resealing and key destruction, index rotation, and the eviction time in an erasure certificate.

No wall clock is compared, neither a host's nor the database server's, because either may be wrong or jump (DESIGN.md, "Clocks").
A job counts the time by its own monotonic clock, from the moment at which it read the committed change.
"""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from strongroom.storage.engine.database import CONNECT_TIMEOUT, GRACE, STATEMENT_TIMEOUT
from strongroom.storage.engine.group_commit_members import MAX_WAIT

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Hashable

MARGIN = MAX_WAIT + 2 * (CONNECT_TIMEOUT + STATEMENT_TIMEOUT + GRACE)
"""Seconds that a write may take after it was sealed: it waits for its turn, and its statement is sent twice at most."""


@dataclass(frozen=True, slots=True)
class RegistryWait:
    """The time after which every process has read a change of the registry.

    Attributes:
        seconds: That time, in seconds: the longest `encrypt_ttl` of any process, and `MARGIN`.
        monotonic: The clock of waits within this process, in seconds.
        sleep: Suspends for some seconds.
        read_at: The monotonic time at which this job first read each change.
    """

    seconds: float
    monotonic: Callable[[], float] = time.monotonic
    sleep: Callable[[float], Awaitable[object]] = asyncio.sleep
    read_at: dict[Hashable, float] = field(default_factory=dict)

    def deadline(self) -> float:
        """Return the monotonic time at which every process has read the changes that are committed now."""
        return self.monotonic() + self.seconds

    def deadline_of(self, change: Hashable) -> float:
        """Return the monotonic time at which every process has read a change.

        Args:
            change: Identifies a change that this job has read from the registry. The time counts from the first call with it.
        """
        return self.read_at.setdefault(change, self.monotonic()) + self.seconds

    async def wait_until(self, deadline: float, progress: Callable[[str, int], None]) -> float:
        """Wait until a deadline.

        Args:
            deadline: A time of the monotonic clock, as `deadline` and `deadline_of` return it.
            progress: Called about once a second with "wait" and the seconds left.

        Returns:
            The seconds that it waited.
        """
        began = self.monotonic()
        while (left := deadline - self.monotonic()) > 0:
            progress("wait", round(left))
            await self.sleep(min(left, 1.0))
        return self.monotonic() - began
