"""Tasks, pages of them, and the checks of the requests that write and read them. A plain queue's tasks all have pass 0."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple, TypeAlias

from strongroom.kms import StrongroomError
from strongroom.storage.checks import check_blob, check_collection, check_number, check_type
from strongroom.storage.data_blob import DataBlob
from strongroom.storage.errors import InvalidPersistenceRequest

from .task_batches import MAX_TASKS
from .task_queue_keys import check_subqueue

if TYPE_CHECKING:
    from collections.abc import Sequence

    from strongroom.kms import RecordKey

    from .task_queue_keys import TaskQueueKey

    TaskPosition: TypeAlias = tuple[int, int]
    """A pass and a task id, which order the tasks of a queue."""

LAST_TASK_ID = 2**63 - 1
"""Greater than every task id and every pass: the end of a range without an upper bound."""


class Task(NamedTuple):
    """A task that waits for a worker.

    Attributes:
        task_id: The id of the task; 0 to 2^63 - 2. Unique in its queue, or in its pass if the queue is fair.
        blob: The service's task, which is sealed; at most 4 MiB.
        task_pass: The pass; 0 in a plain queue, 1 or more in a fair one.
        subqueue: The part of the queue's backlog; 0 is the queue itself. All subqueues share the range id of the queue.
    """

    task_id: int
    blob: DataBlob
    task_pass: int = 0
    subqueue: int = 0


@dataclass(frozen=True, slots=True)
class UnreadableQueueTask:
    """A task of a task queue that does not open, because its row was changed. It hides no other task.

    Attributes:
        task_id: The id of the task.
        task_pass: The pass; 0 in a plain queue.
        subqueue: The part of the queue's backlog.
        reason: The error of opening it, for example `IntegrityError`.
    """

    task_id: int
    task_pass: int
    subqueue: int
    reason: StrongroomError


@dataclass(frozen=True, slots=True)
class TaskPage:
    """A page of tasks.

    Attributes:
        tasks: The tasks in order.
        next_page_token: The token of the next page; None at the end.
        unreadable: The tasks that do not open, in order.
    """

    tasks: Sequence[Task]
    next_page_token: bytes | None
    unreadable: Sequence[UnreadableQueueTask] = ()


def pack_tasks(tasks: Sequence[Task], *, fair: bool) -> tuple[dict[int, list[tuple[RecordKey, bytes]]], int]:
    """Check tasks and pack them.

    Returns:
        The key and plaintext of each task, by subqueue; and the size of all blobs, in bytes.

    Raises:
        InvalidPersistenceRequest: There are no tasks or more than 4096, or a field is invalid.
        TransactionSizeLimit: A blob has more than 4 MiB.
    """
    check_collection("tasks", tasks)
    if not 0 < len(tasks) <= MAX_TASKS:
        msg = f"a request must have 1 to {MAX_TASKS} tasks"
        raise InvalidPersistenceRequest(msg)
    by_subqueue: dict[int, list[tuple[RecordKey, bytes]]] = {}
    size = 0
    last_pass = LAST_TASK_ID - 1 if fair else 0
    for task in tasks:
        if type(task) is not Task:
            check_type("task", task, Task)
        task_id, blob, task_pass, subqueue = task
        if not (
            type(task_id) is type(task_pass) is type(subqueue) is int
            and 0 <= task_id < LAST_TASK_ID
            and fair <= task_pass <= last_pass
        ):
            _refuse(task, fair=fair)
        size += check_blob("task", blob)
        rows = by_subqueue.get(subqueue)
        if rows is None:
            check_subqueue(subqueue)
            rows = by_subqueue[subqueue] = []
        rows.append(((task_pass, task_id), blob.pack()))
    return by_subqueue, size


def task_range(start: TaskPosition, max_task_id: int, *, fair: bool) -> tuple[TaskPosition, TaskPosition]:
    """Return the first position of a range, and the position after its last one.

    Raises:
        InvalidPersistenceRequest: A number is invalid, or the range of a fair queue has an upper bound.
    """
    check_pass("min_pass", start[0], fair=fair)
    check_number("min_task_id", start[1])
    check_number("max_task_id", max_task_id)
    if fair and max_task_id != LAST_TASK_ID:
        msg = "max_task_id can't be given for a fair queue, whose tasks are ordered by pass"
        raise InvalidPersistenceRequest(msg)
    return start, (LAST_TASK_ID if fair else 0, max_task_id)


def check_pass(field: str, value: object, *, fair: bool) -> None:
    """Refuse an invalid pass: it is 1 or more in a fair queue, and 0 in a plain one.

    Raises:
        InvalidPersistenceRequest: The value is not such a pass.
    """
    if fair:
        check_number(field, value, least=1, limit=LAST_TASK_ID)
    else:
        check_number(field, value, limit=1)


def _refuse(task: Task, *, fair: bool) -> None:
    """Raise the error of an invalid task. `pack_tasks` has a faster check, which finds out only that a field is invalid."""
    check_number("task_id", task.task_id, limit=LAST_TASK_ID)
    check_pass("task_pass", task.task_pass, fair=fair)
    check_subqueue(task.subqueue)


def token_scope(queue: TaskQueueKey, queue_id: bytes, *, fair: bool) -> bytes:
    """Return the parameters that the page token of a read of tasks is bound to."""
    return b"%b%b%d %d" % (queue.namespace_id.bytes, queue_id, queue.task_type, fair)
