"""Notifications of other sessions, on a connection that is probed, because a connection can be lost without a sign."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from secrets import token_hex
from typing import TYPE_CHECKING, Any

from strongroom.storage.errors import DatabaseTimeout

from .translate import translated

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    import asyncpg


@dataclass(frozen=True, slots=True)
class ProbeLimits:
    """When a connection for notifications is probed.

    Attributes:
        interval: Seconds between two probes.
        timeout: Seconds that a notification to itself may take. After that the connection counts as lost.
    """

    interval: float = 10.0
    timeout: float = 10.0


DEFAULT_PROBES = ProbeLimits()


async def listen(
    connect: Callable[[], Awaitable[asyncpg.Connection[Any]]],
    channel: str,
    notified: Callable[[str], None],
    *,
    listening: Callable[[], None],
    probes: ProbeLimits,
) -> None:
    """Call a function for each notification of a channel, until the connection is lost.

    The connection notifies itself from time to time. Only an echo proves that the network, the server and the session's LISTEN all
    still work. Keepalives don't prove it, for example if a proxy answers them.

    Args:
        connect: Opens a connection.
        channel: The channel's name.
        notified: Called with the payload of each notification.
        listening: Called once, when listening has begun.
        probes: When the connection is probed.

    Raises:
        DatabaseUnavailable: The server can't be reached, or an echo did not come back.
    """
    connection = await connect()
    lost, echoed = asyncio.Event(), asyncio.Event()
    own = f"strongroom_echo_{token_hex(8)}"
    try:
        connection.add_termination_listener(lambda _: lost.set())
        with translated():
            await connection.add_listener(own, lambda *_: echoed.set())
            await connection.add_listener(channel, lambda *details: notified(str(details[-1])))
        listening()
        while not await _within(lost, probes.interval):
            echoed.clear()
            with translated():
                await connection.execute(f"NOTIFY {own}", timeout=probes.timeout)
            if not await _within(echoed, probes.timeout):
                msg = f"the connection for notifications of {channel} did not deliver its own; it is made again"
                raise DatabaseTimeout(msg)
    finally:
        connection.terminate()


async def _within(event: asyncio.Event, seconds: float) -> bool:
    """Return whether an event happens within some seconds."""
    try:
        async with asyncio.timeout(seconds):
            await event.wait()
    except TimeoutError:
        return False
    return True
