"""History tasks as values: categories, keys, tasks and pages, and their checks. `history_tasks.py` has the store."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from typing import TYPE_CHECKING, NamedTuple
from uuid import UUID

from strongroom.kms import StrongroomError
from strongroom.storage.checks import (
    check_blob,
    check_collection,
    check_mapping,
    check_name,
    check_number,
    check_shard_id,
    check_type,
)
from strongroom.storage.data_blob import DataBlob
from strongroom.storage.errors import InvalidPersistenceRequest

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


_MAX_TASK_ID = 2**63 - 1


class CategoryType(IntEnum):
    """The order of a category's tasks."""

    IMMEDIATE = 1
    """By task id. `fire_time` is 0."""
    SCHEDULED = 2
    """By fire time, then by task id."""


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
    """A task's position in its queue.

    Attributes:
        fire_time: Nanoseconds since 1970; 0 in an immediate category.
        task_id: An id that is unique in the shard.
    """

    fire_time: int
    task_id: int


class HistoryTask(NamedTuple):
    """A task.

    Attributes:
        key: Its position.
        blob: The service's own description of the task.
        namespace_id: Its namespace. Reads fill it. Writes ignore it, because they name the namespace themselves.
    """

    key: TaskKey
    blob: DataBlob
    namespace_id: UUID | None = None


@dataclass(frozen=True, slots=True)
class UnreadableTask:
    """A task that does not open. It hides no other task, and is deleted when its namespace is purged.

    To find out later whether it opens, read the range of its key alone.

    Attributes:
        key: Its position.
        namespace_id: Its namespace.
        reason: The error of opening it: `KeyDestroyed` if its namespace is shredded, another `KmsError` if its keys are not available
            now, `IntegrityError` or `UnsupportedFormat` if the row was changed.
    """

    key: TaskKey
    namespace_id: UUID
    reason: StrongroomError


@dataclass(frozen=True, slots=True)
class HistoryTaskPage:
    """A page of tasks.

    Attributes:
        tasks: The tasks, in the order of their keys.
        unreadable: The tasks that do not open, in the order of their keys.
        next_page_token: The token of the next page; None at the end.
    """

    tasks: Sequence[HistoryTask]
    unreadable: Sequence[UnreadableTask]
    next_page_token: bytes | None


def check_tasks(tasks: Mapping[TaskCategory, Sequence[HistoryTask]]) -> int:
    """Refuse tasks that are not valid. Return their size in bytes.

    Raises:
        InvalidPersistenceRequest: A field of a task is not valid.
        TransactionSizeLimit: A blob is larger than 4 MiB.
    """
    size = 0
    check_mapping("tasks", tasks)
    for category, several in tasks.items():
        check_category(category)
        check_collection("tasks of a category", several)
        for task in several:
            check_type("task", task, HistoryTask)
            check_key(category, task.key)
            size += check_blob("task", task.blob)
    return size


def check_dead_letter(task: HistoryTask) -> None:
    """Refuse a task that the DLQ can't keep: the upper bound of a range is exclusive, so the largest number is no task id."""
    check_type("task", task, HistoryTask)
    check_type("key of a task", task.key, TaskKey)
    check_number("task_id", task.key.task_id, limit=_MAX_TASK_ID)
    check_blob("task", task.blob)


def check_range(category: TaskCategory, shard_id: int, min_key: TaskKey, max_key: TaskKey) -> None:
    """Refuse a range of keys that is not valid.

    Raises:
        InvalidPersistenceRequest: The range is not valid.
    """
    check_shard_id(shard_id)
    check_category(category)
    for key in (min_key, max_key):
        check_key(category, key, limit=2**63)
    if category.type is CategoryType.IMMEDIATE and (min_key.fire_time or max_key.fire_time):
        msg = "an immediate category has no fire times"
        raise InvalidPersistenceRequest(msg)


def check_category(category: TaskCategory) -> None:
    """Refuse a category that is not valid.

    Raises:
        InvalidPersistenceRequest: The category is not valid.
    """
    check_type("category", category, TaskCategory)
    check_type("type of a category", category.type, CategoryType)
    check_number("category_id", category.category_id, least=1, limit=2**15)


def check_key(category: TaskCategory, key: TaskKey, *, limit: int = _MAX_TASK_ID) -> None:
    """Refuse a key that is not valid in its category. Task ids are below `limit`.

    Raises:
        InvalidPersistenceRequest: The key is not valid.
    """
    check_type("key of a task", key, TaskKey)
    check_number("task_id", key.task_id, limit=limit)
    check_number("fire_time", key.fire_time)
    if category.type is CategoryType.IMMEDIATE and key.fire_time:
        msg = "a task of an immediate category has fire_time 0"
        raise InvalidPersistenceRequest(msg)


def check_dlq(source_cluster_name: str, shard_id: int, min_task_id: int, max_task_id: int) -> None:
    """Check a range of a dead-letter queue.

    Raises:
        InvalidPersistenceRequest: An argument is not valid.
    """
    check_shard_id(shard_id)
    check_name("source_cluster_name", source_cluster_name)
    check_number("min_task_id", min_task_id)
    check_number("max_task_id", max_task_id)
