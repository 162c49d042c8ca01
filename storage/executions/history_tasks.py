"""Tasks of the history service: what is to be done for a run, in categories of two types. Temporal's history task operations."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from typing import TYPE_CHECKING, NamedTuple
from uuid import UUID

from strongroom.kms import KmsError
from strongroom.kms.sealing.record_kinds import HISTORY_TASK, REPLICATION_DLQ_TASK
from strongroom.storage.checks import (
    check_blob,
    check_name,
    check_number,
    check_page_size,
    check_shard_id,
    check_type,
    open_keys,
)
from strongroom.storage.data_blob import DataBlob
from strongroom.storage.engine.functions import load_functions
from strongroom.storage.engine.queries import load_queries
from strongroom.storage.engine.row_level_security import EVERY_NAMESPACE, SET_BY_FUNCTION
from strongroom.storage.errors import InvalidPersistenceRequest, ShardOwnershipLost
from strongroom.storage.page_tokens import page_position, page_token

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from strongroom.kms import Key, Keyring, NamespaceKeys, RecordKind
    from strongroom.storage.engine.connection import Row
    from strongroom.storage.engine.database import Database

_SQL = load_queries("executions/history_tasks")


class CategoryType(IntEnum):
    """How the tasks of a category are ordered."""

    IMMEDIATE = 1
    """By task id alone; `fire_time` is 0."""
    SCHEDULED = 2
    """By fire time, then task id."""


class TaskCategory(NamedTuple):
    """A queue of tasks that each shard has."""

    category_id: int
    type: CategoryType


TRANSFER = TaskCategory(1, CategoryType.IMMEDIATE)
TIMER = TaskCategory(2, CategoryType.SCHEDULED)
REPLICATION = TaskCategory(3, CategoryType.IMMEDIATE)
VISIBILITY = TaskCategory(4, CategoryType.IMMEDIATE)
ARCHIVAL = TaskCategory(5, CategoryType.SCHEDULED)
OUTBOUND = TaskCategory(7, CategoryType.IMMEDIATE)


class TaskKey(NamedTuple):
    """Where a task stands in its queue: nanoseconds since 1970 (0 in an immediate category), and an id unique in its shard."""

    fire_time: int
    task_id: int


class HistoryTask(NamedTuple):
    """A task.

    Attributes:
        namespace_id: whose; told by reads, and not looked at by writes, which name the namespace themselves.
    """

    key: TaskKey
    blob: DataBlob
    namespace_id: UUID | None = None


@dataclass(frozen=True, slots=True)
class UnreadableTask:
    """A task whose namespace's keys can't be had: it hides no other task, and goes when its namespace's rows are purged."""

    key: TaskKey
    namespace_id: UUID
    reason: KmsError


@dataclass(frozen=True, slots=True)
class HistoryTaskPage:
    """Tasks in order; those that can't be read; and a token for what follows, None at the end."""

    tasks: Sequence[HistoryTask]
    unreadable: Sequence[UnreadableTask]
    next_page_token: bytes | None


