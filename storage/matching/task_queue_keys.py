"""What a task queue is in the rows: keyed tokens for its name, and the name itself inside sealed values."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, NamedTuple, TypeAlias
from uuid import UUID

from strongroom.storage.checks import check_id, check_number
from strongroom.storage.data_blob import DataBlob
from strongroom.storage.errors import DataLoss, InvalidPersistenceRequest

if TYPE_CHECKING:
    from strongroom.kms import Key, NamespaceKeys


RowKey: TypeAlias = tuple[int, UUID, bytes, int, bool]
"""What the rows of a queue begin with: range_hash, namespace, token, type, form."""
_PLACES_KEPT = 10_000
_INT16 = 2**15
_INT32 = 2**31
_NAME_LENGTH = struct.Struct(">H")
_TASK_TYPE = struct.Struct(">H")
_SUBQUEUE = struct.Struct(">I")


class TaskQueueKey(NamedTuple):
    """Names a task queue.

    Attributes:
        namespace_id: whose.
        name: as the tenant chose it.
        task_type: Temporal's TaskQueueType, by number: 1 workflow, 2 activity, 3 Nexus.
    """

    namespace_id: UUID
    name: str
    task_type: int


def check_task_queue(queue: object) -> bytes:
    """Refuse what does not name a task queue; return its name's bytes. The namespace is looked at where its keys are opened."""
    if not isinstance(queue, TaskQueueKey):
        msg = "queue must be a TaskQueueKey"
        raise InvalidPersistenceRequest(msg)
    name = check_id("task queue", queue.name)
    check_number("task_type", queue.task_type, limit=_INT16)
    return name


def check_subqueue(value: object) -> None:
    """Refuse what is not the number of a subqueue: 0 for the queue itself."""
    check_number("subqueue", value, limit=_INT32)


def task_queue_hash(keys: NamespaceKeys, name: bytes, task_type: int) -> int:
    """Return what stands for the shard of a queue, its subqueues and their tasks."""
    return _hash(keys, name + _TASK_TYPE.pack(task_type))


def user_data_hash(keys: NamespaceKeys) -> int:
    """Return what stands for the shard of a namespace's user data: one, as several queues are updated in one transaction."""
    return _hash(keys, b"")


def task_queue_token(keys: NamespaceKeys, name: bytes, subqueue: int = 0) -> bytes:
    """Return the token that stands for a queue, or for one of its subqueues."""
    if subqueue:
        return keys.identity("task subqueue").token(_SUBQUEUE.pack(subqueue) + name)[:16]
    return keys.identity("task queue").token(name)[:16]


def row_key(keys: NamespaceKeys, queue: TaskQueueKey, name: bytes, *, fair: bool, subqueue: int = 0) -> RowKey:
    """Return what the rows of a queue, or of one of its subqueues, begin with."""
    range_hash = task_queue_hash(keys, name, queue.task_type)
    return range_hash, queue.namespace_id, task_queue_token(keys, name, subqueue), queue.task_type, fair


def sealed_key(key: RowKey, range_id: int) -> Key:
    """Return the key that the sealed value of a queue's row is bound to."""
    range_hash, _, queue_id, task_type, fair = key
    return range_hash, queue_id, task_type, int(fair), range_id


class QueuePlaces:
    """Remembers where queues stand: range_hash and token, which are the same for the life of a namespace.

    They are asked for in each call that matching makes, and made by two keyed hashes. Kept are names, and what stands in clear in the
    rows; a caller has opened the namespace's keys before it asks.
    """

    def __init__(self) -> None:
        self._known: dict[tuple[UUID, bytes, int, int], tuple[int, bytes]] = {}

    def find(self, keys: NamespaceKeys, queue: TaskQueueKey, name: bytes, subqueue: int = 0) -> tuple[int, bytes]:
        """Return range_hash and token of a queue, or of one of its subqueues."""
        slot = (queue.namespace_id, name, queue.task_type, subqueue)
        found = self._known.get(slot)
        if found is None:
            if len(self._known) >= _PLACES_KEPT:
                self._known.clear()
            place = task_queue_hash(keys, name, queue.task_type), task_queue_token(keys, name, subqueue)
            found = self._known[slot] = place
        return found


def build_id_token(keys: NamespaceKeys, build_id: bytes) -> bytes:
    """Return the token that stands for a build id."""
    return keys.identity("build id").token(build_id)[:16]


def pack_named(name: bytes, blob: DataBlob) -> bytes:
    """Return what is sealed of a queue: its name and a blob."""
    return _NAME_LENGTH.pack(len(name)) + name + blob.pack()


def unpack_named(packed: bytes) -> tuple[str, DataBlob]:
    """Undo `pack_named`.

    Raises:
        DataLoss: bytes that `pack_named` did not make.
    """
    try:
        end = _NAME_LENGTH.size + _NAME_LENGTH.unpack_from(packed)[0]
        name = packed[_NAME_LENGTH.size : end].decode()
    except (struct.error, UnicodeDecodeError):
        msg = "a stored task queue is of a form that this version does not know"
        raise DataLoss(msg) from None
    return name, DataBlob.unpack(packed[end:])


def _hash(keys: NamespaceKeys, message: bytes) -> int:
    token = keys.identity("task queue shard").token(message)
    return int.from_bytes(token[:4], "big") & (_INT32 - 1)
