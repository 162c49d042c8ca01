"""Writes of dead letters, and what they change, for the journal."""

from __future__ import annotations

from typing import TYPE_CHECKING

from strongroom.storage.engine.queries import load_queries
from strongroom.storage.journal.entry import Changes
from strongroom.storage.journal.images import tag
from strongroom.storage.journal.rows import RowImages

if TYPE_CHECKING:
    from uuid import UUID

    from strongroom.storage.engine.connection import Connection

_SQL = load_queries("executions/history_tasks")
LETTERS = RowImages("replication_dlq_tasks")


async def put_letter(connection: Connection, key: tuple[int, str, int], namespace_id: UUID, sealed: bytes) -> Changes:
    """Write a dead letter in place of one with the same key, which may be of another namespace. Return what changed.

    Args:
        connection: A connection in a transaction.
        key: The shard, the source cluster and the task id.
        namespace_id: The letter's namespace.
        sealed: The sealed letter.

    Raises:
        StorageError: The database does not answer.
    """
    shard_id, source_cluster_name, task_id = key
    changes = Changes(shard_id)
    changes.add(LETTERS.row(namespace_id, source_cluster_name, task_id), tag(sealed))
    while not await connection.fetch(_SQL["put_dlq"], *key, namespace_id, sealed):
        for row in await connection.fetch(_SQL["delete_dlq"], *key):
            changes.remove(LETTERS.row(row["namespace_id"], source_cluster_name, task_id), tag(row["data"]))
    return changes


def deleted_letters(shard_id: int, source_cluster_name: str, min_task_id: int, max_task_id: int) -> Changes:
    """Return the changes of a write that deletes a range of dead letters."""
    first, end = LETTERS.key(source_cluster_name, min_task_id), LETTERS.key(source_cluster_name, max_task_id)
    return Changes(shard_id, ranges=[(LETTERS.number, first, end)])
