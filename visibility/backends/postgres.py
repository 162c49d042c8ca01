"""The search index in PostgreSQL: the table `visibility_records`, or its view where row-level security is on.

SQL is composed of the fixed fragments in this module. All values, namespaces and tokens are parameters.
"""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from strongroom.storage import VisibilityEpochs

from .search_index import CHUNK, LARGE_CHUNK, LIST_ORDER, IndexPosition
from .token_query import All, AnyOf, Bucket, Epoch, Not, Some, TokenQuery

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
    from uuid import UUID

    from strongroom.storage import Connection, Database, Row, RunKey

    from .drift import Difference, DocumentCopy, SealedCopy
    from .search_index import IndexOrder, Refusal

_FEW_CONNECTIONS = 2
_COLUMNS = "shard_id, id, version, k, b1, b2, s"


class PostgresIndex:
    """See `SearchIndex`. The rows of the records are the documents, so there are no copies to write, compare or delete.

    Args:
        database: The database of the records.
    """

    is_copy = False

    def __init__(self, database: Database) -> None:
        self._database = database

    @property
    def concurrent_searches(self) -> int:
        """See `SearchIndex`. One connection of three or more is left for writes."""
        size = self._database.size
        return size if size <= _FEW_CONNECTIONS else size - 1

    @asynccontextmanager
    async def reading(self, namespace_id: UUID, *, snapshot: bool) -> AsyncIterator[PostgresReader]:
        """See `SearchIndex.reading`. A transaction costs two round trips, so there is one only for a snapshot."""
        leased = (
            self._database.transaction(namespace_id, read_only=True)
            if snapshot
            else self._database.connection(namespace_id)
        )
        async with leased as connection:
            yield PostgresReader(
                connection, namespace_id, row_level_security=self._database.has_row_level_security(connection)
            )

    async def epochs(self, namespace_id: UUID) -> Mapping[int, int]:
        """See `SearchIndex.epochs`."""
        return await VisibilityEpochs(self._database, outbox=False).count(namespace_id)

    async def refresh(self) -> None:
        """Return at once: searches see committed rows."""

    async def write(
        self,
        rows: Sequence[tuple[UUID, Row]],
        deleted: Sequence[tuple[RunKey, int | None]] = (),
        *,
        mark: tuple[UUID, int] | None = None,
    ) -> dict[bytes, Refusal]:
        """Write nothing: the rows are written with the records."""
        del rows, deleted, mark
        return {}

    async def forget(self, deleted: Sequence[tuple[RunKey, int]]) -> None:
        """Forget nothing: the deletions are remembered in the database alone."""
        del deleted

    async def delete_namespace(self, namespace_id: UUID) -> int:
        """Delete nothing: the rows are deleted with the records."""
        del namespace_id
        return 0

    async def differences(self, rows: Sequence[Row]) -> dict[RunKey, Difference]:
        """Return no difference: a row can't differ from itself. `TokenVerifier` checks its tokens."""
        del rows
        return {}

    async def copies(
        self, namespace_id: UUID | None, known: Iterable[UUID], *, chunk: int
    ) -> AsyncIterator[list[DocumentCopy]]:
        """Yield nothing: there are no copies."""
        del namespace_id, known, chunk
        nothing: tuple[list[DocumentCopy], ...] = ()
        for copies in nothing:
            yield copies

    async def sealed_copies(self, namespace_id: UUID, *, chunk: int) -> AsyncIterator[list[SealedCopy]]:
        """Yield nothing: there are no copies."""
        del namespace_id, chunk
        nothing: tuple[list[SealedCopy], ...] = ()
        for copies in nothing:
            yield copies

    async def unchanged(self, copies: Sequence[DocumentCopy]) -> list[DocumentCopy]:
        """Return no document: there are no copies."""
        del copies
        return []

    async def remove(self, copies: Sequence[DocumentCopy]) -> None:
        """Delete nothing: there are no copies."""

    @asynccontextmanager
    async def accepting_older_versions(self) -> AsyncIterator[None]:
        """Change nothing: there are no copies."""
        yield


