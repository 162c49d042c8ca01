"""Read the queues of shards. Concurrent reads of all shards and categories share statements (`storage/engine/group_commit.py`)."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from strongroom.storage.engine.functions import load_functions
from strongroom.storage.engine.queries import load_queries
from strongroom.storage.engine.row_level_security import EVERY_NAMESPACE
from strongroom.storage.engine.shared_reads import shared_reads

from .task_pages import SealedTask
from .tasks import TaskKey

if TYPE_CHECKING:
    from collections.abc import Sequence

    from strongroom.storage.engine.connection import Connection
    from strongroom.storage.engine.database import Database

_SQL = load_queries("executions/history_tasks")


class TaskRange(NamedTuple):
    """A page of a shard's queue, as columns of the statement: from `min_*`, inclusive, to `max_*`, exclusive."""

    shard_id: int
    category_id: int
    min_fire_time: int
    min_task: int
    max_fire_time: int
    max_task: int
    limit: int


class TaskReader:
    """Reads pages of sealed tasks.

    Args:
        database: The connections, for look-ups by key.
        distributed: Whether the tables are spread over a Citus cluster.
    """

    def __init__(self, database: Database, *, distributed: bool) -> None:
        self._function = load_functions(distributed=distributed)["get_history_tasks"]
        self._timeout = database.answer_timeout
        self._database = database
        self._reads = shared_reads(
            database, "get_history_tasks", self._read_alone, self._read_together, distributed=distributed
        )

    async def read(self, wanted: TaskRange) -> Sequence[SealedTask]:
        """Return a page of tasks, in the order of their keys. It was read after this call began."""
        return await self._reads.submit(wanted)

    async def aclose(self) -> None:
        """Wait until no read is in flight."""
        await self._reads.aclose()

    async def _read_alone(self, wanted: TaskRange) -> Sequence[SealedTask]:
        async with self._database.connection(EVERY_NAMESPACE) as connection:
            rows = await connection.fetch(_SQL["get"], *wanted)
        return [SealedTask(TaskKey(row["fire_time"], row["task_id"]), row["namespace_id"], row["data"]) for row in rows]

    async def _read_together(
        self, connection: Connection, requests: Sequence[TaskRange]
    ) -> Sequence[Sequence[SealedTask]]:
        columns = zip(*requests, strict=True)
        rows = await self._function.call(connection, requests[0].shard_id, *columns, timeout=self._timeout)
        return [
            ()
            if row["task_ids"] is None
            else [
                SealedTask(TaskKey(fire_time, task_id), namespace_id, sealed)
                for fire_time, task_id, namespace_id, sealed in zip(*row.values(), strict=True)
            ]
            for row in rows
        ]
