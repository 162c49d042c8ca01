"""What must have happened before a statement that writes is sent for a call: a record of it is on disk, say.

Who calls a store sets `GATE`. Writes that share statements wait for the gates of all in one statement, once, after sealing; so
a call need not wait by itself, and what is written for the gate is written meanwhile. Stores that share no statements know of no gate:
for those the caller waits before.
"""

from __future__ import annotations

from contextvars import ContextVar
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from .database import Connection, Row


class Gate(Protocol):
    """Something that happens once, or fails."""

    @property
    def passed(self) -> bool:
        """Whether it has happened."""

    async def wait(self) -> None:
        """Return once it has happened; raise if it can't."""


GATE: ContextVar[Gate | None] = ContextVar("strongroom_gate", default=None)


async def pass_gate() -> None:
    """Wait for the gate of this call, if it has one."""
    gate = GATE.get()
    if gate is not None and not gate.passed:
        await gate.wait()


class Gated:
    """A connection on which nothing is sent before all gates have passed.

    Args:
        connection: which.
        gates: of all the calls that are about to share a statement.
    """

    def __init__(self, connection: Connection, gates: Collection[Gate]) -> None:
        self._connection, self._gates = connection, gates

    async def execute(self, query: str, *args: object, timeout: float | None = None) -> str:  # noqa: ASYNC109 - asyncpg's
        """See `Connection`."""
        await self._pass()
        return await self._connection.execute(query, *args, timeout=timeout)

    async def fetch(self, query: str, *args: object, timeout: float | None = None) -> Sequence[Row]:  # noqa: ASYNC109
        """See `Connection`."""
        await self._pass()
        return await self._connection.fetch(query, *args, timeout=timeout)

    async def fetchrow(self, query: str, *args: object) -> Row | None:
        """See `Connection`."""
        await self._pass()
        return await self._connection.fetchrow(query, *args)

    async def _pass(self) -> None:
        for gate in self._gates:
            if not gate.passed:
                await gate.wait()