class HistoryTaskStore:
    """Reads and completes the tasks that the execution store writes with a run; adds single ones."""

    def __init__(self, database: Database, keyring: Keyring, *, distributed: bool = False) -> None:
        self._database = database
        self._keyring = keyring
        self._add = load_functions(distributed=distributed)["add_history_tasks"]

    async def add_history_tasks(
        self,
        namespace_id: UUID,
        tasks: Mapping[TaskCategory, Sequence[HistoryTask]],
        *,
        shard_id: int,
        range_id: int,
    ) -> None:
        """Add tasks to a shard's queues.

        Raises:
            ShardOwnershipLost: the shard has another owner.
            ConditionFailed: a task of that id is there already.
        """
        check_shard_id(shard_id)
        check_number("range_id", range_id)
        check_tasks(tasks)
        keys = await open_keys(self._keyring, namespace_id)
        placed = [(category, task) for category, several in tasks.items() for task in several]
        rows = [((category.category_id, *task.key), task.blob.pack()) for category, task in placed]
        sealed = keys.seal_many(HISTORY_TASK, rows, scope=(shard_id,))
        async with self._database.connection(SET_BY_FUNCTION) as connection:
            answer = await self._add.call(
                connection,
                shard_id,
                range_id,
                namespace_id,
                [category.category_id for category, _ in placed],
                [task.key.fire_time for _, task in placed],
                [task.key.task_id for _, task in placed],
                sealed,
            )
        if not answer[0]["result"]:
            raise ShardOwnershipLost(shard_id)

    async def get_history_tasks(
        self,
        category: TaskCategory,
        *,
        shard_id: int,
        min_key: TaskKey,
        max_key: TaskKey,
        batch_size: int,
        page_token: bytes | None = None,
    ) -> HistoryTaskPage:
        """Read tasks from `min_key`, inclusive, to `max_key`, exclusive, in the order of their category.

        Raises:
            InvalidPersistenceRequest: a batch size or token that can't be.
            IntegrityError: a task does not open.
        """
        check_range(category, shard_id, min_key, max_key)
        check_page_size(batch_size)
        scope = f"{shard_id} {category.category_id}".encode()
        start = min_key
        if page_token is not None:
            start = max(min_key, TaskKey(*page_position(page_token, "get_history_tasks", scope, numbers=2)))
        async with self._database.connection(EVERY_NAMESPACE) as connection:
            rows = await connection.fetch(_SQL["get"], shard_id, category.category_id, *start, *max_key, batch_size)
        page = [(TaskKey(row["fire_time"], row["task_id"]), row) for row in rows]
        tasks, unreadable = await self._open(HISTORY_TASK, (shard_id, category.category_id), page)
        return HistoryTaskPage(tasks, unreadable, _next(page, batch_size, max_key, "get_history_tasks", scope))

    async def complete_history_task(self, category: TaskCategory, key: TaskKey, *, shard_id: int) -> None:
        """Delete a task; one that is not there is as good."""
        _check_category(category)
        _check_key(category, key)
        after = TaskKey(key.fire_time, key.task_id + 1)
        await self.range_complete_history_tasks(category, shard_id=shard_id, min_key=key, max_key=after)

    async def range_complete_history_tasks(
        self, category: TaskCategory, *, shard_id: int, min_key: TaskKey, max_key: TaskKey
    ) -> None:
        """Delete the tasks from `min_key`, inclusive, to `max_key`, exclusive."""
        check_range(category, shard_id, min_key, max_key)
        async with self._database.connection(EVERY_NAMESPACE) as connection:
            await connection.execute(_SQL["range_complete"], shard_id, category.category_id, *min_key, *max_key)

    async def put_replication_task_to_dlq(
        self, namespace_id: UUID, task: HistoryTask, *, shard_id: int, source_cluster_name: str
    ) -> None:
        """Keep a replication task that could not be applied; the same id again replaces it."""
        check_shard_id(shard_id)
        check_name("source_cluster_name", source_cluster_name)
        check_number("task_id", task.key.task_id)
        check_blob("task", task.blob)
        keys = await open_keys(self._keyring, namespace_id)
        key = (shard_id, source_cluster_name, task.key.task_id)
        sealed = keys.seal(REPLICATION_DLQ_TASK, key, task.blob.pack())
        # It may take the place of another namespace's task of the same id.
        async with self._database.connection(EVERY_NAMESPACE) as connection:
            await connection.execute(_SQL["put_dlq"], *key, namespace_id, sealed)

    async def get_replication_tasks_from_dlq(
        self,
        source_cluster_name: str,
        *,
        shard_id: int,
        min_task_id: int,
        max_task_id: int,
        batch_size: int,
        page_token: bytes | None = None,
    ) -> HistoryTaskPage:
        """Read dead letters of one source cluster, from `min_task_id`, inclusive, to `max_task_id`, exclusive."""
        _check_dlq(source_cluster_name, shard_id, min_task_id, max_task_id)
        check_page_size(batch_size)
        scope = f"{shard_id} {source_cluster_name}".encode()
        start = min_task_id
        if page_token is not None:
            start = max(start, page_position(page_token, "get_replication_tasks_from_dlq", scope, numbers=2)[1])
        async with self._database.connection(EVERY_NAMESPACE) as connection:
            rows = await connection.fetch(
                _SQL["get_dlq"], shard_id, source_cluster_name, start, max_task_id, batch_size
            )
        page = [(TaskKey(0, row["task_id"]), row) for row in rows]
        tasks, unreadable = await self._open(REPLICATION_DLQ_TASK, (shard_id, source_cluster_name), page, key_parts=1)
        token = _next(page, batch_size, TaskKey(0, max_task_id), "get_replication_tasks_from_dlq", scope)
        return HistoryTaskPage(tasks, unreadable, token)

    async def delete_replication_task_from_dlq(self, source_cluster_name: str, task_id: int, *, shard_id: int) -> None:
        """Delete a dead letter; one that is not there is as good."""
        check_number("task_id", task_id, limit=2**63 - 1)
        await self.range_delete_replication_tasks_from_dlq(
            source_cluster_name, shard_id=shard_id, min_task_id=task_id, max_task_id=task_id + 1
        )

    async def range_delete_replication_tasks_from_dlq(
        self, source_cluster_name: str, *, shard_id: int, min_task_id: int, max_task_id: int
    ) -> None:
        """Delete the dead letters from `min_task_id`, inclusive, to `max_task_id`, exclusive."""
        _check_dlq(source_cluster_name, shard_id, min_task_id, max_task_id)
        async with self._database.connection(EVERY_NAMESPACE) as connection:
            await connection.execute(_SQL["range_delete_dlq"], shard_id, source_cluster_name, min_task_id, max_task_id)

    async def is_replication_dlq_empty(self, source_cluster_name: str, *, shard_id: int, min_task_id: int) -> bool:
        """Whether there is no dead letter from `min_task_id` on."""
        _check_dlq(source_cluster_name, shard_id, min_task_id, min_task_id)
        async with self._database.connection(EVERY_NAMESPACE) as connection:
            return not await connection.fetch(_SQL["any_dlq"], shard_id, source_cluster_name, min_task_id)

    async def _open(
        self, kind: RecordKind, scope: Key, page: Sequence[tuple[TaskKey, Row]], *, key_parts: int = 2
    ) -> tuple[list[HistoryTask], list[UnreadableTask]]:
        """Open tasks of several namespaces, each under its own keys."""
        by_namespace: dict[bytes, list[tuple[TaskKey, bytes]]] = {}
        for key, row in page:
            by_namespace.setdefault(row["namespace_id"].bytes, []).append((key, row["data"]))
        tasks: list[HistoryTask] = []
        unreadable: list[UnreadableTask] = []
        for id_bytes, rows in by_namespace.items():
            namespace_id = UUID(bytes=id_bytes)
            sealed = [(key[-key_parts:], data) for key, data in rows]

            def use(keys: NamespaceKeys, sealed: Sequence[tuple[Key, bytes]] = sealed) -> list[bytes]:
                return keys.open_many(kind, sealed, scope=scope)

            try:
                opened = await self._keyring.with_keys(namespace_id, use)
            except KmsError as error:
                unreadable += [UnreadableTask(key, namespace_id, error) for key, _ in rows]
            else:
                tasks += [
                    HistoryTask(key, DataBlob.unpack(packed), namespace_id)
                    for (key, _), packed in zip(rows, opened, strict=True)
                ]
        return sorted(tasks, key=lambda task: task.key), sorted(unreadable, key=lambda task: task.key)


