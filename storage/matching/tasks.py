"""The operations on task queues and their tasks, plain and fair: Temporal's TaskStore and FairTaskStore.

Both forms share their tables, and the form is part of every key. A plain queue orders its tasks by id, a fair one by pass and then id.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from strongroom.storage.cell.damaged_rows import DamagedRows
from strongroom.storage.checks import check_number, open_keys, wanted_page_size
from strongroom.storage.engine.group_commit import GroupCommit
from strongroom.storage.engine.queries import load_queries
from strongroom.storage.errors import ConditionFailed, NotFound
from strongroom.storage.fences import lease_mac
from strongroom.storage.page_tokens import page_position
from strongroom.storage.page_tokens import page_token as make_token

from .completion import CompletedTasks, check_bounds, delete_tasks, owner_of
from .journal import changed_queue
from .task_batches import QueueRow, TaskRange, TaskStatements, TaskWrite
from .task_pages import open_tasks
from .task_queue_keys import QueueRowIds, TaskQueueKey, check_subqueue, check_task_queue, row_key
from .task_queues import TaskQueue, check_owner, list_task_queues, open_task_queue, seal_task_queue
from .task_requests import LAST_TASK_ID, Task, TaskPage, pack_tasks, task_range, token_scope

if TYPE_CHECKING:
    from strongroom.kms import Keyring
    from strongroom.storage.engine.barrier import Barrier
    from strongroom.storage.engine.database import Database
    from strongroom.storage.journal.writer import Journal

    from .task_batches import SealedTasks
    from .task_queues import TaskQueuePage

_SQL = load_queries("matching/tasks")
_GET = "get_tasks"


class TaskStore:
    """Leases task queues to their owners, and stores their tasks.

    Every operation raises `DatabaseUnavailable` if the database can't be reached, and `KmsError` if the namespace's keys are
    unavailable.

    Args:
        database: The cell's database. Its number of connections limits the statements in flight.
        keyring: The cell's unwrapped keys.
        journal: The journal of this process.
        fair: Whether all queues of this store are fair. A plain and a fair queue of the same name are separate queues.
        distributed: Whether the tables are distributed over a Citus cluster.
    """

    def __init__(
        self, database: Database, keyring: Keyring, journal: Journal, *, fair: bool = False, distributed: bool = False
    ) -> None:
        self._database, self._keyring, self._journal = database, keyring, journal
        self._fair = fair
        self._row_ids = QueueRowIds()
        self._damaged = DamagedRows(database)
        statements = TaskStatements(database, journal, fair=fair, distributed=distributed)
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
        """Create a task queue.

        Args:
            task_queue: The queue, the range id of its owner, and the owner's blob.

        Raises:
            ConditionFailed: The queue exists.
            InvalidPersistenceRequest: A field is invalid.
            NamespaceNotFound: The namespace does not exist.
            TransactionSizeLimit: The blob has more than 4 MiB.
        """
        row = await seal_task_queue(self._keyring, task_queue, fair=self._fair)
        async with self._database.transaction(task_queue.queue.namespace_id) as connection:
            if not await connection.fetch(_SQL["create"], *row):
                msg = "the task queue exists already"
                raise ConditionFailed(msg)
            await self._journal.write(connection, changed_queue(row[:5], row[7]))

    async def get_task_queue(self, queue: TaskQueueKey) -> TaskQueue:
        """Return a task queue.

        Args:
            queue: The queue's namespace, name and type.

        Raises:
            NotFound: The queue does not exist.
            NamespaceNotFound: The namespace does not exist.
            IntegrityError: The queue's row does not open.
        """
        name = check_task_queue(queue)
        keys = await open_keys(self._keyring, queue.namespace_id)
        key = row_key(keys, queue, name, fair=self._fair)
        async with self._database.connection(queue.namespace_id) as connection:
            row = await connection.fetchrow(_SQL["get"], *key)
        if row is None:
            msg = "the task queue does not exist"
            raise NotFound(msg)
        return await open_task_queue(self._keyring, key, row)

    async def update_task_queue(self, task_queue: TaskQueue, *, previous_range_id: int) -> None:
        """Replace a task queue's row, and with it the owner that may write tasks. Waits for writes of tasks that are in progress.

        Args:
            task_queue: The queue with its new range id and blob.
            previous_range_id: The range id that is stored.

        Raises:
            ConditionFailed: Another range id is stored, or the queue does not exist.
            IntegrityError: The stored range id was altered.
            InvalidPersistenceRequest: A field is invalid.
            NamespaceNotFound: The namespace does not exist.
            TransactionSizeLimit: The blob has more than 4 MiB.
        """
        check_number("previous_range_id", previous_range_id)
        row = await seal_task_queue(self._keyring, task_queue, fair=self._fair)
        namespace_id = task_queue.queue.namespace_id
        key = row[:5]
        mac = lease_mac(await open_keys(self._keyring, namespace_id), key, previous_range_id)
        changes = changed_queue(key, row[7])
        async with self._journal.entry(changes) as entry, self._database.connection(namespace_id) as connection:
            updated = await connection.fetchrow(_SQL["update"], *row, previous_range_id, mac, *entry.row)
            entry.answer(updated)
            await check_owner(connection, updated, key, range_id=previous_range_id, range_mac=mac)

    async def list_task_queue(self, *, page_size: int, page_token: bytes | None = None) -> TaskQueuePage:
        """List the queues of all namespaces, in the order of their tokens. This order reveals nothing about their names.

        Args:
            page_size: The maximum number of queues to return, readable or not; 0, a negative number or more than 10,000 for 10,000.
            page_token: The `next_page_token` of the previous page; None or empty for the first page.

        Raises:
            InvalidPersistenceRequest: The page size is invalid, or the token is from another operation.
        """
        return await list_task_queues(
            self._database, self._keyring, fair=self._fair, page_size=page_size, page_token=page_token
        )

    async def delete_task_queue(self, queue: TaskQueueKey, *, range_id: int) -> None:
        """Delete a task queue's row. Its tasks stay.

        Args:
            queue: The queue's namespace, name and type.
            range_id: The range id that is stored.

        Raises:
            ConditionFailed: Another range id is stored, or the queue does not exist.
            IntegrityError: The stored range id was altered.
            NamespaceNotFound: The namespace does not exist.
        """
        name = check_task_queue(queue)
        check_number("range_id", range_id)
        keys = await open_keys(self._keyring, queue.namespace_id)
        key = row_key(keys, queue, name, fair=self._fair)
        mac = lease_mac(keys, key, range_id)
        changes, visible = changed_queue(key, None), queue.namespace_id
        async with self._journal.entry(changes) as entry, self._database.connection(visible) as connection:
            deleted = await connection.fetchrow(_SQL["delete"], *key, range_id, mac, *entry.row)
            entry.answer(deleted)
            await check_owner(connection, deleted, key, range_id=range_id, range_mac=mac)

    async def create_tasks(
        self, queue: TaskQueueKey, tasks: Sequence[Task], *, range_id: int, barrier: Barrier | None = None
    ) -> None:
        """Add tasks to a queue and its subqueues, all or none.

        Args:
            queue: The queue's namespace, name and type.
            tasks: 1 to 4096 tasks.
            range_id: The range id that the queue's owner holds.
            barrier: A barrier that the write waits for before it is sent; None for none.

        Raises:
            ConditionFailed: The queue has another range id or does not exist, or a task with one of the ids exists.
            IntegrityError: The queue's range id was altered.
            InvalidPersistenceRequest: There are no tasks or more than 4096, or a field is invalid.
            NamespaceNotFound: The namespace does not exist.
            TransactionSizeLimit: A blob has more than 4 MiB.
        """
        name = check_task_queue(queue)
        check_number("range_id", range_id)
        by_subqueue, size = pack_tasks(tasks, fair=self._fair)
        keys = await open_keys(self._keyring, queue.namespace_id)
        range_hash, queue_id = self._row_ids.get(keys, queue, name)
        parts = [(self._row_ids.get(keys, queue, name, subqueue)[1], rows) for subqueue, rows in by_subqueue.items()]
        mac = lease_mac(keys, (range_hash, queue.namespace_id, queue_id, queue.task_type, self._fair), range_id)
        row = QueueRow(range_hash, queue.namespace_id, queue_id, queue.task_type, range_id)
        await self._writes.submit(TaskWrite(row, mac, keys, parts, size), barrier=barrier)

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
        """Return a page of tasks, ordered by id, or by pass and then id in a fair queue. A queue that does not exist has no tasks.

        Args:
            queue: The queue's namespace, name and type.
            page_size: The maximum number of tasks to return; 0, a negative number or more than 10,000 for 10,000.
            min_task_id: The lower bound, inclusive.
            max_task_id: The upper bound, exclusive. It can't be given for a fair queue.
            min_pass: The pass of the lower bound; 0 in a plain queue, 1 or more in a fair one.
            subqueue: The part of the backlog; 0 is the queue itself.
            page_token: The `next_page_token` of the previous page; None or empty for the first page.

        Raises:
            InvalidPersistenceRequest: A bound or size is invalid, or the token is from another queue.
            NamespaceNotFound: The namespace does not exist.
            KmsError: The namespace's keys are not available.
        """
        name = check_task_queue(queue)
        page_size = wanted_page_size(page_size)
        check_subqueue(subqueue)
        start, end = task_range((min_pass, min_task_id), max_task_id, fair=self._fair)
        keys = await open_keys(self._keyring, queue.namespace_id)
        range_hash, queue_id = self._row_ids.get(keys, queue, name, subqueue)
        if page_token:
            min_pass, min_task_id = page_position(
                page_token, _GET, token_scope(queue, queue_id, fair=self._fair), numbers=2
            )
            start = max(start, (min_pass, min_task_id))
        if start >= end:
            return TaskPage([], None)
        page = await self._reads.submit(
            TaskRange(range_hash, queue.namespace_id, queue_id, queue.task_type, *start, *end, page_size)
        )
        passes, task_ids, _ = page
        scope = (range_hash, queue_id, queue.task_type, int(self._fair))
        tasks, unreadable = await open_tasks(self._keyring, self._damaged, keys, scope, page, subqueue=subqueue)
        token = None
        if len(task_ids) == page_size and (next_start := (passes[-1], task_ids[-1] + 1)) < end:
            token = make_token(_GET, token_scope(queue, queue_id, fair=self._fair), *next_start)
        return TaskPage(tasks, token, unreadable)

    async def complete_tasks_less_than(
        self,
        queue: TaskQueueKey,
        *,
        max_task_id: int,
        max_pass: int = 0,
        limit: int,
        subqueue: int = 0,
        range_id: int | None = None,
    ) -> int:
        """Delete the first tasks of a queue, up to a task that stays.

        Args:
            queue: The queue's namespace, name and type.
            max_task_id: The id of the task that stays.
            max_pass: The pass of that task; 0 in a plain queue, 1 or more in a fair one.
            limit: The maximum number of tasks to delete; 1 or more.
            subqueue: The part of the backlog; 0 is the queue itself.
            range_id: The range id that the queue's owner holds; None for any owner. A former owner must not delete,
                because the next owner of a fair queue can give its tasks passes that the former one has completed.

        Returns:
            The number of tasks that were deleted.

        Raises:
            ConditionFailed: The queue has another range id or does not exist. Nothing was deleted.
            IntegrityError: The queue's range id was altered. Nothing was deleted.
            InvalidPersistenceRequest: A number is invalid.
            NamespaceNotFound: The namespace does not exist.
        """
        name = check_task_queue(queue)
        check_subqueue(subqueue)
        bounds = check_bounds(max_pass, max_task_id, limit, range_id, fair=self._fair)
        keys = await open_keys(self._keyring, queue.namespace_id)
        tasks = CompletedTasks(row_key(keys, queue, name, fair=self._fair, subqueue=subqueue), *bounds)
        owner = None if range_id is None else owner_of(keys, row_key(keys, queue, name, fair=self._fair), range_id)
        return await delete_tasks(self._database, self._journal, tasks, owner)

    async def aclose(self) -> None:
        """Wait until no write and no read is in flight."""
        await self._writes.aclose()
        await self._reads.aclose()
