"""Deletes the first tasks of a queue, which are completed."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from strongroom.storage.checks import check_number
from strongroom.storage.engine.queries import load_queries
from strongroom.storage.errors import ConditionFailed
from strongroom.storage.fences import altered, has_altered_range, lease_mac

from .journal import completed_tasks
from .task_batches import LEASE, NOT_OWNER
from .task_requests import check_pass

if TYPE_CHECKING:
    from strongroom.kms import NamespaceKeys
    from strongroom.storage.engine.connection import Connection
    from strongroom.storage.engine.database import Database
    from strongroom.storage.journal.writer import Journal

    from .task_queue_keys import RowKey

_SQL = load_queries("matching/tasks")
_INT32 = 2**31


class CompletedTasks(NamedTuple):
    """The first tasks of a queue.

    Attributes:
        key: The key of the queue or subqueue.
        max_pass: The pass of the first task that stays.
        max_task_id: The id of the first task that stays.
        limit: The maximum number of tasks to delete.
    """

    key: RowKey
    max_pass: int
    max_task_id: int
    limit: int


class Owner(NamedTuple):
    """The owner of a queue, as its row must name it.

    Attributes:
        key: The key of the queue's row. A subqueue has no row of its own.
        range_id: The range id that the owner holds.
        range_mac: Its MAC.
    """

    key: RowKey
    range_id: int
    range_mac: bytes


def check_bounds(
    max_pass: int, max_task_id: int, limit: int, range_id: int | None, *, fair: bool
) -> tuple[int, int, int]:
    """Refuse invalid numbers of a deletion, and return the last fields of `CompletedTasks`.

    Raises:
        InvalidPersistenceRequest: A number is invalid.
    """
    check_number("max_task_id", max_task_id)
    check_pass("max_pass", max_pass, fair=fair)
    check_number("limit", limit, least=1, limit=_INT32)
    if range_id is not None:
        check_number("range_id", range_id)
    return max_pass, max_task_id, limit


def owner_of(keys: NamespaceKeys, key: RowKey, range_id: int) -> Owner:
    """Return the owner that holds a range id."""
    return Owner(key, range_id, lease_mac(keys, key, range_id))


async def delete_tasks(database: Database, journal: Journal, tasks: CompletedTasks, owner: Owner | None) -> int:
    """Delete tasks, and return their number.

    Args:
        database: The cell's database.
        journal: The journal of this process.
        tasks: The tasks.
        owner: The owner that the queue must have; None for any.

    Raises:
        ConditionFailed: The queue has another owner, or does not exist. Nothing was deleted.
        IntegrityError: The queue's range id was altered. Nothing was deleted.
    """
    key, *bounds = tasks
    lease = (None, None, None) if owner is None else (owner.key[2], owner.range_id, owner.range_mac)
    changes = completed_tasks(key, tasks.max_pass, tasks.max_task_id)
    async with journal.entry(changes) as entry, database.connection(key[1]) as connection:
        done = await connection.fetchrow(_SQL["complete"], *key, *bounds, *lease, *entry.row)
        entry.answer(done)
        if done is None and owner is not None:
            await _check_owner(connection, owner)
    return 0 if done is None else int(done["tasks"])


async def _check_owner(connection: Connection, owner: Owner) -> None:
    """Raise an error if no task was deleted because the queue has another owner, and not because there was none.

    This may read the row after the deletion, because an owner that lost its queue never gets it back.
    """
    row = await connection.fetchrow(_SQL["get"], *owner.key)
    if row is not None and has_altered_range(row, owner.range_id, owner.range_mac):
        raise altered(LEASE)
    if row is None or row["range_id"] != owner.range_id:
        raise ConditionFailed(NOT_OWNER)
