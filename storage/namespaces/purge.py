"""Delete all rows of a namespace whose keys are destroyed. A purge needs no key, and an interrupted purge can be run again."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from functools import partial
from types import MappingProxyType
from typing import TYPE_CHECKING, TypeAlias

from strongroom.kms import IntegrityError, commits_several_times
from strongroom.storage.checks import check_uuid
from strongroom.storage.engine.queries import load_queries
from strongroom.storage.errors import ConditionFailed
from strongroom.storage.journal.entry import Changes
from strongroom.storage.journal.images import NUMBERS, image_sql, shard_sql
from strongroom.storage.schema.partitions import partition_windows, partitions_of_namespace
from strongroom.storage.schema.tables import TABLES

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping, Sequence
    from uuid import UUID

    from strongroom.storage.engine.connection import Connection, Row
    from strongroom.storage.engine.database import Database
    from strongroom.storage.journal.writer import Journal
    from strongroom.storage.schema.table import Table

_SQL = load_queries("namespaces/purge")

PURGED_TABLES = tuple(table for table in TABLES if table.is_purged)

CHUNK = 10_000
"""Maximum number of rows that one statement deletes. Each is a transaction, so it holds locks briefly and meets no time limit."""

Progress: TypeAlias = Callable[[str, int], None]
"""Called with a table and the number of its rows deleted so far. It is called at least once for each table, when the table is done."""
Tally: TypeAlias = Callable[["Connection", str, int], Awaitable[None]]
"""Called with a table and a number of rows, in the transaction that deletes them, so that an interrupted purge keeps its counts."""
_Delete: TypeAlias = Callable[..., Awaitable[int]]


@commits_several_times
async def purge_namespace(
    database: Database,
    journal: Journal,
    namespace_id: UUID,
    *,
    progress: Progress | None = None,
    tally: Tally | None = None,
    chunk: int = CHUNK,
) -> Mapping[str, int]:
    """Delete all rows of a namespace, chunk by chunk. Run it again to finish an interrupted purge.

    Args:
        database: The database.
        journal: The journal of this process.
        namespace_id: The namespace, whose keys must be destroyed.
        progress: Called while rows are deleted.
        tally: Called in each transaction that deletes rows.
        chunk: Maximum number of rows that one statement deletes.

    Returns:
        The number of rows deleted, by table. A table without such rows is left out.

    Raises:
        InvalidPersistenceRequest: `namespace_id` is not a UUID.
        ConditionFailed: A key of the namespace is not destroyed; shred the namespace instead.
    """
    check_uuid("namespace_id", namespace_id)
    async with database.connection(namespace_id) as connection:
        if await connection.fetchrow(_SQL["living"], namespace_id) is not None:
            msg = "this namespace has keys that are not destroyed; shred it, and its rows go too"
            raise ConditionFailed(msg)
        cell = await connection.fetchrow(_SQL["distributed"])
    distributed = cell is not None and cell["distributed"]
    deleted = {}
    for table in PURGED_TABLES:
        rows = 0
        delete = partial(_delete, database, journal, table, tally, namespace_id)
        purged = (
            _purged_partitions(delete, database, table, namespace_id)
            if distributed
            else _purged(delete, database, table, chunk)
        )
        async for count in purged:
            rows += count
            if progress is not None:
                progress(table.name, rows)
        if rows:
            deleted[table.name] = rows
    return MappingProxyType(deleted)


async def count_rows(database: Database, namespace_id: UUID) -> Mapping[str, int]:
    """Return the number of rows of a namespace by table, without tables that have none. It reads large tables."""
    counted = {}
    async with database.transaction(namespace_id, read_only=True, unlimited=True) as connection:
        for table in PURGED_TABLES:
            row = await connection.fetchrow(_SQL["count"].format(table=table.name), namespace_id)
            counted[table.name] = row["rows"] if row is not None else 0
    return MappingProxyType({table: rows for table, rows in counted.items() if rows})


async def _purged(delete: _Delete, database: Database, table: Table, chunk: int) -> AsyncIterator[int]:
    """Purge one table, and yield the number of rows that each statement deleted.

    A statement looks the namespace up in each partition of a window. Each look-up is for one partition, so the planner uses the
    primary key whatever its statistics are.
    """
    if table.has_namespace_index:
        statement = _SQL["delete_by_namespace"].format(table=table.name, returning=_returning(table))
        while count := await delete(statement, chunk):
            yield count
    else:
        statement = _SQL["delete_by_key"].format(
            table=table.name, partition=table.partition_column, returning=_returning(table)
        )
        async for window in partition_windows(database, table):
            while count := await delete(statement, window, chunk):
                yield count
    yield 0


async def _purged_partitions(
    delete: _Delete, database: Database, table: Table, namespace_id: UUID
) -> AsyncIterator[int]:
    """Purge one table of a Citus cluster like `_purged`, with a statement for each partition.

    A `ctid` belongs to one node, so a statement deletes all rows that the namespace has in a partition, without a limit.
    """
    statement = _SQL["delete_of_partition"].format(
        table=table.name, partition=table.partition_column, returning=_returning(table, on_cluster=True)
    )
    for value in await partitions_of_namespace(database, table, namespace_id):
        yield await delete(statement, value)
    yield 0


async def _delete(
    database: Database,
    journal: Journal,
    table: Table,
    tally: Tally | None,
    namespace_id: UUID,
    statement: str,
    *arguments: object,
) -> int:
    async with database.transaction(namespace_id) as connection:
        if table.name in NUMBERS:
            deleted = await connection.fetch(statement, namespace_id, *arguments)
            rows = len(deleted)
            await journal.write(connection, *_purged_rows(table, namespace_id, deleted))
        else:
            rows = int((await connection.execute(statement, namespace_id, *arguments)).rpartition(" ")[2])
        if tally is not None and rows:
            await tally(connection, table.name, rows)
    return rows


def _returning(table: Table, *, on_cluster: bool = False) -> str:
    if table.name not in NUMBERS:
        return ""
    return f" RETURNING {shard_sql(table)} AS shard, {image_sql(table, on_cluster=on_cluster)} AS image"


def _purged_rows(table: Table, namespace_id: UUID, deleted: Sequence[Row]) -> list[Changes]:
    """Return the changes of each shard.

    Raises:
        IntegrityError: A row is not of the namespace and the table. The transaction is then rolled back.
    """
    changes: dict[int, Changes] = {}
    prefix = bytes([NUMBERS[table.name]]) + namespace_id.bytes
    for row in deleted:
        if not row["image"].startswith(prefix):
            raise IntegrityError(f"the database deleted a row of {table.name} that a purge did not ask for")
        changes.setdefault(row["shard"], Changes(row["shard"])).replaced.append(row["image"])
    return list(changes.values())
