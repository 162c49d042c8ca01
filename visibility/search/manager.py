"""Record, get, list and count workflow executions: Temporal's visibility operations on sealed documents."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from strongroom.kms import KeyNotFound
from strongroom.storage import (
    InvalidPersistenceRequest,
    NotFound,
    delete_visibility_record,
    get_visibility_record,
    put_visibility_records,
)
from strongroom.visibility.backends.postgres import PostgresIndex
from strongroom.visibility.errors import InvalidPageToken, UnsupportedQuery
from strongroom.visibility.index.document import document_id, open_documents, seal_documents

from .ordering import position
from .page_token import open_position, seal_position
from .prepared import PreparedFilters
from .searcher import Searcher

if TYPE_CHECKING:
    from collections.abc import Sequence
    from uuid import UUID

    from strongroom.kms import Keyring
    from strongroom.storage import Connection, Database, OutboxNotifier
    from strongroom.visibility.backends.search_index import VisibilityIndex
    from strongroom.visibility.filter.tree import SearchAttributes
    from strongroom.visibility.index.record import VisibilityRecord

    from .explain import Explanation
    from .page_token import Position

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
        notifier: Notifies the indexers after each write, except a write in the caller's transaction, after which the caller notifies.
        open_budget: how many documents one query may open beyond those that it returns.
    """

    def __init__(
        self,
        database: Database,
        keyring: Keyring,
        *,
        index: VisibilityIndex | None = None,
        notifier: OutboxNotifier | None = None,
        open_budget: int = OPEN_BUDGET,
    ) -> None:
        self._database = database
        self._keyring = keyring
        self._searcher = Searcher(index or PostgresIndex(database), keyring, open_budget=open_budget)
        self._prepared = PreparedFilters()
        self._outbox = index is not None
        self._notifier = notifier

    async def record_workflow_executions(
        self,
        namespace_id: UUID,
        records: Sequence[tuple[int, int, VisibilityRecord]],
        types: SearchAttributes,
        *,
        transaction: Connection | None = None,
    ) -> int:
        """Write the records of runs, each unless a version as new is stored; the same write again changes nothing.

        Args:
            namespace_id: whose runs.
            records: for each its shard, its version (rises with each change of the run), and the whole record.
            types: the namespace's custom search attributes.
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
        async with self._database.transaction(namespace_id) as own:
            written = await put_visibility_records(own, namespace_id, rows, outbox=self._outbox)
        self._ring()
        return written

    async def delete_workflow_execution(
        self, namespace_id: UUID, *, shard_id: int, workflow_id: str, run_id: str, version: int
    ) -> bool:
        """Delete the record of a run; a write of this version or an older one that comes later changes nothing.

        Returns:
            Whether the run has no record now: a newer one than `version` stays.
        """
        keys = await self._keyring.open(namespace_id)
        identifier = document_id(keys, workflow_id, run_id)
        async with self._database.transaction(namespace_id) as connection:
            gone = await delete_visibility_record(
                connection, namespace_id, shard_id=shard_id, id=identifier, version=version, outbox=self._outbox
            )
        self._ring()
        return gone

    async def get_workflow_execution(
        self, namespace_id: UUID, *, shard_id: int, workflow_id: str, run_id: str
    ) -> VisibilityRecord:
        """Return the record of one run.

        Raises:
            NotFound: no such run.
        """
        keys = await self._keyring.open(namespace_id)
        identifier = document_id(keys, workflow_id, run_id)
        async with self._database.connection(namespace_id) as connection:
            row = await get_visibility_record(connection, namespace_id, shard_id=shard_id, id=identifier)
        if row is None:
            raise NotFound("no such workflow execution")
        (record,) = await self._keyring.with_keys(namespace_id, lambda keys: open_documents(keys, [row]))
        return record

    async def list_workflow_executions(
        self,
        namespace_id: UUID,
        query: str,
        types: SearchAttributes,
        *,
        page_size: int = 100,
        page_token: bytes | None = None,
    ) -> ExecutionsPage:
        """Return a page of the runs that match: in the order that the filter names; else open ones first, then the latest to close.

        Equal close times are ordered by start time and run id, descending. With ORDER BY all runs that may match are opened for each
        page, within the budget.

        Args:
            namespace_id: whose runs.
            query: a list filter; blank for all runs.
            types: the namespace's custom search attributes.
            page_size: the most runs to return, at most 1,000.
            page_token: from the page before, of the same query.

        Raises:
            InvalidQuery: the query is not valid, or asks for what is not served.
            QueryBudgetExceeded: too many documents would have to be opened to find a page.
            InvalidPageToken: the token is of another query, or was altered.
        """
        keys = await self._keyring.open(namespace_id)
        prepared = self._prepared.prepare(keys, query, types)
        if prepared.parsed.group_by:
            raise UnsupportedQuery("GROUP BY clause is not supported in a list; use it with a count")
        if not 0 < page_size <= MAX_PAGE_SIZE:
            msg = f"a page has 1 to {MAX_PAGE_SIZE} executions"
            raise InvalidPersistenceRequest(msg)
        after = await self._resume(namespace_id, query, page_token) if page_token is not None else None
        page, more = await self._searcher.page(prepared, after=after, page_size=page_size)
        if not more:
            return ExecutionsPage(tuple(page), None)
        keys = await self._keyring.open(namespace_id)  # those of before may be too old to seal by now
        token = seal_position(keys, query, position(page[-1], prepared.parsed.order_by))
        return ExecutionsPage(tuple(page), token)

    async def count_workflow_executions(
        self, namespace_id: UUID, query: str, types: SearchAttributes
    ) -> ExecutionCount:
        """Return how many runs match, exactly; with GROUP BY also how many of each value, those without one under "".

        Raises:
            InvalidQuery: the query is not valid, or asks for what is not served.
            QueryBudgetExceeded: too many documents would have to be opened to count exactly.
        """
        prepared = self._prepared.prepare(await self._keyring.open(namespace_id), query, types)
        parsed = prepared.parsed
        if parsed.order_by:
            raise UnsupportedQuery("ORDER BY has no meaning in a count")
        if parsed.group_by is None:
            return ExecutionCount(await self._searcher.count(prepared))
        groups = await self._searcher.groups(prepared, parsed.group_by)
        ordered = sorted(((name, size) for name, size in groups.items() if size), key=lambda item: (-item[1], item[0]))
        return ExecutionCount(sum(groups.values()), tuple(ordered))

    async def explain(self, namespace_id: UUID, query: str, types: SearchAttributes) -> Explanation:
        """Say how a filter is answered: what is sent, what the index decides alone, what is opened, what the query reveals.

        Raises:
            InvalidQuery: the query is not valid.
        """
        keys = await self._keyring.open(namespace_id)
        return await self._searcher.explain(self._prepared.prepare(keys, query, types))

    def _ring(self) -> None:
        if self._notifier is not None:
            self._notifier.notify()

    async def _resume(self, namespace_id: UUID, query: str, page_token: bytes) -> Position:
        try:
            return await self._keyring.with_keys(namespace_id, lambda keys: open_position(keys, query, page_token))
        except KeyNotFound:
            raise InvalidPageToken from None
