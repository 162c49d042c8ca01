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


class Connection(Protocol):
    """A connection to the database. Values are always parameters, never part of the statement's text."""

    async def execute(self, query: str, *args: object, timeout: float | None = None) -> str:  # noqa: ASYNC109 - asyncpg's
        """Run a statement and return its command tag. `timeout` is in seconds, for the answer."""

    async def fetch(self, query: str, *args: object, timeout: float | None = None) -> Sequence[Row]:  # noqa: ASYNC109
        """Run a query and return all rows. `timeout` is in seconds, for the answer."""

    async def fetchrow(self, query: str, *args: object) -> Row | None:
        """Run a query and return its first row, or None."""
