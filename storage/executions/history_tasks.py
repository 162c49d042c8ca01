"""Tasks of the history service: the work to do for a run. Temporal's history task operations."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING
from uuid import UUID

from strongroom.kms.sealing.record_kinds import HISTORY_TASK, REPLICATION_DLQ_TASK
from strongroom.storage.checks import check_name, check_number, check_shard_id, open_keys, wanted_page_size
from strongroom.storage.engine.functions import load_functions
from strongroom.storage.engine.queries import load_queries
from strongroom.storage.engine.row_level_security import EVERY_NAMESPACE, SET_BY_FUNCTION
from strongroom.storage.fences import ShardFences, refused_shard
from strongroom.storage.page_tokens import page_position

from .dead_letters import deleted_letters, put_letter
from .journal import added_tasks, completed_tasks
from .task_pages import SealedTask, next_token, page_opener
from .task_reading import TaskRange, TaskReader
from .tasks import (
    HistoryTask,
    HistoryTaskPage,
    TaskCategory,
    TaskKey,
    check_category,
    check_dead_letter,
    check_dlq,
    check_key,
    check_range,
    check_tasks,
)

if TYPE_CHECKING:
    from strongroom.kms import Keyring
    from strongroom.storage.engine.database import Database
    from strongroom.storage.journal.writer import Journal

_SQL = load_queries("executions/history_tasks")


class HistoryTaskStore:
    """Reads and completes the tasks that the execution store writes with a run, and adds single tasks.

    All operations raise `InvalidPersistenceRequest` for a field that is not valid, before anything is sent, and
    `DatabaseUnavailable` if the database can't be reached.

    Args:
        database: The connections, for look-ups by key.
        keyring: The unwrapped keys.
        journal: The journal of this process.
        distributed: Whether the tables are spread over a Citus cluster.
    """

    def __init__(self, database: Database, keyring: Keyring, journal: Journal, *, distributed: bool = False) -> None:
        self._database, self._keyring, self._journal = database, keyring, journal
        self._fences = ShardFences(keyring)
        self._open = page_opener(keyring, database)
        self._reader = TaskReader(database, distributed=distributed)
        self._add = load_functions(distributed=distributed)["add_history_tasks"]

    async def add_history_tasks(
        self,
        namespace_id: UUID,
        tasks: Mapping[TaskCategory, Sequence[HistoryTask]],
        *,
        shard_id: int,
        range_id: int,
    ) -> None:
        """Add tasks to a shard's queues, all or none.

        Args:
            namespace_id: The namespace of all tasks.
            tasks: The tasks by category.
            shard_id: The shard, from 1.
            range_id: The range id that the caller holds.

        Raises:
            ShardOwnershipLost: The shard has another range_id.
            IntegrityError: The shard's range_id was altered.
            ConditionFailed: A task with one of the ids exists.
            NamespaceNotFound: The namespace does not exist.
            KmsError: The namespace's keys are not available.
            TransactionSizeLimit: A blob is larger than 4 MiB.
        """
        check_shard_id(shard_id)
        check_number("range_id", range_id)
        check_tasks(tasks)
        keys = await open_keys(self._keyring, namespace_id)
        with_category = [(category, task) for category, several in tasks.items() for task in several]
        rows = [((category.category_id, *task.key), task.blob.pack()) for category, task in with_category]
        sealed = keys.seal_many(HISTORY_TASK, rows, scope=(shard_id,))
        fence = (shard_id, range_id, await self._fences.mac(shard_id, range_id))
        changes = added_tasks(shard_id, namespace_id, zip((key for key, _ in rows), sealed, strict=True))
        async with self._journal.entry(changes) as entry, self._database.connection(SET_BY_FUNCTION) as connection:
            answer = await self._add.call(
                connection,
                *fence,
                namespace_id,
                [category.category_id for category, _ in with_category],
                [task.key.fire_time for _, task in with_category],
                [task.key.task_id for _, task in with_category],
                sealed,
                *entry.arguments,
            )
            entry.refused = answer[0]["result"] != 0
        if reason := answer[0]["result"]:
            raise refused_shard(shard_id, reason)

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
        """Return a page of tasks, of all namespaces, in the order of their category. Concurrent reads share a statement.

        Args:
            category: The category.
            shard_id: The shard, from 1.
            min_key: The first key, inclusive.
            max_key: The last key, exclusive.
            batch_size: The maximum number of tasks of the page; 0, a negative number or more than 10,000 for 10,000.
            page_token: The `next_page_token` of the previous page; None or empty for the first page.

        Raises:
            InvalidPersistenceRequest: An argument is not valid, or the token is from another read.
            StorageError: The database does not answer.
        """
        check_range(category, shard_id, min_key, max_key)
        batch_size = wanted_page_size(batch_size)
        scope = f"{shard_id} {category.category_id}".encode()
        start = min_key
        if page_token:
            start = max(min_key, TaskKey(*page_position(page_token, "get_history_tasks", scope, numbers=2)))
        page = await self._reader.read(TaskRange(shard_id, category.category_id, *start, *max_key, batch_size))
        tasks, unreadable = await self._open(HISTORY_TASK, (shard_id, category.category_id), page)
        return HistoryTaskPage(tasks, unreadable, next_token(page, batch_size, max_key, "get_history_tasks", scope))

    async def complete_history_task(self, category: TaskCategory, key: TaskKey, *, shard_id: int) -> None:
        """Delete a task. Deleting a task that does not exist is not an error.

        Args:
            category: The category.
            key: The task's key.
            shard_id: The shard, from 1.

        Raises:
            InvalidPersistenceRequest: An argument is not valid.
        """
        check_category(category)
        check_key(category, key)
        after = TaskKey(key.fire_time, key.task_id + 1)
        await self.range_complete_history_tasks(category, shard_id=shard_id, min_key=key, max_key=after)

    async def range_complete_history_tasks(
        self, category: TaskCategory, *, shard_id: int, min_key: TaskKey, max_key: TaskKey
    ) -> None:
        """Delete a range of tasks, of all namespaces.

        Args:
            category: The category.
            shard_id: The shard, from 1.
            min_key: The first key, inclusive.
            max_key: The last key, exclusive.

        Raises:
            InvalidPersistenceRequest: An argument is not valid.
            KmsError: The cell's keys are not available.
            StorageError: The database does not answer.
        """
        check_range(category, shard_id, min_key, max_key)
        changes = completed_tasks(shard_id, category.category_id, min_key, max_key)
        async with self._journal.entry(changes) as entry, self._database.connection(EVERY_NAMESPACE) as connection:
            key = (shard_id, category.category_id, *min_key, *max_key)
            entry.answer(await connection.fetchrow(_SQL["range_complete"], *key, *entry.arguments))

    async def put_replication_task_to_dlq(
        self, namespace_id: UUID, task: HistoryTask, *, shard_id: int, source_cluster_name: str
    ) -> None:
        """Add a replication task that could not be applied to the dead-letter queue. A task with the same id is replaced.

        Args:
            namespace_id: The task's namespace.
            task: The task.
            shard_id: The shard, from 1.
            source_cluster_name: The cluster that sent the task, 1 to 255 bytes of UTF-8.

        Raises:
            NamespaceNotFound: The namespace does not exist.
            KmsError: The namespace's keys are not available.
            TransactionSizeLimit: The blob is larger than 4 MiB.
        """
        check_shard_id(shard_id)
        check_name("source_cluster_name", source_cluster_name)
        check_dead_letter(task)
        keys = await open_keys(self._keyring, namespace_id)
        key = (shard_id, source_cluster_name, task.key.task_id)
        sealed = keys.seal(REPLICATION_DLQ_TASK, key, task.blob.pack())
        # The row that it replaces may belong to another namespace.
        async with self._database.transaction(EVERY_NAMESPACE) as connection:
            await self._journal.write(connection, await put_letter(connection, key, namespace_id, sealed))

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
        """Return a page of one source cluster's dead letters, in the order of their task ids.

        Args:
            source_cluster_name: The cluster that sent the tasks.
            shard_id: The shard, from 1.
            min_task_id: The first task id, inclusive.
            max_task_id: The last task id, exclusive.
            batch_size: The maximum number of tasks of the page; 0, a negative number or more than 10,000 for 10,000.
            page_token: The `next_page_token` of the previous page; None or empty for the first page.

        Raises:
            InvalidPersistenceRequest: An argument is not valid, or the token is from another read.
        """
        check_dlq(source_cluster_name, shard_id, min_task_id, max_task_id)
        batch_size = wanted_page_size(batch_size)
        scope = f"{shard_id} {source_cluster_name}".encode()
        start = min_task_id
        if page_token:
            start = max(start, page_position(page_token, "get_replication_tasks_from_dlq", scope, numbers=2)[1])
        async with self._database.connection(EVERY_NAMESPACE) as connection:
            rows = await connection.fetch(
                _SQL["get_dlq"], shard_id, source_cluster_name, start, max_task_id, batch_size
            )
        page = [SealedTask(TaskKey(0, row["task_id"]), row["namespace_id"], row["data"]) for row in rows]
        tasks, unreadable = await self._open(REPLICATION_DLQ_TASK, (shard_id, source_cluster_name), page, key_parts=1)
        token = next_token(page, batch_size, TaskKey(0, max_task_id), "get_replication_tasks_from_dlq", scope)
        return HistoryTaskPage(tasks, unreadable, token)

    async def delete_replication_task_from_dlq(self, source_cluster_name: str, task_id: int, *, shard_id: int) -> None:
        """Delete a dead letter. Deleting one that does not exist is not an error.

        Args:
            source_cluster_name: The cluster that sent the task.
            task_id: The task's id.
            shard_id: The shard, from 1.

        Raises:
            InvalidPersistenceRequest: An argument is not valid.
        """
        check_number("task_id", task_id, limit=2**63 - 1)
        await self.range_delete_replication_tasks_from_dlq(
            source_cluster_name, shard_id=shard_id, min_task_id=task_id, max_task_id=task_id + 1
        )

    async def range_delete_replication_tasks_from_dlq(
        self, source_cluster_name: str, *, shard_id: int, min_task_id: int, max_task_id: int
    ) -> None:
        """Delete a range of dead letters.

        Args:
            source_cluster_name: The cluster that sent the tasks.
            shard_id: The shard, from 1.
            min_task_id: The first task id, inclusive.
            max_task_id: The last task id, exclusive.

        Raises:
            InvalidPersistenceRequest: An argument is not valid.
        """
        check_dlq(source_cluster_name, shard_id, min_task_id, max_task_id)
        row = (shard_id, source_cluster_name, min_task_id, max_task_id)
        async with self._journal.entry(deleted_letters(*row)) as e, self._database.connection(EVERY_NAMESPACE) as c:
            e.answer(await c.fetchrow(_SQL["range_delete_dlq"], *row, *e.arguments))

    async def is_replication_dlq_empty(self, source_cluster_name: str, *, shard_id: int, min_task_id: int) -> bool:
        """Return whether the queue has no dead letter with this task id or a higher one.

        Args:
            source_cluster_name: The cluster that sent the tasks.
            shard_id: The shard, from 1.
            min_task_id: The first task id, inclusive.

        Raises:
            InvalidPersistenceRequest: An argument is not valid.
        """
        check_dlq(source_cluster_name, shard_id, min_task_id, min_task_id)
        async with self._database.connection(EVERY_NAMESPACE) as connection:
            return not await connection.fetch(_SQL["any_dlq"], shard_id, source_cluster_name, min_task_id)

    async def aclose(self) -> None:
        """Wait until no read is in flight."""
        await self._reader.aclose()
