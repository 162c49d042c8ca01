"""Temporal's visibility operations on sealed records: record, delete, get, list and count workflow executions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING
from uuid import UUID

from strongroom.kms import KeyNotFound
from strongroom.storage import NotFound
from strongroom.storage.checks import check_shard_id, wanted_page_size
from strongroom.storage.visibility_rows.records import (
    delete_visibility_record,
    get_visibility_record,
    put_visibility_records,
    write_visibility_records,
)
from strongroom.visibility.backends.postgres import PostgresIndex
from strongroom.visibility.errors import InvalidPageToken, UnsupportedQuery
from strongroom.visibility.filter.tree import SearchAttributes
from strongroom.visibility.index.document import document_id, open_documents, seal_documents
from strongroom.visibility.index.record import VisibilityRecord

from .argument_checks import check_records, namespace_keys
from .cost import SearchLimits
from .limits import LimitedSearcher
from .page_token import ListState, asked_for, open_state, seal_state
from .prepared import PreparedFilters
from .scanning import Scanner
from .searcher import Searcher

if TYPE_CHECKING:
    from strongroom.kms import Keyring
    from strongroom.storage import Connection, Database, OutboxNotifier, VisibilityRow
    from strongroom.storage.journal.writer import Journal
    from strongroom.visibility.backends.search_index import SearchIndex

    from .cost import CostModel
    from .explain import Explanation

MAX_PAGE_SIZE = 1000
"""Maximum number of runs on a page of a list."""
LIMITS = SearchLimits()


@dataclass(frozen=True, slots=True)
class ExecutionsPage:
    """A page of a list.

    Attributes:
        executions: The runs, in order.
        next_page_token: The token of the next page; None at the end of the list. A page without runs can have one.
    """

    executions: tuple[VisibilityRecord, ...]
    next_page_token: bytes | None


@dataclass(frozen=True, slots=True)
class ExecutionCount:
    """The result of a count.

    Attributes:
        count: The number of runs that match.
        groups: With GROUP BY, each value with the number of its runs, the most frequent value first.
    """

    count: int
    groups: tuple[tuple[str, int], ...] = ()


class VisibilityManager:
    """Writes and searches the sealed visibility records of all namespaces.

    Every operation raises `KmsError` if the keys of the namespace are unavailable, and `StorageError` if the database fails.

    Args:
        database: The database of the records.
        keyring: The keys of the namespaces.
        journal: The journal of this process.
        index: The search index. Without one, searches read the records themselves.
        notifier: Notifies the indexers. It is called after each write, except for writes in a transaction of the caller.
        limits: What one search may use.
        costs: The model of what documents cost; None for one that this manager learns.
    """

    def __init__(
        self,
        database: Database,
        keyring: Keyring,
        journal: Journal,
        *,
        index: SearchIndex | None = None,
        notifier: OutboxNotifier | None = None,
        limits: SearchLimits = LIMITS,
        costs: CostModel | None = None,
    ) -> None:
        self._database, self._keyring, self._journal = database, keyring, journal
        searched: SearchIndex = PostgresIndex(database) if index is None else index
        scanner = Scanner(searched, keyring, limits, costs)
        self._searcher = LimitedSearcher(Searcher(scanner), searched.concurrent_searches, deadline=limits.seconds)
        self._prepared = PreparedFilters()
        self._outbox, self._notifier = searched.is_copy, notifier

    async def record_workflow_executions(
        self,
        namespace_id: UUID,
        records: Sequence[tuple[int, int, VisibilityRecord]],
        types: SearchAttributes,
        *,
        transaction: Connection | None = None,
    ) -> int:
        """Write the records of runs. A record that is not newer than the stored one is ignored, so writes can be repeated.

        Args:
            namespace_id: The namespace.
            records: Shard id, version and record of each run. The version increases with each change of the run.
            types: The namespace's custom search attributes.
            transaction: A transaction of `Database.transaction` to write in; None for a new one; see `append_history_nodes`.

        Returns:
            The number of records that were written.

        Raises:
            InvalidRecord: A search attribute is not registered, its value is not of its type, or the record contradicts itself.
        """
        rows = await self.seal_workflow_executions(namespace_id, records, types)
        if transaction is not None:
            return await put_visibility_records(transaction, self._journal, namespace_id, rows, outbox=self._outbox)
        written = await write_visibility_records(self._database, self._journal, namespace_id, rows, outbox=self._outbox)
        self._notify()
        return written

    async def seal_workflow_executions(
        self, namespace_id: UUID, records: Sequence[tuple[int, int, VisibilityRecord]], types: SearchAttributes
    ) -> list[VisibilityRow]:
        """Seal the records of runs and write nothing. A write of the runs takes the rows, as `visibility` of its request.

        The runs and their records are then written in one transaction. Use the rows at once: they are sealed with the keys of now.

        Args:
            namespace_id: The namespace.
            records: As for `record_workflow_executions`.
            types: The namespace's custom search attributes.

        Raises:
            InvalidRecord: A search attribute is not registered, its value is not of its type, or the record contradicts itself.
            KmsError: The namespace's keys are not available.
        """
        check_records(records, types)
        return seal_documents(await namespace_keys(self._keyring, namespace_id), records, types)

    async def delete_workflow_execution(
        self, namespace_id: UUID, *, shard_id: int, workflow_id: str, run_id: str, version: int
    ) -> bool:
        """Delete the record of a run. Later writes of this version, or of an older one, are ignored.

        Args:
            namespace_id: The namespace.
            shard_id: The shard of the workflow.
            workflow_id: The workflow id.
            run_id: The run id.
            version: The version of the deletion. A record of a newer version is kept.

        Returns:
            Whether the run has no record now.

        Raises:
            InvalidPersistenceRequest, InvalidRecord, KmsError: The shard is not valid, an id is not UTF-8, the keys are not available.
            StorageError: The database does not answer.
        """
        check_shard_id(shard_id)
        keys = await namespace_keys(self._keyring, namespace_id)
        key = (namespace_id, shard_id, document_id(keys, workflow_id, run_id))
        async with self._database.transaction(namespace_id) as own:
            deleted = await delete_visibility_record(own, self._journal, key, version=version, outbox=self._outbox)
        self._notify()
        return deleted

    async def get_workflow_execution(
        self, namespace_id: UUID, *, shard_id: int, workflow_id: str, run_id: str
    ) -> VisibilityRecord:
        """Return the record of a run.

        Args:
            namespace_id: The namespace.
            shard_id: The shard of the workflow.
            workflow_id: The workflow id.
            run_id: The run id.

        Raises:
            InvalidRecord, NotFound: An id is not text of valid UTF-8, or the run has no record.
            IntegrityError: The record was altered.
        """
        keys = await namespace_keys(self._keyring, namespace_id)
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
        archetype_id: int = 0,
    ) -> ExecutionsPage:
        """Return a page of the runs that match.

        Open runs come first. Runs are ordered by close time, start time and run id, descending, unless the filter has an ORDER BY.
        With an ORDER BY that does not begin with StartTime, CloseTime or ExecutionTime, all runs that may match are opened and sorted.
        If the request has taken 3 s, a page has no runs, and its token continues the sorting.

        Args:
            namespace_id: The namespace.
            query: A list filter; blank for all runs.
            types: The namespace's custom search attributes.
            page_size: Maximum number of runs; 0, a negative number or more than 1,000 for 1,000.
            page_token: The token of the page before, for the same query; None or empty for the first page.
            archetype_id: The archetype of CHASM whose executions are listed; 0 for workflows.

        Raises:
            InvalidQuery, InvalidPersistenceRequest: The query is not valid or not supported, or an argument has another type.
            QueryBudgetExceeded: The search can't end in time, or took too long.
            InvalidPageToken: The token belongs to another query, or was altered.
            IntegrityError: A document was altered.
            SearchIndexUnavailable, ResourceExhausted: The search index failed. Retry later.
        """
        keys = await namespace_keys(self._keyring, namespace_id)
        prepared = await self._prepared.prepare_in_turn(keys, query, types, archetype_id)
        asked = asked_for(query, prepared.parsed.order_by, archetype_id)
        if prepared.parsed.group_by:
            raise UnsupportedQuery("GROUP BY clause is not supported in a list; use it with a count")
        page_size = wanted_page_size(page_size, most=MAX_PAGE_SIZE)
        after = await self._resume(namespace_id, asked, page_token) if page_token else ListState(None)
        page, following = await self._searcher.page(prepared, after=after, page_size=page_size)
        if following is None:
            return ExecutionsPage(tuple(page), None)
        keys = await self._keyring.open(namespace_id)  # the first ones may be too old to seal now
        return ExecutionsPage(tuple(page), seal_state(keys, asked, following))

    async def count_workflow_executions(
        self, namespace_id: UUID, query: str, types: SearchAttributes, *, archetype_id: int = 0
    ) -> ExecutionCount:
        """Return the exact number of runs that match. With GROUP BY, return it for each value too; "" is for runs without a value.

        Args:
            namespace_id: The namespace.
            query: A list filter; blank for all runs. An ORDER BY has no effect on a count, as in Temporal.
            types: The namespace's custom search attributes.
            archetype_id: The archetype of CHASM whose executions are counted; 0 for workflows.

        Raises:
            InvalidQuery: The query is not valid or not supported.
            QueryBudgetExceeded, IntegrityError: The count can't end in time, or took too long; or a document was altered.
            SearchIndexUnavailable, ResourceExhausted: The search index failed. Retry later.
        """
        keys = await namespace_keys(self._keyring, namespace_id)
        prepared = await self._prepared.prepare_in_turn(keys, query, types, archetype_id)
        parsed = prepared.parsed
        if parsed.group_by is None:
            return ExecutionCount(await self._searcher.count(prepared))
        groups = await self._searcher.groups(prepared, parsed.group_by)
        ordered = sorted(((name, size) for name, size in groups.items() if size), key=lambda item: (-item[1], item[0]))
        return ExecutionCount(sum(groups.values()), tuple(ordered))

    async def explain(
        self, namespace_id: UUID, query: str, types: SearchAttributes, *, archetype_id: int = 0
    ) -> Explanation:
        """Explain how a filter is answered: what is sent, what the index decides alone, what is opened, and what the query reveals.

        Args:
            namespace_id: The namespace.
            query: A list filter; blank for all runs.
            types: The namespace's custom search attributes.
            archetype_id: The archetype of CHASM whose executions are asked for; 0 for workflows.

        Raises:
            InvalidQuery: The query is not valid.
            SearchIndexUnavailable, ResourceExhausted: The search index failed. Retry later.
        """
        keys = await namespace_keys(self._keyring, namespace_id)
        return await self._searcher.explain(await self._prepared.prepare_in_turn(keys, query, types, archetype_id))

    def _notify(self) -> None:
        if self._notifier is not None:
            self._notifier.notify()

    async def _resume(self, namespace_id: UUID, asked: str, page_token: bytes) -> ListState:
        try:
            return await self._keyring.with_keys(namespace_id, lambda keys: open_state(keys, asked, page_token))
        except KeyNotFound:
            raise InvalidPageToken from None
