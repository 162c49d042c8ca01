"""Deadlines that a slow machine does not exceed for a server that has answered."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

TICKS = 20
"""Number of parts of a deadline."""


@asynccontextmanager
async def loop_deadline(seconds: float) -> AsyncIterator[None]:
    """Raise `TimeoutError` if the block takes longer than some seconds in which the event loop ran.

    The time is counted in ticks of the event loop. A loop that other work blocks is late for its ticks, and each late tick counts
    once, however late it is. So the loop had a chance to read an answer before it is missing. `asyncio.timeout` would cancel a
    call whose answer waits in the socket, because the loop handles due timers before the tasks that the answer wakes.

    Args:
        seconds: The time.
    """
    loop = asyncio.get_running_loop()
    part = max(seconds, 0.0) / TICKS
    async with asyncio.timeout(None) as scope:

        def tick(left: int) -> None:
            if left:
                timer[0] = loop.call_later(part, tick, left - 1)
            else:
                scope.reschedule(loop.time())

        timer = [loop.call_later(part, tick, TICKS - 1)]
        try:
            yield
        finally:
            timer[0].cancel()
