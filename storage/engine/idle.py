"""The idle connections of a pool. The one that came back last is lent first, because its session is the most likely to be warm."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from .transactions import CLOSING_ERRORS, close

if TYPE_CHECKING:
    from collections.abc import Callable

    from .own_session import OwnSession

_UNCHECKED = 30.0
"""Seconds for which an idle connection is lent again without a check."""
_CHECK_TIMEOUT = 2.0
"""Seconds that a check may take."""


class IdleConnections:
    """Idle connections, and the time at which each came back.

    A connection can die without a sign while it is idle. One that was idle for long answers a statement before it is lent, so that no
    caller's statement waits for a server that is gone. If it does not answer, the others are dropped too.

    Args:
        clock: Returns the time in seconds; it never goes backwards.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._connections: list[tuple[OwnSession, float]] = []

    def put(self, connection: OwnSession) -> None:
        """Add a connection."""
        self._connections.append((connection, self._clock()))

    async def take(self) -> OwnSession | None:
        """Take out a connection that works; None if there is none."""
        while self._connections:
            connection, since = self._connections.pop()
            if connection.is_closed():
                continue
            if self._clock() - since < _UNCHECKED or await self._answers(connection):
                return connection
        return None

    async def aclose(self, *, timeout: float) -> None:  # noqa: ASYNC109 - asyncpg's
        """Close all connections at once; see `close`."""
        idle, self._connections = self._connections, []
        await asyncio.gather(*(close(connection, timeout=timeout) for connection, _ in idle))

    async def _answers(self, connection: OwnSession) -> bool:
        try:
            await connection.execute("SELECT 1", timeout=_CHECK_TIMEOUT)
        except CLOSING_ERRORS:
            for unusable in (connection, *(other for other, _ in self._connections)):
                unusable.terminate()
            self._connections.clear()
            return False
        except BaseException:
            connection.terminate()
            raise
        return True
