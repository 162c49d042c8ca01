"""A connection through a proxy of the tests."""

from __future__ import annotations

import asyncio
from contextlib import suppress


async def forward(ways, ends):
    """Run both directions of a connection until one of them ends. Then end the other one, and close both sockets.

    Args:
        ways: The coroutines of the two directions.
        ends: The writers of the two sockets.
    """
    tasks = [asyncio.ensure_future(way) for way in ways]
    await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    for task in tasks:
        task.cancel()
        with suppress(asyncio.CancelledError, ConnectionError):
            await task
    for end in ends:
        end.close()
