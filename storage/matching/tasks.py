"""Matching's task queues and their tasks, plain and fair: Temporal's TaskStore and FairTaskStore.

Both forms share their tables; the form is part of every key. A plain queue orders its tasks by id, a fair one by pass, then id.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import repeat
from typing import TYPE_CHECKING, NamedTuple

from strongroom.kms.sealing.record_kinds import TASK, TASK_QUEUE
from strongroom.storage.checks import check_blob, check_number, check_page_size, open_keys
from strongroom.storage.data_blob import DataBlob
from strongroom.storage.engine.group_commit import GroupCommit
from strongroom.storage.engine.queries import load_queries
from strongroom.storage.errors import ConditionFailed, InvalidPersistenceRequest, NotFound
from strongroom.storage.page_tokens import page_position
from strongroom.storage.page_tokens import page_token as make_token
from strongroom.storage.sealing import open_rows

from .task_batches import MAX_TASKS, QueueRow, TaskRange, TaskStatements, TaskWrite
from .task_queue_keys import (
    QueuePlaces,
    check_subqueue,
    check_task_queue,
    pack_named,
    row_key,
    sealed_key,
)
from .task_queues import list_task_queues, open_task_queue

if TYPE_CHECKING:
    from collections.abc import Sequence

    from strongroom.kms import Key, Keyring, NamespaceKeys
    from strongroom.storage.engine.barrier import Barrier
    from strongroom.storage.engine.connection import Row
    from strongroom.storage.engine.database import Database

    from .task_batches import SealedTasks
    from .task_queue_keys import TaskQueueKey
    from .task_queues import TaskQueue, TaskQueuePage

_SQL = load_queries("matching/tasks")
_GET = "get_tasks"
LAST_TASK_ID = 2**63 - 1
"""Greater than any task id, and than any pass: the end of a range that has none."""
_INT32 = 2**31
_new = tuple.__new__


class Task(NamedTuple):
    """A task that waits for a worker.

    Attributes:
        task_id: unique in its queue; in a fair queue within its pass.
        blob: the service's own; sealed.
        task_pass: 0 in a plain queue, 1 or more in a fair one.
        subqueue: which part of the queue's backlog; 0 is the queue itself. They share its range_id.
    """

    task_id: int
    blob: DataBlob
    task_pass: int = 0
    subqueue: int = 0


@dataclass(frozen=True, slots=True)
class TaskPage:
    """Tasks in order, and a token for what follows; None at the end."""

    tasks: Sequence[Task]
    next_page_token: bytes | None


class TaskStore:
    """Leases task queues to their owners, and keeps their tasks.

    Args:
        database: for look-ups by key; its size bounds how many statements are in flight.
        keyring: keys by namespace.
        fair: the form of all queues of this store. A plain and a fair queue of one name have nothing in common.
        distributed: the tables are spread over a Citus cluster.
    """

    def __init__(self, database: Database, keyring: Keyring, *, fair: bool = False, distributed: bool = False) -> None:
        self._database = database
        self._keyring = keyring
        self._fair = fair
        self._places = QueuePlaces()
        statements = TaskStatements(database, fair=fair, distributed=distributed)
        self._writes: GroupCommit[TaskWrite, None] = GroupCommit(
            database,
            statements.write,
            name="create_tasks",
            shard=(lambda write: write.queue.range_hash) if distributed else None,
            size=lambda write: write.size,
        )
        self._reads: GroupCommit[TaskRange, SealedTasks] = GroupCommit(
            database,
            statements.read,
            name="get_tasks",
            shard=(lambda tasks: tasks.range_hash) if distributed else None,
            idempotent=True,
        )

    async def create_task_queue(self, task_queue: TaskQueue) -> None:
        """Make a task queue.

        Raises:
            ConditionFailed: it is there already.
            NamespaceNotFound: no such namespace.
        """
        row = await self._sealed(task_queue)
        async with self._database.connection(task_queue.queue.namespace_id) as connection:
            created = await connection.fetch(_SQL["create"], *row)
        if not created:
            msg = "the task queue is there already"
            raise ConditionFailed(msg)

    async def get_task_queue(self, queue: TaskQueueKey) -> TaskQueue:
        """Return a task queue.

        Raises:
            NotFound: there is none.
        """
        name = check_task_queue(queue)
        keys = await open_keys(self._keyring, queue.namespace_id)
        key = row_key(keys, queue, name, fair=self._fair)
        async with self._database.connection(queue.namespace_id) as connection:
            row = await connection.fetchrow(_SQL["get"], *key)
        if row is None:
            msg = "there is no such task queue"
            raise NotFound(msg)
        return await open_task_queue(self._keyring, key, row)

    async def update_task_queue(self, task_queue: TaskQueue, *, previous_range_id: int) -> None:
        """Replace a task queue's row, and with it who may write. Waits for writes of tasks that are under way.

        Raises:
            ConditionFailed: the stored range_id is another one, or there is no such queue.
        """
        check_number("previous_range_id", previous_range_id)
        row = await self._sealed(task_queue)
        async with self._database.connection(task_queue.queue.namespace_id) as connection:
            updated = await connection.fetch(_SQL["update"], *row, previous_range_id)
        _refuse_unless(updated)

    async def list_task_queue(self, *, page_size: int, page_token: bytes | None = None) -> TaskQueuePage:
        """List the queues of all namespaces, in an order that says nothing of their names.

        Raises:
            InvalidPersistenceRequest: a page size or token that can't be.
        """
        return await list_task_queues(
            self._database, self._keyring, fair=self._fair, page_size=page_size, page_token=page_token
        )

    async def delete_task_queue(self, queue: TaskQueueKey, *, range_id: int) -> None:
        """Delete a task queue's row; its tasks stay.

        Raises:
            ConditionFailed: the stored range_id is another one, or there is no such queue.
        """
        name = check_task_queue(queue)
        check_number("range_id", range_id)
        keys = await open_keys(self._keyring, queue.namespace_id)
        async with self._database.connection(queue.namespace_id) as connection:
            deleted = await connection.fetch(_SQL["delete"], *row_key(keys, queue, name, fair=self._fair), range_id)
        _refuse_unless(deleted)

    async def create_tasks(
        self, queue: TaskQueueKey, tasks: Sequence[Task], *, range_id: int, barrier: Barrier | None = None
    ) -> None:
        """Add tasks to a queue, all or none. They may be of several of its subqueues.

        Args:
            queue: The task queue.
            tasks: 1 to 4096 tasks.
            range_id: The range id that the queue's owner holds.
            barrier: What must have happened before the statement is sent; None for nothing.

        Raises:
            ConditionFailed: the queue has another range_id, or is not there; or a task of that id is there already.
            InvalidPersistenceRequest: no tasks, more than 4096, or one that can't be.
            TransactionSizeLimit: a blob of more than 4 MiB.
        """
        name = check_task_queue(queue)
        check_number("range_id", range_id)
        by_subqueue, size = self._packed(tasks)
        keys = await open_keys(self._keyring, queue.namespace_id)
        range_hash, queue_id = self._places.find(keys, queue, name)
        parts = [(self._places.find(keys, queue, name, subqueue)[1], rows) for subqueue, rows in by_subqueue.items()]
        row = QueueRow(range_hash, queue.namespace_id, queue_id, queue.task_type, range_id)
        await self._writes.submit(TaskWrite(row, keys, parts, size), barrier=barrier)

    async def get_tasks(
        self,
        queue: TaskQueueKey,
        *,
        page_size: int,
        min_task_id: int = 0,
        max_task_id: int = LAST_TASK_ID,
        min_pass: int = 0,
        subqueue: int = 0,
        page_token: bytes | None = None,
    ) -> TaskPage:
        """Read tasks in order: by id, in a fair queue by pass, then id. A queue that nobody made has none.

        Args:
            queue: which.
            page_size: how many at most.
            min_task_id: the first.
            max_task_id: exclusive; a fair queue's range has no such end.
            min_pass: of the first task; 0 in a plain queue.
            subqueue: which part of the backlog.
            page_token: of the page before.

        Raises:
            InvalidPersistenceRequest: a range, page size or token that can't be.
            IntegrityError: a task does not open.
        """
        name = check_task_queue(queue)
        check_page_size(page_size)
        check_subqueue(subqueue)
        start, end = self._checked_range((min_pass, min_task_id), max_task_id)
        keys = await open_keys(self._keyring, queue.namespace_id)
        range_hash, queue_id = self._places.find(keys, queue, name, subqueue)
        if page_token is not None:
            min_pass, min_task_id = page_position(page_token, _GET, self._binding(queue, queue_id), numbers=2)
            start = max(start, (min_pass, min_task_id))
        if start >= end:
            return TaskPage([], None)
        passes, task_ids, sealed = await self._reads.submit(
            TaskRange(range_hash, queue.namespace_id, queue_id, queue.task_type, *start, *end, page_size)
        )
        scope = (range_hash, queue_id, queue.task_type, int(self._fair))
        rows = list(zip(zip(passes, task_ids, strict=True), sealed, strict=True))

        def use(keys: NamespaceKeys) -> list[bytes]:
            return keys.open_many(TASK, rows, scope=scope)

        opened = await open_rows(self._keyring, queue.namespace_id, sum(map(len, sealed)), use, keys=keys)
        blobs = DataBlob.unpack_many(opened)
        tasks = [_new(Task, values) for values in zip(task_ids, blobs, passes, repeat(subqueue))]
        if len(tasks) < page_size or (following := (passes[-1], task_ids[-1] + 1)) >= end:
            return TaskPage(tasks, None)
        return TaskPage(tasks, make_token(_GET, self._binding(queue, queue_id), *following))

    async def complete_tasks_less_than(
        self, queue: TaskQueueKey, *, max_task_id: int, max_pass: int = 0, limit: int, subqueue: int = 0
    ) -> int:
        """Delete the first tasks of a queue, up to a task that stays; return how many.

        Args:
            queue: which.
            max_task_id: exclusive.
            max_pass: of the task that stays; 0 in a plain queue.
            limit: how many at most.
            subqueue: which part of the backlog.
        """
        name = check_task_queue(queue)
        check_subqueue(subqueue)
        check_number("max_task_id", max_task_id)
        self._check_pass("max_pass", max_pass)
        check_number("limit", limit, least=1, limit=_INT32)
        keys = await open_keys(self._keyring, queue.namespace_id)
        key = row_key(keys, queue, name, fair=self._fair, subqueue=subqueue)
        async with self._database.connection(queue.namespace_id) as connection:
            tag = await connection.execute(_SQL["complete"], *key, max_pass, max_task_id, limit)
        return int(tag.rpartition(" ")[2])

    async def aclose(self) -> None:
        """Wait until nothing is in flight."""
        await self._writes.aclose()
        await self._reads.aclose()

    def _packed(self, tasks: Sequence[Task]) -> tuple[dict[int, list[tuple[Key, bytes]]], int]:
        """Refuse tasks that can't be; return keys and plaintexts by subqueue, and the size of all blobs."""
        if not 0 < len(tasks) <= MAX_TASKS:
            msg = f"tasks must be 1 to {MAX_TASKS}"
            raise InvalidPersistenceRequest(msg)
        by_subqueue: dict[int, list[tuple[Key, bytes]]] = {}
        size = 0
        last_pass = LAST_TASK_ID - 1 if self._fair else 0
        for task in tasks:
            task_id, blob, task_pass, subqueue = task
            if not (
                type(task_id) is type(task_pass) is type(subqueue) is int
                and 0 <= task_id < LAST_TASK_ID
                and self._fair <= task_pass <= last_pass
            ):
                self._refuse(task)
            size += check_blob("task", blob)
            rows = by_subqueue.get(subqueue)
            if rows is None:
                check_subqueue(subqueue)
                rows = by_subqueue[subqueue] = []
            rows.append(((task_pass, task_id), blob.pack()))
        return by_subqueue, size

    def _refuse(self, task: Task) -> None:
        """Say what is wrong with a task; `_packed` only looks whether anything is, as it looks at every task."""
        check_number("task_id", task.task_id, limit=LAST_TASK_ID)
        self._check_pass("task_pass", task.task_pass)
        check_subqueue(task.subqueue)

    def _checked_range(self, start: tuple[int, int], max_task_id: int) -> tuple[tuple[int, int], tuple[int, int]]:
        self._check_pass("min_pass", start[0])
        check_number("min_task_id", start[1])
        check_number("max_task_id", max_task_id)
        if self._fair and max_task_id != LAST_TASK_ID:
            msg = "the range of a fair queue has no max_task_id"
            raise InvalidPersistenceRequest(msg)
        return start, (LAST_TASK_ID if self._fair else 0, max_task_id)

    def _check_pass(self, field: str, value: object) -> None:
        if self._fair:
            check_number(field, value, least=1, limit=LAST_TASK_ID)
        else:
            check_number(field, value, limit=1)

    async def _sealed(self, task_queue: TaskQueue) -> tuple[object, ...]:
        """Return the columns of a queue's row."""
        name = check_task_queue(task_queue.queue)
        check_number("range_id", task_queue.range_id)
        check_blob("info", task_queue.info)
        keys = await open_keys(self._keyring, task_queue.queue.namespace_id)
        key = row_key(keys, task_queue.queue, name, fair=self._fair)
        sealed = keys.seal(TASK_QUEUE, sealed_key(key, task_queue.range_id), pack_named(name, task_queue.info))
        return (*key, task_queue.range_id, sealed)

    def _binding(self, queue: TaskQueueKey, queue_id: bytes) -> bytes:
        return b"%b%b%d %d" % (queue.namespace_id.bytes, queue_id, queue.task_type, self._fair)


def _refuse_unless(written: Sequence[Row]) -> None:
    if not written:
        msg = "the task queue has another owner now, or is not there; acquire it again before writing"
        raise ConditionFailed(msg)
