"""The search index in PostgreSQL: the table `visibility_records`, or its view where row-level security is on.

SQL is composed of the fixed fragments in this module and in `postgres_query.py`.
"""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from strongroom.storage.engine.connection import is_distributed
from strongroom.storage.visibility_rows.epochs import count_epochs
from strongroom.visibility.index.tokens import last_group_token

from .postgres_lists import COLUMNS, Page, in_order, next_documents
from .postgres_query import FEW_TOKENS, Records, condition_of, count_from, where
from .search_index import CHUNK, LARGE_CHUNK, LIST_ORDER, GroupCounts, IndexPosition
from .token_query import all_of, without_implied

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Collection, Iterable, Mapping, Sequence
    from uuid import UUID

    from strongroom.storage import Connection, Database, Row, RunKey

    from .drift import Difference, DocumentCopy, SealedCopy
    from .search_index import IndexOrder, Refusal
    from .token_query import TokenQuery

_FEW_CONNECTIONS = 2
_HEX_ID = 32


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
            # With row-level security only the view can use the index of tokens (storage/DESIGN.md). On a Citus cluster the nodes have
            # the policies, and the view does not work there.
            on_cluster = is_distributed(connection)
            has_view = self._database.has_row_level_security(connection) and not on_cluster
            records = Records("visibility_search" if has_view else "visibility_records", on_cluster)
            yield PostgresReader(connection, namespace_id, records)

    async def epochs(self, namespace_id: UUID) -> Mapping[int, int]:
        """See `SearchIndex.epochs`."""
        return await count_epochs(self._database, namespace_id)

    async def refresh(self) -> None:
        """Return at once: searches see committed rows."""

    async def write(
        self,
        rows: Sequence[tuple[UUID, Row]],
        deleted: Sequence[tuple[RunKey, int | None]] = (),
        *,
        mark: tuple[UUID, int] | None = None,
        also: str | None = None,
    ) -> dict[bytes, Refusal]:
        """Write nothing: the rows are written with the records."""
        del rows, deleted, mark, also
        return {}

    async def lacks(self, index: str) -> bool:
        """Return False: there is no second index."""
        del index
        return False

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

    def __init__(self, connection: Connection, namespace_id: UUID, records: Records) -> None:
        self._connection = connection
        self._namespace_id = namespace_id
        self._records = records

    async def count(self, query: TokenQuery) -> int:
        """See `IndexReader.count`."""
        found, parameters = count_from(self._namespace_id, without_implied(query), self._records)
        # Not `fetchrow`: it asks for one row, and PostgreSQL runs a statement in parallel only if all rows are asked for.
        rows = await self._connection.fetch(f"SELECT count(*) AS documents FROM {found}", *parameters)
        return int(rows[0]["documents"])

    async def counts(self, within: TokenQuery, parts: Sequence[TokenQuery]) -> list[int]:
        """See `IndexReader.counts`."""
        condition, parameters = self._counted(within)
        columns = ", ".join(
            f"count(*) FILTER (WHERE {condition_of(without_implied(part), parameters)})" for part in parts
        )
        rows = await self._connection.fetch(
            f"SELECT {columns} FROM {self._records.name} WHERE {condition}", *parameters
        )
        return list(rows[0].values())

    async def groups(self, query: TokenQuery, first: int, *, having: TokenQuery, most: int) -> GroupCounts:
        """See `IndexReader.groups`. One statement sees one snapshot."""
        found, parameters = count_from(self._namespace_id, without_implied(query), self._records)
        tokens, _ = self._group_tokens(all_of(query, having), first, parameters=parameters)
        groups = f"SELECT g.token, count(*) AS documents FROM ({tokens}) AS g GROUP BY g.token LIMIT {most + 1}"
        rows = await self._connection.fetch(
            f"WITH c AS (SELECT count(*) AS all_documents FROM {found}), g AS ({groups}) SELECT * FROM c LEFT JOIN g ON true",
            *parameters,
        )
        counts = {row["token"]: row["documents"] for row in rows if row["token"] is not None}
        return GroupCounts(rows[0]["all_documents"], counts)

    async def of_groups(self, query: TokenQuery, first: int, tokens: Collection[int]) -> Mapping[int, Row]:
        """See `IndexReader.of_groups`. The groups that are not asked for are left out here, because that costs less than in SQL."""
        of_query, parameters = self._group_tokens(query, first, columns=", r.id, r.shard_id")
        found = await self._connection.fetch(
            "SELECT g.token, min((encode(g.id, 'hex') || g.shard_id) COLLATE \"C\") AS named "
            f"FROM ({of_query}) AS g GROUP BY g.token",
            *parameters,
        )
        keys = {
            row["token"]: (int(row["named"][_HEX_ID:]), bytes.fromhex(row["named"][:_HEX_ID]))
            for row in found
            if row["token"] in tokens
        }
        rows = {(row["shard_id"], row["id"]): row for row in await self.rows(list(keys.values()))}
        return {token: rows[key] for token, key in keys.items() if key in rows}

    def _group_tokens(
        self, query: TokenQuery, first: int, *, columns: str = "", parameters: list[object] | None = None
    ) -> tuple[str, list[object]]:
        """Return a statement with a row for each group token of each document, and its parameters.

        The tokens of a document are in ascending order, so those of an attribute follow each other, and `width_bucket` finds them.
        """
        condition, parameters = self._counted(query, parameters)
        parameters += [first - 1, last_group_token(first)]
        low, high = f"${len(parameters) - 1}::bigint", f"${len(parameters)}::bigint"
        tokens = f"r.t[width_bucket({low}, r.t) + 1 : width_bucket({high}, r.t)]"
        return f"SELECT unnest({tokens}) AS token{columns} FROM {self._records.name} AS r WHERE {condition}", parameters

    async def rows(self, keys: Sequence[tuple[int, bytes]]) -> Sequence[Row]:
        """See `IndexReader.rows`."""
        rows: list[Row] = []
        for start in range(0, len(keys), LARGE_CHUNK):
            shards, identifiers = zip(*keys[start : start + LARGE_CHUNK], strict=True)
            rows += await self._connection.fetch(
                f"SELECT {COLUMNS} FROM {self._records.name} WHERE namespace_id = $1 "
                "AND (shard_id, id) IN (SELECT n.shard_id, n.id FROM unnest($2::integer[], $3::bytea[]) AS n (shard_id, id))",
                self._namespace_id,
                list(shards),
                list(identifiers),
            )
        return rows

    async def count_and_first(
        self, counted: TokenQuery, listed: TokenQuery, *, limit: int
    ) -> tuple[int, Sequence[Row]]:
        """See `IndexReader.count_and_first`. One statement sees one snapshot."""
        found, parameters = count_from(self._namespace_id, without_implied(counted), self._records)
        documents = f"SELECT count(*) AS documents FROM {found}"
        page = in_order(self._records.name, f"namespace_id = $1 AND ({condition_of(listed, parameters)})", limit)
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
        size, following, position = chunk, max(chunk, CHUNK), start
        while True:
            page = Page(self._records, self._namespace_id, order, position, size)
            rows = await next_documents(self._connection, query, page)
            if rows:
                yield rows
            if len(rows) < size:
                return
            last = rows[-1]
            position = IndexPosition(tuple(last[column] for column in order.columns), last["id"])
            size, following = following, LARGE_CHUNK

    def _counted(self, query: TokenQuery, parameters: list[object] | None = None) -> tuple[str, list[object]]:
        """Return the condition of a count and its parameters."""
        counted = without_implied(query)
        return where(self._namespace_id, counted, self._records, compared=FEW_TOKENS, parameters=parameters)
