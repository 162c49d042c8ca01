"""The rows of task queues, and the list of all queues."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING
from uuid import UUID

from strongroom.kms import KmsError, StrongroomError
from strongroom.kms.sealing.record_kinds import TASK_QUEUE
from strongroom.storage.checks import check_blob, check_number, check_type, open_keys, wanted_page_size
from strongroom.storage.data_blob import DataBlob
from strongroom.storage.engine.queries import load_queries
from strongroom.storage.engine.row_level_security import EVERY_NAMESPACE
from strongroom.storage.errors import ConditionFailed
from strongroom.storage.fences import altered, has_altered_range, lease_mac
from strongroom.storage.page_tokens import page_position
from strongroom.storage.page_tokens import page_token as make_token
from strongroom.storage.sealing import UNREADABLE

from .task_batches import LEASE, NOT_OWNER
from .task_queue_keys import TaskQueueKey, check_task_queue, pack_named, row_key, sealed_key, unpack_named

if TYPE_CHECKING:
    from collections.abc import Sequence

    from strongroom.kms import Keyring
    from strongroom.storage.engine.connection import Connection, Row
    from strongroom.storage.engine.database import Database

    from .task_queue_keys import RowKey

_SQL = load_queries("matching/tasks")
_LIST = "list_task_queue"
_POSITION = struct.Struct(">qqqq")


@dataclass(frozen=True, slots=True)
class TaskQueue:
    """The stored row of a task queue.

    Attributes:
        queue: The queue's namespace, name and type.
        range_id: The owner's lease. Each new owner increments it, and each write of tasks is checked against it.
        info: The service's blob, at most 4 MiB, which is stored sealed. It contains the expiry of a sticky queue. The store ignores
            that expiry.
    """

    queue: TaskQueueKey
    range_id: int
    info: DataBlob


@dataclass(frozen=True, slots=True)
class UnreadableTaskQueue:
    """A task queue that can't be opened.

    Attributes:
        namespace_id: The namespace of the queue.
        task_type: The number of the queue's type.
        range_id: The stored range id.
        reason: The error: the namespace is shredded, its keys can't be unwrapped now, or the row was altered.
    """

    namespace_id: UUID
    task_type: int
    range_id: int
    reason: StrongroomError


@dataclass(frozen=True, slots=True)
class TaskQueuePage:
    """A page of the list of all task queues.

    Attributes:
        queues: The opened queues, in the order of their tokens.
        unreadable: The queues that can't be opened.
        next_page_token: The token of the next page; None at the end.
    """

    queues: Sequence[TaskQueue]
    unreadable: Sequence[UnreadableTaskQueue]
    next_page_token: bytes | None


async def seal_task_queue(
    keyring: Keyring, task_queue: TaskQueue, *, fair: bool
) -> tuple[int, UUID, bytes, int, bool, int, bytes, bytes]:
    """Return the columns of a queue's row. The name and the blob are sealed.

    Raises:
        InvalidPersistenceRequest: A field is invalid.
        NamespaceNotFound: The namespace does not exist.
        TransactionSizeLimit: The blob is larger than 4 MiB.
    """
    check_type("task_queue", task_queue, TaskQueue)
    name = check_task_queue(task_queue.queue)
    check_number("range_id", task_queue.range_id)
    check_blob("info", task_queue.info)
    keys = await open_keys(keyring, task_queue.queue.namespace_id)
    key = row_key(keys, task_queue.queue, name, fair=fair)
    sealed = keys.seal(TASK_QUEUE, sealed_key(key, task_queue.range_id), pack_named(name, task_queue.info))
    return (*key, task_queue.range_id, lease_mac(keys, key, task_queue.range_id), sealed)


async def check_owner(
    connection: Connection, written: Row | None, key: RowKey, *, range_id: int, range_mac: bytes
) -> None:
    """Raise an error if a write changed no row. Another owner holds the queue then, or its row was altered.

    Args:
        connection: The connection of the write.
        written: The row that the write returned; None if it changed no row.
        key: The queue's key.
        range_id: The range id that the write expected.
        range_mac: Its MAC.

    Raises:
        ConditionFailed: No row was written.
        IntegrityError: No row was written, because the range id does not fit its MAC.
    """
    if written is not None:
        return
    row = await connection.fetchrow(_SQL["get"], *key)
    if row is not None and has_altered_range(row, range_id, range_mac):
        raise altered(LEASE)
    raise ConditionFailed(NOT_OWNER)


async def open_task_queue(keyring: Keyring, key: RowKey, row: Row) -> TaskQueue:
    """Open the row of a queue.

    Raises:
        IntegrityError: The row does not open under this key and range id.
        KmsError: The namespace's keys can't be unwrapped.
    """
    bound_key, sealed = sealed_key(key, row["range_id"]), row["data"]
    packed = await keyring.with_keys(key[1], lambda keys: keys.open(TASK_QUEUE, bound_key, sealed))
    name, info = unpack_named(packed)
    return TaskQueue(TaskQueueKey(key[1], name, key[3]), row["range_id"], info)


async def list_task_queues(
    database: Database, keyring: Keyring, *, fair: bool, page_size: int, page_token: bytes | None
) -> TaskQueuePage:
    """Return a page of the task queues of all namespaces; see `TaskStore.list_task_queue`."""
    page_size = wanted_page_size(page_size)
    scope = b"fair" if fair else b"plain"
    position = _position_columns(page_position(page_token, _LIST, scope, numbers=6)) if page_token else ()
    async with database.connection(EVERY_NAMESPACE) as connection:
        rows = await connection.fetch(_SQL["list_after" if position else "list"], fair, page_size + 1, *position)
    queues: list[TaskQueue] = []
    unreadable: list[UnreadableTaskQueue] = []
    # Try the keys of each namespace only once per page, because a KMS that is down is slow to answer.
    without_keys: dict[UUID, StrongroomError] = {}
    for row in rows[:page_size]:
        namespace_id = UUID(bytes=row["namespace_id"].bytes)
        key = (row["range_hash"], namespace_id, row["task_queue_id"], row["task_type"], fair)
        reason = without_keys.get(namespace_id)
        if reason is None:
            try:
                queues.append(await open_task_queue(keyring, key, row))
            except UNREADABLE as error:
                reason = error
                if isinstance(error, KmsError):
                    without_keys[namespace_id] = error
        if reason is not None:
            unreadable.append(UnreadableTaskQueue(namespace_id, row["task_type"], row["range_id"], reason))
    if len(rows) <= page_size:
        return TaskQueuePage(queues, unreadable, None)
    return TaskQueuePage(queues, unreadable, make_token(_LIST, scope, *_position_numbers(rows[page_size - 1])))


def _position_numbers(row: Row) -> tuple[int, ...]:
    """Return a row's position in the list as numbers."""
    return row["range_hash"], *_POSITION.unpack(row["namespace_id"].bytes + row["task_queue_id"]), row["task_type"]


def _position_columns(position: tuple[int, ...]) -> tuple[int, UUID, bytes, int]:
    """Return the columns of a position; the inverse of `_position_numbers`."""
    range_hash, *ids, task_type = position
    packed = _POSITION.pack(*ids)
    return range_hash, UUID(bytes=packed[:16]), packed[16:], task_type
