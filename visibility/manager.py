"""Record, get, list and count workflow executions: Temporal's visibility operations on sealed documents."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

from strongroom.kms import KeyClass, KeyNotFound
from strongroom.storage import (
    InvalidPersistenceRequest,
    NotFound,
    delete_visibility_record,
    get_visibility_record,
    put_visibility_records,
)

from .compiler import OPEN_RUN, Approximation, compile_filter
from .document import document_id, open_documents, seal_documents
from .errors import InvalidPageToken, QueryBudgetExceeded, UnsupportedQuery
from .evaluate import matches
from .filter_parser import parse_filter
from .filter_tree import STATUS_NAMES, And, Compare
from .index import Place
from .page_token import Position, open_position, seal_position
from .postgres import PostgresIndex
from .ranges import NANOSECONDS
from .token_query import TokenQuery, all_of, none_of
from .tokens import Tokenizer

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping, Sequence
    from uuid import UUID

    from strongroom.kms import Keyring, NamespaceKeys
    from strongroom.storage import Connection, Database, Row

    from .attributes import AttributeType
    from .filter_tree import ListFilter, Node
    from .index import IndexReader, VisibilityIndex
    from .record import VisibilityRecord

AttributeTypes: TypeAlias = "Mapping[str, AttributeType]"
MAX_PAGE_SIZE = 1000
OPEN_BUDGET = 10_000
"""Documents that one query may open beyond those that it returns."""


@dataclass(frozen=True, slots=True)
class ExecutionsPage:
    """Runs in order, and a token for what follows; None at the end."""

    executions: tuple[VisibilityRecord, ...]
    next_page_token: bytes | None


@dataclass(frozen=True, slots=True)
class ExecutionCount:
    """How many runs match; with GROUP BY also how many of each value, the most frequent first."""

    count: int
    groups: tuple[tuple[str, int], ...] = ()


class VisibilityManager:
    """Searches the sealed records of any namespace.

    Args:
        database: where the records are.
        keyring: for the namespaces' keys.
        index: what searches are answered from, and the outbox is filled for; without it, the records themselves.
        open_budget: how many documents one query may open beyond those that it returns.
    """

    def __init__(
        self,
        database: Database,
        keyring: Keyring,
        *,
        index: VisibilityIndex | None = None,
        open_budget: int = OPEN_BUDGET,
    ) -> None:
        self._database = database
        self._keyring = keyring
        self._index = index or PostgresIndex(database)
        self._outbox = index is not None
        self._open_budget = open_budget

    async def record_workflow_executions(
        self,
        namespace_id: UUID,
        records: Sequence[tuple[int, int, VisibilityRecord]],
        types: AttributeTypes,
        *,
        transaction: Connection | None = None,
    ) -> int:
        """Write the records of runs, each unless a version as new is stored; the same write again changes nothing.

        Args:
            namespace_id: whose runs.
            records: for each its shard, its version (rises with each change of the run), and the whole record.
            types: of the namespace's custom search attributes.
            transaction: to be part of; None for one of its own.

        Returns:
            How many were written.

        Raises:
            InvalidRecord: an attribute that is not registered, or a value that is not of its type.
        """
        keys = await self._keyring.open(namespace_id)
        rows = seal_documents(keys, records, types)
        if transaction is not None:
            return await put_visibility_records(transaction, namespace_id, rows, outbox=self._outbox)
        async with self._database.transaction() as own:
            return await put_visibility_records(own, namespace_id, rows, outbox=self._outbox)

    async def delete_workflow_execution(
        self, namespace_id: UUID, *, shard_id: int, workflow_id: str, run_id: str, version: int
    ) -> bool:
        """Delete the record of a run; a write of this version or an older one that comes later changes nothing.

        Returns:
            Whether the run has no record now: a newer one than `version` stays.
        """
        keys = await self._keyring.open(namespace_id)
        identifier = document_id(keys, workflow_id, run_id)
        async with self._database.transaction() as connection:
            return await delete_visibility_record(
                connection, namespace_id, shard_id=shard_id, id=identifier, version=version, outbox=self._outbox
            )

    async def get_workflow_execution(
        self, namespace_id: UUID, *, shard_id: int, workflow_id: str, run_id: str
    ) -> VisibilityRecord:
        """Return the record of one run.

        Raises:
            NotFound: no such run.
        """
        keys = await self._keyring.open(namespace_id)
        identifier = document_id(keys, workflow_id, run_id)
        async with self._database.connection() as connection:
            row = await get_visibility_record(connection, namespace_id, shard_id=shard_id, id=identifier)
        if row is None:
            raise NotFound("no such workflow execution")
        return (await self._open(namespace_id, [row]))[0]

    async def list_workflow_executions(
        self,
        namespace_id: UUID,
        query: str,
        types: AttributeTypes,
        *,
        page_size: int = 100,
        page_token: bytes | None = None,
    ) -> ExecutionsPage:
        """Return a page of the runs that match, open ones first, then the latest to close.

        Equal close times are ordered by start time and run id, descending.

        Args:
            namespace_id: whose runs.
            query: a list filter; blank for all runs.
            types: of the namespace's custom search attributes.
            page_size: the most runs to return, at most 1,000.
            page_token: from the page before, of the same query.

        Raises:
            InvalidQuery: the query is not valid, or asks for what is not served.
            QueryBudgetExceeded: too many documents would have to be opened to find a page.
            InvalidPageToken: the token is of another query, or was altered.
        """
        parsed = parse_filter(query, types)
        if parsed.group_by:
            raise UnsupportedQuery("GROUP BY clause is not supported in a list; use it with a count")
        if parsed.order_by:
            raise UnsupportedQuery("ORDER BY is not served yet; without it runs come latest first")
        if not 0 < page_size <= MAX_PAGE_SIZE:
            msg = f"a page has 1 to {MAX_PAGE_SIZE} executions"
            raise InvalidPersistenceRequest(msg)
        after = await self._resume(namespace_id, query, page_token) if page_token is not None else None
        keys = await self._keyring.open(namespace_id)
        start = None if after is None else Place(*_bucket(after))
        possible = self._compile(keys, parsed.where).possible
        found: list[tuple[Position, VisibilityRecord]] = []
        async with self._index.reading(snapshot=False) as reader:
            scanned = reader.documents(namespace_id, possible, start=start)
            async for group in self._groups(namespace_id, scanned, allowed=self._open_budget + page_size):
                matching = [
                    (_position(record), record) for record in group if matches(parsed.where, record.attributes())
                ]
                found += sorted(
                    ((place, record) for place, record in matching if after is None or place < after),
                    key=lambda item: item[0],
                    reverse=True,
                )
                if len(found) > page_size:
                    break
        page = found[:page_size]
        token = seal_position(keys, query, page[-1][0]) if len(found) > page_size else None
        return ExecutionsPage(tuple(record for _, record in page), token)

    async def count_workflow_executions(self, namespace_id: UUID, query: str, types: AttributeTypes) -> ExecutionCount:
        """Return how many runs match, exactly; with GROUP BY ExecutionStatus also how many of each status.

        Raises:
            InvalidQuery: the query is not valid, or asks for what is not served.
            QueryBudgetExceeded: too many documents would have to be opened to count exactly.
        """
        parsed = parse_filter(query, types)
        if parsed.order_by:
            raise UnsupportedQuery("ORDER BY has no meaning in a count")
        keys = await self._keyring.open(namespace_id)
        async with self._index.reading(snapshot=True) as reader:
            if not parsed.group_by:
                return ExecutionCount(await self._count(reader, namespace_id, keys, parsed.where))
            groups = await self._count_groups(reader, namespace_id, keys, parsed)
        ordered = sorted(((name, size) for name, size in groups.items() if size), key=lambda item: (-item[1], item[0]))
        return ExecutionCount(sum(groups.values()), tuple(ordered))

    def _compile(self, keys: NamespaceKeys, where: Node) -> Approximation:
        return compile_filter(where, Tokenizer(keys, epoch=keys.active_version(KeyClass.INDEX)))

    async def _open(self, namespace_id: UUID, rows: Sequence[Row]) -> list[VisibilityRecord]:
        return await self._keyring.with_keys(namespace_id, lambda keys: open_documents(keys, rows))

    async def _resume(self, namespace_id: UUID, query: str, page_token: bytes) -> Position:
        try:
            return await self._keyring.with_keys(namespace_id, lambda keys: open_position(keys, query, page_token))
        except KeyNotFound:
            raise InvalidPageToken from None

    async def _groups(
        self, namespace_id: UUID, scanned: AsyncIterator[Row], *, allowed: int
    ) -> AsyncIterator[list[VisibilityRecord]]:
        """Yield opened documents in groups that the index can't order: one second of close, or of start if open.

        Raises:
            QueryBudgetExceeded: more documents than are allowed.
        """
        opened = 0
        group: list[Row] = []
        seen: set[bytes] = set()
        async for row in scanned:
            if row["id"] in seen:
                continue  # it changed while we read, and came where it was and where it is
            seen.add(row["id"])
            if group and _group(row) != _group(group[0]):
                yield await self._open(namespace_id, group)
                group = []
            group.append(row)
            opened += 1
            if opened > allowed:
                msg = (
                    f"more than {allowed} documents would have to be opened; add a condition that the index can answer"
                )
                raise QueryBudgetExceeded(msg)
        if group:
            yield await self._open(namespace_id, group)

    async def _count(self, reader: IndexReader, namespace_id: UUID, keys: NamespaceKeys, where: Node) -> int:
        """Count what surely matches in the index, and open only what is between sure and possible."""
        compiled = self._compile(keys, where)
        sure = await reader.count(namespace_id, compiled.sure)
        if compiled.exact:
            return sure
        between: TokenQuery = all_of(compiled.possible, none_of(compiled.sure))
        scanned = reader.documents(namespace_id, between)
        async for group in self._groups(namespace_id, scanned, allowed=self._open_budget):
            sure += sum(matches(where, record.attributes()) for record in group)
        return sure

    async def _count_groups(
        self, reader: IndexReader, namespace_id: UUID, keys: NamespaceKeys, parsed: ListFilter
    ) -> dict[str, int]:
        attribute = parsed.group_by
        if attribute is None or attribute.name != "ExecutionStatus":
            raise UnsupportedQuery("GROUP BY is served for ExecutionStatus only, as yet")
        return {
            status: await self._count(reader, namespace_id, keys, And((parsed.where, Compare(attribute, "=", status))))
            for status in STATUS_NAMES
        }


def _position(record: VisibilityRecord) -> Position:
    return Position(record.close_time is None, record.close_time or 0, record.start_time, record.run_id)


def _bucket(position: Position) -> tuple[int, int]:
    """Return where in the order of the index the group of a position begins."""
    if position.is_open:
        return OPEN_RUN, position.start_time // NANOSECONDS
    return position.close_time // NANOSECONDS, OPEN_RUN


def _group(row: Row) -> tuple[int, int]:
    return (row["b1"], row["b2"] if row["b1"] == OPEN_RUN else 0)
