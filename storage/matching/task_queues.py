"""What is stored of task queues, and the list of all of them."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING
from uuid import UUID

from strongroom.kms import IntegrityError, KeyringFileError, KmsError, StrongroomError, UnsupportedFormat
from strongroom.kms.sealing.record_kinds import TASK_QUEUE
from strongroom.storage.checks import check_page_size
from strongroom.storage.engine.queries import load_queries
from strongroom.storage.engine.row_level_security import EVERY_NAMESPACE
from strongroom.storage.page_tokens import page_position
from strongroom.storage.page_tokens import page_token as make_token

from .task_queue_keys import TaskQueueKey, sealed_key, unpack_named

if TYPE_CHECKING:
    from collections.abc import Sequence

    from strongroom.kms import Keyring
    from strongroom.storage.data_blob import DataBlob
    from strongroom.storage.engine.connection import Row
    from strongroom.storage.engine.database import Database

    from .task_queue_keys import RowKey

_SQL = load_queries("matching/tasks")
_LIST = "list_task_queue"
_POSITION = struct.Struct(">qqqq")
UNREADABLE = (KmsError, KeyringFileError, IntegrityError, UnsupportedFormat)


@dataclass(frozen=True, slots=True)
class TaskQueue:
    """What is stored of a task queue.

    Attributes:
        queue: which.
        range_id: rises with each new owner; every write of tasks names it.
        info: the service's own; sealed. The expiry of a sticky queue is part of it: nothing here acts on it.
    """

    queue: TaskQueueKey
    range_id: int
    info: DataBlob


@dataclass(frozen=True, slots=True)
class UnreadableTaskQueue:
    """A task queue that does not open: its namespace is shredded, the keys can't be had now, or the row was altered."""

    namespace_id: UUID
    task_type: int
    range_id: int
    reason: StrongroomError


@dataclass(frozen=True, slots=True)
class TaskQueuePage:
    """Task queues in order; those that can't be read, which hide no other; and a token for what follows, None at the end."""

    queues: Sequence[TaskQueue]
    unreadable: Sequence[UnreadableTaskQueue]
    next_page_token: bytes | None


async def open_task_queue(keyring: Keyring, key: RowKey, row: Row) -> TaskQueue:
    """Open the row of a queue.

    Raises:
        IntegrityError: it does not open in this place, at this range_id.
        KmsError: its namespace's keys can't be had.
    """
    place, sealed = sealed_key(key, row["range_id"]), row["data"]
    packed = await keyring.with_keys(key[1], lambda keys: keys.open(TASK_QUEUE, place, sealed))
    name, info = unpack_named(packed)
    return TaskQueue(TaskQueueKey(key[1], name, key[3]), row["range_id"], info)


async def list_task_queues(
    database: Database, keyring: Keyring, *, fair: bool, page_size: int, page_token: bytes | None
) -> TaskQueuePage:
    """Read a page of the queues of all namespaces; see `TaskStore.list_task_queue`."""
    check_page_size(page_size)
    binding = b"fair" if fair else b"plain"
    position = () if page_token is None else _unpacked(page_position(page_token, _LIST, binding, numbers=6))
    async with database.connection(EVERY_NAMESPACE) as connection:
        rows = await connection.fetch(_SQL["list_after" if position else "list"], fair, page_size + 1, *position)
    queues: list[TaskQueue] = []
    unreadable: list[UnreadableTaskQueue] = []
    without_keys: dict[UUID, StrongroomError] = {}  # asked for once: each time may be a call of a KMS that is down
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
    return TaskQueuePage(queues, unreadable, make_token(_LIST, binding, *_packed(rows[page_size - 1])))


def _packed(row: Row) -> tuple[int, ...]:
    """Return a row's place in the list as numbers."""
    return row["range_hash"], *_POSITION.unpack(row["namespace_id"].bytes + row["task_queue_id"]), row["task_type"]


def _unpacked(position: tuple[int, ...]) -> tuple[int, UUID, bytes, int]:
    range_hash, *ids, task_type = position
    packed = _POSITION.pack(*ids)
    return range_hash, UUID(bytes=packed[:16]), packed[16:], task_type
