"""How rows name a task queue: keyed tokens in the keys, and the name itself inside the sealed values."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, NamedTuple, TypeAlias
from uuid import UUID

from strongroom.storage.checks import check_id, check_number
from strongroom.storage.data_blob import DataBlob
from strongroom.storage.errors import DataLoss, InvalidPersistenceRequest

if TYPE_CHECKING:
    from strongroom.kms import NamespaceKeys, RecordKey


RowKey: TypeAlias = tuple[int, UUID, bytes, int, bool]
"""The first columns of a queue's rows: range hash, namespace, token, type, form."""
_CACHED_QUEUES = 10_000
_INT16 = 2**15
_INT32 = 2**31
_NAME_LENGTH = struct.Struct(">H")
_TASK_TYPE = struct.Struct(">H")
_SUBQUEUE = struct.Struct(">I")


class TaskQueueKey(NamedTuple):
    """The identity of a task queue.

    Attributes:
        namespace_id: The namespace of the queue.
        name: The name that the tenant chose; 1 to 65,535 bytes of UTF-8.
        task_type: The number of Temporal's TaskQueueType: 1 workflow, 2 activity, 3 Nexus.
    """

    namespace_id: UUID
    name: str
    task_type: int


def check_task_queue(queue: object) -> bytes:
    """Refuse an invalid task queue key, and return the bytes of its name. Opening the keys checks the namespace.

    Raises:
        InvalidPersistenceRequest: The value is not a `TaskQueueKey`, or a field is invalid.
    """
    if not isinstance(queue, TaskQueueKey):
        msg = "queue must be a TaskQueueKey"
        raise InvalidPersistenceRequest(msg)
    name = check_id("task queue", queue.name)
    check_number("task_type", queue.task_type, limit=_INT16)
    return name


def check_subqueue(value: object) -> None:
    """Refuse an invalid number of a subqueue. The queue itself is 0.

    Raises:
        InvalidPersistenceRequest: The value is not a whole number from 0 to 2^31 - 1.
    """
    check_number("subqueue", value, limit=_INT32)


def task_queue_hash(keys: NamespaceKeys, name: bytes, task_type: int) -> int:
    """Return the range hash of a queue, its subqueues and their tasks, which takes the place of a shard id."""
    return _hash(keys, name + _TASK_TYPE.pack(task_type))


def user_data_hash(keys: NamespaceKeys) -> int:
    """Return the range hash of a namespace's user data. There is only one, because a transaction may update several queues."""
    return _hash(keys, b"")


def task_queue_token(keys: NamespaceKeys, name: bytes, subqueue: int = 0) -> bytes:
    """Return the token of a queue, or of one of its subqueues."""
    if subqueue:
        return keys.identity("task subqueue").token(_SUBQUEUE.pack(subqueue) + name)[:16]
    return keys.identity("task queue").token(name)[:16]


def row_key(keys: NamespaceKeys, queue: TaskQueueKey, name: bytes, *, fair: bool, subqueue: int = 0) -> RowKey:
    """Return the first columns of the rows of a queue, or of one of its subqueues."""
    range_hash = task_queue_hash(keys, name, queue.task_type)
    return range_hash, queue.namespace_id, task_queue_token(keys, name, subqueue), queue.task_type, fair


def sealed_key(key: RowKey, range_id: int) -> RecordKey:
    """Return the key that the sealed value of a queue's row is bound to."""
    range_hash, _, queue_id, task_type, fair = key
    return range_hash, queue_id, task_type, int(fair), range_id


class QueueRowIds:
    """Caches the range hash and the token of queues, which never change while a namespace lives.

    Matching needs them in every call, and each takes a keyed hash. The cache holds names, and values that are in clear in the rows. A
    caller opens the namespace's keys before it uses the cache.
    """

    def __init__(self) -> None:
        self._cached: dict[tuple[UUID, bytes, int, int], tuple[int, bytes]] = {}

    def get(self, keys: NamespaceKeys, queue: TaskQueueKey, name: bytes, subqueue: int = 0) -> tuple[int, bytes]:
        """Return the range hash and token of a queue, or of one of its subqueues."""
        identity = (queue.namespace_id, name, queue.task_type, subqueue)
        row_ids = self._cached.get(identity)
        if row_ids is None:
            if len(self._cached) >= _CACHED_QUEUES:
                self._cached.clear()
            row_ids = task_queue_hash(keys, name, queue.task_type), task_queue_token(keys, name, subqueue)
            self._cached[identity] = row_ids
        return row_ids


def build_id_token(keys: NamespaceKeys, build_id: bytes) -> bytes:
    """Return the token of a build id."""
    return keys.identity("build id").token(build_id)[:16]


def pack_named(name: bytes, blob: DataBlob) -> bytes:
    """Return the plaintext of a queue's sealed value: its name and a blob."""
    return _NAME_LENGTH.pack(len(name)) + name + blob.pack()


def unpack_named(packed: bytes) -> tuple[str, DataBlob]:
    """Undo `pack_named`.

    Raises:
        DataLoss: `pack_named` did not make these bytes.
    """
    try:
        end = _NAME_LENGTH.size + _NAME_LENGTH.unpack_from(packed)[0]
        name = packed[_NAME_LENGTH.size : end].decode()
    except (struct.error, UnicodeDecodeError):
        msg = "a stored task queue has a form that this version does not know"
        raise DataLoss(msg) from None
    return name, DataBlob.unpack(packed[end:])


def _hash(keys: NamespaceKeys, message: bytes) -> int:
    token = keys.identity("task queue shard").token(message)
    return int.from_bytes(token[:4], "big") & (_INT32 - 1)
