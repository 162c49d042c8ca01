"""Token queries answered by PostgreSQL, on the table `visibility_records` itself, or behind the second wall on its view.

SQL text is put together from the fixed fragments below; every value, namespace and token travels as a parameter.
"""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from .search_index import CHUNK
from .token_query import All, AnyOf, Bucket, Epoch, Not, Some, TokenQuery

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence
    from uuid import UUID

    from strongroom.storage import Connection, Database, Row

    from .search_index import Place

_COLUMNS = "shard_id, id, version, k, b1, b2, s"


class PostgresIndex:
    """The records themselves, with their tokens, are the index: nothing to copy, nothing that lags.

    Args:
        database: where the records are.
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    @asynccontextmanager
    async def reading(self, namespace_id: UUID, *, snapshot: bool) -> AsyncIterator[PostgresReader]:
        """Begin a call; a transaction only where it must be a snapshot, for its beginning and end are two more round trips."""
        lent = (
            self._database.transaction(namespace_id, read_only=True)
            if snapshot
            else self._database.connection(namespace_id)
        )
        async with lent as connection:
            yield PostgresReader(connection, namespace_id, walled=self._database.has_row_level_security(connection))


class PostgresReader:
    """See `IndexReader`."""

    def __init__(self, connection: Connection, namespace_id: UUID, *, walled: bool) -> None:
        self._connection = connection
        self._namespace_id = namespace_id
        # Behind the second wall the index of tokens is used through the view alone (storage/DESIGN.md).
        self._records = "visibility_search" if walled else "visibility_records"

    async def count(self, query: TokenQuery) -> int:
        """See `IndexReader.count`."""
        condition, parameters = _where(self._namespace_id, query)
        row = await self._connection.fetchrow(
            f"SELECT count(*) AS documents FROM {self._records} WHERE {condition}", *parameters
        )
        return int(row["documents"]) if row else 0

    async def counts(self, within: TokenQuery, parts: Sequence[TokenQuery]) -> list[int]:
        """See `IndexReader.counts`."""
        condition, parameters = _where(self._namespace_id, within)
        columns = ", ".join(f"count(*) FILTER (WHERE {_condition(part, parameters)})" for part in parts)
        row = await self._connection.fetchrow(f"SELECT {columns} FROM {self._records} WHERE {condition}", *parameters)
        return list(row.values()) if row else []

    async def count_and_first(
        self, counted: TokenQuery, listed: TokenQuery, *, limit: int
    ) -> tuple[int, Sequence[Row]]:
        """See `IndexReader.count_and_first`: one statement, and so one snapshot."""
        condition, parameters = _where(self._namespace_id, counted)
        documents = f"SELECT count(*) AS documents FROM {self._records} WHERE {condition}"
        page = self._page(f"namespace_id = $1 AND ({_condition(listed, parameters)})", limit)
        rows = await self._connection.fetch(
            f"WITH c AS ({documents}), p AS ({page}) SELECT c.documents, p.* FROM c LEFT JOIN p ON true", *parameters
        )
        return rows[0]["documents"], [row for row in rows if row["id"] is not None]

    async def pages(
        self, query: TokenQuery, *, start: Place | None = None, chunk: int = CHUNK
    ) -> AsyncIterator[Sequence[Row]]:
        """See `IndexReader.pages`; equal buckets are in descending order of id."""
        condition, parameters = _where(self._namespace_id, query)
        if start is not None:
            condition += f" AND (b1, b2) <= (${len(parameters) + 1}, ${len(parameters) + 2})"
            parameters += [start.b1, start.b2]
        count = len(parameters)
        following = f"({condition}) AND (b1, b2, id) < (${count + 1}, ${count + 2}, ${count + 3})"
        rows = await self._connection.fetch(self._page(condition, chunk), *parameters)
        while rows:
            yield rows
            if len(rows) < chunk:
                return
            last, chunk = rows[-1], CHUNK
            rows = await self._connection.fetch(
                self._page(following, chunk), *parameters, last["b1"], last["b2"], last["id"]
            )

    def _page(self, condition: str, limit: int) -> str:
        return (
            f"SELECT {_COLUMNS} FROM {self._records} WHERE {condition} ORDER BY b1 DESC, b2 DESC, id DESC LIMIT {limit}"
        )


def _where(namespace_id: UUID, query: TokenQuery) -> tuple[str, list[object]]:
    """Return an SQL condition and its parameters; the namespace comes first, and nothing can take it out."""
    parameters: list[object] = [namespace_id]
    return f"namespace_id = $1 AND ({_condition(query, parameters)})", parameters


def _condition(query: TokenQuery, parameters: list[object]) -> str:  # noqa: C901 - a case for each node of a filter
    match query:
        case AnyOf(tokens, implied, column, whole):
            if whole:
                return f"{column} IS NOT NULL"
            # One value is asked for as such: the planner then knows how common it is.
            single = column is not None and len(tokens) == 1
            parameters.append(next(iter(tokens)) if single else sorted(tokens))
            if single:
                holding = f"{column} = ${len(parameters)}"
            elif column is not None:
                holding = f"{column} = ANY(${len(parameters)}::bigint[])"
            else:
                holding = f"t && ${len(parameters)}::bigint[]"
            if implied is None:
                return holding
            # What closed comes after all that is open: without this a list would walk past that first. The bounds are no tenant's, and
            # stand here so that a plan for any parameters knows of them.
            return f"{holding} AND {implied.column} BETWEEN {implied.low} AND {implied.high}"
        case Bucket(column, low, high):
            parameters += [low, high]
            return f"{column} BETWEEN ${len(parameters) - 1} AND ${len(parameters)}"
        case Epoch(k):
            parameters.append(k)
            return f"k = ${len(parameters)}"
        case All(items):
            return " AND ".join(f"({_condition(item, parameters)})" for item in items) or "true"
        case Some(items):
            return " OR ".join(f"({_condition(item, parameters)})" for item in items) or "false"
        case Not(AnyOf(_, _, column, True)):
            return f"{column} IS NULL"  # as the partial indexes say it
        case Not(item):
            return f"({_condition(item, parameters)}) IS NOT TRUE"  # where a column is NULL, nothing holds