def check_tasks(tasks: Mapping[TaskCategory, Sequence[HistoryTask]]) -> int:
    """Refuse tasks that can't be; return their size in bytes."""
    size = 0
    for category, several in tasks.items():
        _check_category(category)
        for task in several:
            _check_key(category, task.key)
            size += check_blob("task", task.blob)
    return size


def check_range(category: TaskCategory, shard_id: int, min_key: TaskKey, max_key: TaskKey) -> None:
    """Refuse a range of keys that can't be."""
    check_shard_id(shard_id)
    _check_category(category)
    for key in (min_key, max_key):
        _check_key(category, key, limit=2**63)
    if category.type is CategoryType.IMMEDIATE and (min_key.fire_time or max_key.fire_time):
        msg = "an immediate category has no fire times"
        raise InvalidPersistenceRequest(msg)


def _check_category(category: TaskCategory) -> None:
    check_type("category", category, TaskCategory)
    check_type("type of a category", category.type, CategoryType)
    check_number("category_id", category.category_id, least=1, limit=2**15)


def _check_key(category: TaskCategory, key: TaskKey, *, limit: int = 2**63 - 1) -> None:
    check_number("task_id", key.task_id, limit=limit)
    check_number("fire_time", key.fire_time)
    if category.type is CategoryType.IMMEDIATE and key.fire_time:
        msg = "a task of an immediate category has fire_time 0"
        raise InvalidPersistenceRequest(msg)


def _check_dlq(source_cluster_name: str, shard_id: int, min_task_id: int, max_task_id: int) -> None:
    check_shard_id(shard_id)
    check_name("source_cluster_name", source_cluster_name)
    check_number("min_task_id", min_task_id)
    check_number("max_task_id", max_task_id)


def _next(
    page: Sequence[tuple[TaskKey, Row]], size: int, max_key: TaskKey, operation: str, scope: bytes
) -> bytes | None:
    """Return a token for the page behind a full one, unless nothing can stand between it and `max_key`."""
    if len(page) < size:
        return None
    last = page[-1][0]
    following = TaskKey(last.fire_time, last.task_id + 1)
    return page_token(operation, scope, *following) if following < max_key else None
