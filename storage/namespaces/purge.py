"""Delete all rows of a namespace whose keys are destroyed. Needs no key, and may break off and be run again."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from functools import partial
from types import MappingProxyType
from typing import TYPE_CHECKING, TypeAlias

from strongroom.storage.checks import check_uuid
from strongroom.storage.engine.queries import load_queries
from strongroom.storage.engine.row_level_security import EVERY_NAMESPACE
from strongroom.storage.errors import ConditionFailed

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping
    from uuid import UUID

    from strongroom.storage.engine.connection import Connection
    from strongroom.storage.engine.database import Database

_SQL = load_queries("namespaces/purge")

PURGED_TABLES: Mapping[str, str] = MappingProxyType(
    {
        "executions": "shard_id",
        "execution_maps": "shard_id",
        "current_executions": "shard_id",
        "history_tasks": "shard_id",
        "replication_dlq_tasks": "shard_id",
        "history_node": "shard_id",
        "history_tree": "shard_id",
        "visibility_records": "shard_id",
        "visibility_outbox": "shard_id",
        "visibility_deletes": "shard_id",
        "task_queues": "range_hash",
        "tasks": "range_hash",
        "task_queue_user_data": "range_hash",
        "build_id_to_task_queue": "range_hash",
        "queue_messages": "queue_type",
        "queue_v2_messages": "queue_type",
    }
)
"""Every table with a namespace_id but the registry of keys and that of namespaces; each with the first column of its key."""

CHUNK = 10_000
"""Most rows deleted by one statement, which is a transaction: no lock is held for long, and no time limit is met."""
WINDOW = 1024
"""Values of the first column that one statement looks into."""
BELOW_ALL = -(2**31) - 1
"""Less than any value of such a column, which has 32 bits."""
_BY_NAMESPACE = frozenset({"history_tasks"})
"""Tables whose key does not go on with the namespace, but that have an index on it."""

Progress: TypeAlias = Callable[[str, int], None]
"""Called with a table and how many of its rows are deleted so far; for each table at least once, when it is done."""
Tally: TypeAlias = Callable[["Connection", str, int], Awaitable[None]]
"""Called in each transaction that deletes rows, with their table and number: so that a count survives what breaks off."""
_Delete: TypeAlias = Callable[..., Awaitable[int]]


async def purge_namespace(
    database: Database,
    namespace_id: UUID,
    *,
    progress: Progress | None = None,
    tally: Tally | None = None,
    chunk: int = CHUNK,
) -> Mapping[str, int]:
    """Delete all rows of a namespace, chunk by chunk. What breaks off is finished by running it again.

    Returns:
        Rows deleted by table; tables that had none are left out.

    Raises:
        InvalidPersistenceRequest: not a UUID.
        ConditionFailed: the namespace has keys that are not destroyed; it must be shredded.
    """
    check_uuid("namespace_id", namespace_id)
    async with database.connection(namespace_id) as connection:
        if await connection.fetchrow(_SQL["living"], namespace_id) is not None:
            msg = "this namespace has keys that are not destroyed; shred it, and its rows go too"
            raise ConditionFailed(msg)
        cell = await connection.fetchrow(_SQL["distributed"])
    distributed = cell is not None and cell["distributed"]
    deleted = {}
    for table, lead in PURGED_TABLES.items():
        rows = 0
        delete = partial(_delete, database, table, tally, namespace_id)
        purged = (
            _purged_shards(delete, database, table, lead, namespace_id)
            if distributed
            else _purged(delete, database, table, lead, chunk)
        )
        async for count in purged:
            rows += count
            if progress is not None:
                progress(table, rows)
        if rows:
            deleted[table] = rows
    return MappingProxyType(deleted)


async def count_rows(database: Database, namespace_id: UUID) -> Mapping[str, int]:
    """Return how many rows a namespace has by table; tables that have none are left out. Large tables are read for it."""
    counted = {}
    async with database.transaction(namespace_id, read_only=True, unlimited=True) as connection:
        for table in PURGED_TABLES:
            row = await connection.fetchrow(_SQL["count"].format(table=table), namespace_id)
            counted[table] = row["rows"] if row is not None else 0
    return MappingProxyType({table: rows for table, rows in counted.items() if rows})


async def _purged(delete: _Delete, database: Database, table: str, lead: str, chunk: int) -> AsyncIterator[int]:
    """Purge one table, and tell how many rows each statement deleted.

    A window of values of the key's first column is looked into by the key (shard, namespace), whatever the planner knows of the
    table: a small namespace in a large table is found without reading the table.
    """
    by_namespace, by_key, next_window = (
        # Names of our own, from the mapping above; values are parameters.
        _SQL[query].format(table=table, lead=lead)
        for query in ("delete_by_namespace", "delete_by_key", "window")
    )
    if table in _BY_NAMESPACE:
        while count := await delete(by_namespace, chunk):
            yield count
    else:
        last = BELOW_ALL
        while window := await _fetch_window(database, next_window, last):
            while count := await delete(by_key, window, chunk):
                yield count
            last = window[-1]
    yield 0


async def _purged_shards(
    delete: _Delete, database: Database, table: str, lead: str, namespace_id: UUID
) -> AsyncIterator[int]:
    """As `_purged` for a table that is spread over a Citus cluster: a statement is of one shard, and on one node.

    A ctid is of one node too, so a chunk is what the namespace has in a shard.
    """
    async with database.transaction(namespace_id, read_only=True, unlimited=True) as connection:
        rows = await connection.fetch(_SQL["leads_of_namespace"].format(table=table, lead=lead), namespace_id)
    for row in rows:
        yield await delete(_SQL["delete_of_lead"].format(table=table, lead=lead), row["lead"])
    yield 0


async def _delete(
    database: Database, table: str, tally: Tally | None, namespace_id: UUID, statement: str, *arguments: object
) -> int:
    lent = database.connection if tally is None else database.transaction
    async with lent(namespace_id) as connection:
        rows = int((await connection.execute(statement, namespace_id, *arguments)).rpartition(" ")[2])
        if tally is not None and rows:
            await tally(connection, table, rows)
    return rows


async def _fetch_window(database: Database, statement: str, last: int) -> list[int]:
    async with database.connection(EVERY_NAMESPACE) as connection:  # else each look-up would pass over all others' rows
        return [row["lead"] for row in await connection.fetch(statement, last, WINDOW)]
