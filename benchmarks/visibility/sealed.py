"""Sealed visibility as a contender."""

from __future__ import annotations

import time
from contextlib import asynccontextmanager
from itertools import islice
from typing import TYPE_CHECKING, Any

from strongroom.visibility import VisibilityManager, attribute_types
from tests.support.plaintext_copy.records import record_of

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator, Sequence

    from strongroom.driver.strongroom import Strongroom
    from strongroom.storage import Database, Namespace, VisibleNamespaces


def batched(items: Iterable[Any], size: int) -> Iterator[tuple[Any, ...]]:
    """Yield batches, like `itertools.batched` in later versions of Python."""
    items = iter(items)
    while batch := tuple(islice(items, size)):
        yield batch


class Overheard:
    """A database that records its statements."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self.size = database.size
        self.heard: list[tuple[Any, ...]] = []

    @asynccontextmanager
    async def connection(self, namespaces: VisibleNamespaces) -> AsyncIterator[Overheard]:
        """Lend a connection."""
        async with self._database.connection(namespaces) as connection:
            self._connection = connection
            yield self

    def has_row_level_security(self, _: Overheard) -> bool:
        """False: the connection is the table owner's."""
        return False

    async def fetch(self, *statement: Any) -> Sequence[Any]:
        """Record a statement, and run it."""
        self.heard.append(statement)
        return await self._connection.fetch(*statement)

    async def fetchrow(self, *statement: Any) -> Any:
        """Record a statement, run it, and return its first row."""
        return (await self.fetch(*statement))[0]


_PAGE = 100


class Sealed:
    """The sealed contender: one namespace, searched through either index."""

    def __init__(self, strongroom: Strongroom, namespace: Namespace) -> None:
        self.strongroom, self.namespace_id, self.types = strongroom, namespace.namespace_id, attribute_types(namespace)
        self.elastic = strongroom.visibility
        self.postgres = VisibilityManager(strongroom.database, strongroom.keyring, strongroom.journal.journal)

    async def write(self, found: Sequence[dict[str, Any]], *, version: int = 1) -> float:
        """Write documents to the database; return the CPU seconds of this process to seal them."""
        records = [record_of({k: v for k, v in each.items() if k != "Memo"}, memo=each["Memo"]) for each in found]
        shard_of = self.strongroom.shards.shard_of
        rows = [(await shard_of(self.namespace_id, record.workflow_id), version, record) for record in records]
        began = time.process_time()
        await self.elastic.record_workflow_executions(self.namespace_id, rows, self.types)
        return time.process_time() - began

    async def body(self, query: str) -> dict[str, Any]:
        """Return the first request that a list of 100 sends to the cluster."""
        index = self.strongroom.search_index
        assert index is not None
        sent: list[dict[str, Any]] = []
        client = index.client
        real = client.search

        async def heard(body: dict[str, Any], *, snapshot: str | None) -> dict[str, Any]:
            sent.append(dict(body))
            return await real(body, snapshot=snapshot)

        client.search = heard  # type: ignore[method-assign]
        try:
            await self.list(self.elastic, query)
        finally:
            client.search = real  # type: ignore[method-assign]
        return sent[0]

    async def statement(self, query: str, call: Callable[[VisibilityManager, str], Awaitable[int]]) -> tuple[Any, ...]:
        """Return the first statement that a call sends to PostgreSQL, with its parameters."""
        overheard: Any = Overheard(self.strongroom.database)
        await call(VisibilityManager(overheard, self.strongroom.keyring, self.strongroom.journal.journal), query)
        found: tuple[Any, ...] = overheard.heard[0]
        return found

    async def list(self, manager: VisibilityManager, query: str) -> int:
        """List 100 runs. A list that is sorted takes several requests if it is not sorted after 3 s."""
        found, token = 0, None
        while True:
            page = await manager.list_workflow_executions(
                self.namespace_id, query, self.types, page_size=_PAGE - found, page_token=token
            )
            found, token = found + len(page.executions), page.next_page_token
            if found == _PAGE or token is None:
                return found

    async def count(self, manager: VisibilityManager, query: str) -> int:
        """Count the runs of a query."""
        return (await manager.count_workflow_executions(self.namespace_id, query, self.types)).count
