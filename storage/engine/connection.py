"""The connection and the rows that the stores see. `Database` lends asyncpg connections through this protocol."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Sequence

Row: TypeAlias = Mapping[str, Any]
"""A row of a result: its columns by name."""

SCHEMA = "strongroom"
"""The schema in which all tables and functions are."""
_DAY = 86_400.0


class Connection(Protocol):
    """A connection to the database. Values are always parameters, never part of the statement's text."""

    async def execute(self, query: str, *args: object, timeout: float | None = None) -> str:  # noqa: ASYNC109 - asyncpg's
        """Run a statement and return its command tag. `timeout` is in seconds, for the answer."""

    async def fetch(self, query: str, *args: object, timeout: float | None = None) -> Sequence[Row]:  # noqa: ASYNC109
        """Run a query and return all rows. `timeout` is in seconds, for the answer."""

    async def fetchrow(self, query: str, *args: object) -> Row | None:
        """Run a query and return its first row, or None."""


def unwrapped(connection: Connection) -> Any:
    """Return the connection below `UnlimitedConnection` and `NotingConnection`."""
    while (lent := getattr(connection, "lent", None)) is not None:
        connection = lent
    return connection


def is_distributed(connection: Connection) -> bool:
    """Return whether tables of a connection are on other nodes of a Citus cluster."""
    session = getattr(unwrapped(connection), "session", None)
    return session is not None and bool(session.distributed)


class UnlimitedConnection:
    """A connection that waits a day for an answer.

    Args:
        connection: The connection that the statements are sent on.
    """

    def __init__(self, connection: Connection) -> None:
        self.lent = connection

    async def execute(self, query: str, *args: object, timeout: float | None = None) -> str:  # noqa: ASYNC109 - asyncpg's
        """Run a statement; see `Connection`."""
        return await self.lent.execute(query, *args, timeout=timeout or _DAY)

    async def fetch(self, query: str, *args: object, timeout: float | None = None) -> Sequence[Row]:  # noqa: ASYNC109
        """Run a query; see `Connection`."""
        return await self.lent.fetch(query, *args, timeout=timeout or _DAY)

    async def fetchrow(self, query: str, *args: object) -> Row | None:
        """Run a query; see `Connection`."""
        rows = await self.fetch(query, *args)
        return rows[0] if rows else None
