"""Barriers: a write is not sent before its barrier has passed, for example an audit record reaching the disk.

An operation that takes `barrier=` shares its statement with other callers. The statement is sealed at once, and sent when the barriers
of all its members have passed. The caller does not wait before the call, so the audit log is written while the rows are sealed.
If an operation has no such argument, the caller waits for the barrier before the call.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from .connection import Connection, Row


class Barrier(Protocol):
    """An event that a write waits for. It happens once, or fails."""

    @property
    def passed(self) -> bool:
        """Whether the event has happened."""

    async def wait(self) -> None:
        """Return once the event has happened. Raise the reason if it fails."""


async def pass_barriers(barriers: Collection[Barrier]) -> None:
    """Wait until all barriers have passed. Raise the error of the first that fails."""
    for barrier in barriers:
        if not barrier.passed:
            await barrier.wait()


class BarrierConnection:
    """A connection that sends nothing before all barriers have passed.

    Args:
        connection: The connection that statements are sent on.
        barriers: The barriers of all calls that share a statement.
    """

    def __init__(self, connection: Connection, barriers: Collection[Barrier]) -> None:
        self._connection, self._barriers = connection, barriers

    async def execute(self, query: str, *args: object, timeout: float | None = None) -> str:  # noqa: ASYNC109 - asyncpg's
        """Run a statement; see `Connection`."""
        await pass_barriers(self._barriers)
        return await self._connection.execute(query, *args, timeout=timeout)

    async def fetch(self, query: str, *args: object, timeout: float | None = None) -> Sequence[Row]:  # noqa: ASYNC109
        """Run a query; see `Connection`."""
        await pass_barriers(self._barriers)
        return await self._connection.fetch(query, *args, timeout=timeout)

    async def fetchrow(self, query: str, *args: object) -> Row | None:
        """Run a query; see `Connection`."""
        await pass_barriers(self._barriers)
        return await self._connection.fetchrow(query, *args)