class PostgresReader:
    """See `IndexReader`."""

    def __init__(self, connection: Connection, namespace_id: UUID, *, row_level_security: bool) -> None:
        self._connection = connection
        self._namespace_id = namespace_id
        # With row-level security only the view can use the index of tokens (storage/DESIGN.md).
        self._records = "visibility_search" if row_level_security else "visibility_records"

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
        """See `IndexReader.count_and_first`. One statement sees one snapshot."""
        condition, parameters = _where(self._namespace_id, counted)
        documents = f"SELECT count(*) AS documents FROM {self._records} WHERE {condition}"
        page = self._page(f"namespace_id = $1 AND ({_condition(listed, parameters)})", limit)
        rows = await self._connection.fetch(
            f"WITH c AS ({documents}), p AS ({page}) SELECT c.documents, p.* FROM c LEFT JOIN p ON true", *parameters
        )
        return rows[0]["documents"], [row for row in rows if row["id"] is not None]

    async def pages(
        self,
        query: TokenQuery,
        *,
        order: IndexOrder = LIST_ORDER,
        start: IndexPosition | None = None,
        chunk: int = CHUNK,
    ) -> AsyncIterator[Sequence[Row]]:
        """See `IndexReader.pages`."""
        base, parameters = _where(self._namespace_id, query)
        condition, first = base, list(parameters)
        if start is not None:
            condition = f"({base}) AND {_from(order, start, first)}"
        rows, size, following = await self._connection.fetch(self._page(condition, chunk, order), *first), chunk, CHUNK
        while rows:
            yield rows
            if len(rows) < size:
                return
            last = rows[-1]
            size, following, bound = following, LARGE_CHUNK, list(parameters)
            position = IndexPosition(tuple(last[column] for column in order.columns), last["id"])
            condition = f"({base}) AND {_from(order, position, bound)}"
            rows = await self._connection.fetch(self._page(condition, size, order), *bound)

    def _page(self, condition: str, limit: int, order: IndexOrder = LIST_ORDER) -> str:
        direction = "DESC" if order.descending else "ASC"
        ordered = ", ".join(f"{column} {direction}" for column in (*order.columns, "id"))
        return f"SELECT {_COLUMNS} FROM {self._records} WHERE {condition} ORDER BY {ordered} LIMIT {limit}"


def _from(order: IndexOrder, position: IndexPosition, parameters: list[object]) -> str:
    """Return the SQL of a position, and append its parameters. A comparison of rows walks the index from there."""
    values: list[object] = [*position.buckets, *(() if position.after is None else (position.after,))]
    columns = (*order.columns, "id")[: len(values)]
    marks = ", ".join(f"${len(parameters) + number}" for number in range(1, len(values) + 1))
    parameters += values
    sign = "<" if order.descending else ">"
    return f"({', '.join(columns)}) {sign if position.after is not None else f'{sign}='} ({marks})"


def _where(namespace_id: UUID, query: TokenQuery) -> tuple[str, list[object]]:
    """Return an SQL condition and its parameters. The namespace comes first, outside all that a query can negate."""
    parameters: list[object] = [namespace_id]
    return f"namespace_id = $1 AND ({_condition(query, parameters)})", parameters


def _condition(query: TokenQuery, parameters: list[object]) -> str:
    """Return the SQL of a query, and append its parameters."""
    match query:
        case AnyOf():
            return _tokens_condition(query, parameters)
        case Bucket(column, low, high):
            parameters += [low, high]
            return f"{column} BETWEEN ${len(parameters) - 1} AND ${len(parameters)}"
        case Epoch(epoch):
            parameters.append(epoch)
            return f"k = ${len(parameters)}"
        case All(items):
            return _joined(" AND ", items, parameters) or "true"
        case Some(items):
            return _joined(" OR ", items, parameters) or "false"
        case Not(AnyOf(_, _, column, True)):
            return f"{column} IS NULL"  # the partial indexes have this condition
        case Not(item):
            return f"({_condition(item, parameters)}) IS NOT TRUE"  # a condition on a NULL column is not false but NULL


def _joined(operator: str, items: Sequence[TokenQuery], parameters: list[object]) -> str:
    return operator.join(f"({_condition(item, parameters)})" for item in items)


def _tokens_condition(query: AnyOf, parameters: list[object]) -> str:
    column = query.column
    if query.is_presence:
        return f"{column} IS NOT NULL"
    if column is not None and len(query.tokens) == 1:  # with `=` the planner knows how common the value is
        parameters.append(next(iter(query.tokens)))
        condition = f"{column} = ${len(parameters)}"
    else:
        parameters.append(sorted(query.tokens))
        array = f"${len(parameters)}::bigint[]"
        condition = f"t && {array}" if column is None else f"{column} = ANY({array})"
    if query.implied is None:
        return condition
    # Open runs come first, so without this range a list would read all of them. The bounds are constants in the text, so that a
    # plan that is made for all parameters can use them.
    return f"{condition} AND {query.implied.column} BETWEEN {query.implied.low} AND {query.implied.high}"
