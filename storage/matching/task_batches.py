"""The two statements of the hot path, which write and read tasks. Each serves several callers at once."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

from strongroom.kms.sealing.record_kinds import TASK
from strongroom.storage.engine.functions import load_functions
from strongroom.storage.errors import ConditionFailed
from strongroom.storage.fences import altered
from strongroom.storage.sealing import OFF_LOOP_BYTES

from .journal import added_tasks

if TYPE_CHECKING:
    from collections.abc import Sequence
    from uuid import UUID

    from strongroom.kms import NamespaceKeys, RecordKey, RecordKind, StrongroomError
    from strongroom.storage.engine.connection import Connection, Row
    from strongroom.storage.engine.database import Database
    from strongroom.storage.journal.writer import Journal

    SealedTasks: TypeAlias = tuple[Sequence[int], Sequence[int], Sequence[bytes]]
    """The passes, ids and sealed values of tasks, in order."""


MAX_TASKS = 4096
"""The maximum number of tasks in one request. 16 such requests fit into one batch of the sealed format, 2^16 records."""
NOT_OWNER = "another owner holds the task queue now, or the queue does not exist; acquire it again before writing"
"""The message of a write whose range id is not the stored one."""
LEASE = "the range id of a task queue"


class QueueRow(NamedTuple):
    """The row of `task_queues` that a write depends on, as columns of the statement."""

    range_hash: int
    namespace_id: UUID
    task_queue_id: bytes
    task_type: int
    range_id: int


class TaskWrite(NamedTuple):
    """The tasks of one caller.

    Attributes:
        queue: The row that must exist at this range id.
        range_mac: The MAC of that range id.
        keys: The keys of its namespace.
        parts: The token of the queue and of each subqueue that gets tasks, with the pass, id and packed blob of each task.
        size: The size of all blobs, in bytes.
    """

    queue: QueueRow
    range_mac: bytes
    keys: NamespaceKeys
    parts: Sequence[tuple[bytes, Sequence[tuple[RecordKey, bytes]]]]
    size: int


class TaskRange(NamedTuple):
    """The page that one caller reads, as columns of the statement: from `min_*`, inclusive, to `max_*`, exclusive."""

    range_hash: int
    namespace_id: UUID
    task_queue_id: bytes
    task_type: int
    min_pass: int
    min_task: int
    max_pass: int
    max_task: int
    limit: int


class TaskStatements:
    """Runs the batches of writes and reads that `GroupCommit` collects.

    Args:
        database: The cell's database, whose `answer_timeout` limits each statement.
        journal: The journal of this process.
        fair: Whether the queues are fair.
        distributed: Whether all requests of a batch have the same range hash, as on a Citus cluster.
    """

    def __init__(self, database: Database, journal: Journal, *, fair: bool, distributed: bool) -> None:
        self._journal = journal
        functions = load_functions(distributed=distributed)
        self._create = functions["create_tasks"]
        self._get = functions["get_tasks"]
        self._fair = fair
        self._timeout = database.answer_timeout

    async def write(self, connection: Connection, requests: Sequence[TaskWrite]) -> Sequence[StrongroomError | None]:
        """Seal and write tasks.

        Returns:
            For each request None, or its error: `ConditionFailed` if its queue has another owner, `IntegrityError` if the queue's
            range id was altered. Such a request writes nothing.

        Raises:
            ConditionFailed: A task with one of the ids exists. Nothing of the whole batch was written.
        """
        size = sum([request.size for request in requests])
        sealed = await asyncio.to_thread(self._seal, requests) if size >= OFF_LOOP_BYTES else self._seal(requests)
        owners: list[int] = []
        queues: list[bytes] = []
        parts: list[int] = []
        passes: list[Any] = []
        task_ids: list[Any] = []
        for number, request in enumerate(requests, 1):
            for queue_id, rows in request.parts:
                owners.append(number)
                queues.append(queue_id)
                parts += [len(queues)] * len(rows)
                passes += [key[0] for key, _ in rows]
                task_ids += [key[1] for key, _ in rows]
        async with self._journal.entries(added_tasks(map(_queue_and_tasks, requests), self._fair, sealed)) as entries:
            refused = await self._create.call(
                connection,
                requests[0].queue.range_hash,
                self._fair,
                *zip(*[request.queue for request in requests], strict=True),
                b"".join([request.range_mac for request in requests]),
                owners,
                queues,
                parts,
                passes,
                task_ids,
                sealed,
                *entries.arguments,
                timeout=self._timeout,
            )
            entries.refused = bool(refused)
        return await self._without(connection, requests, refused) if refused else [None] * len(requests)

    async def _without(
        self, connection: Connection, requests: Sequence[TaskWrite], refused: Sequence[Row]
    ) -> Sequence[StrongroomError | None]:
        """Write the requests that were not refused. The first statement wrote nothing."""
        errors: dict[int, StrongroomError] = {
            row["request"] - 1: altered(LEASE) if row["altered"] else ConditionFailed(NOT_OWNER) for row in refused
        }
        others = [request for number, request in enumerate(requests) if number not in errors]
        answers = iter(await self.write(connection, others) if others else ())
        return [errors[number] if number in errors else next(answers) for number in range(len(requests))]

    async def read(self, connection: Connection, requests: Sequence[TaskRange]) -> Sequence[SealedTasks]:
        """Return a page of sealed tasks for each request."""
        columns = zip(*requests, strict=True)
        rows = await self._get.call(connection, requests[0].range_hash, self._fair, *columns, timeout=self._timeout)
        return [(row["passes"] or (), row["task_ids"] or (), row["sealed"] or ()) for row in rows]

    def _seal(self, requests: Sequence[TaskWrite]) -> list[bytes]:
        """Seal the tasks of all requests, each namespace's in one batch, and return them in the order of the requests."""
        group_numbers: dict[NamespaceKeys, list[int]] = {}
        groups: list[tuple[RecordKind, RecordKey, Sequence[tuple[RecordKey, bytes]]]] = []
        for request in requests:
            range_hash, _, _, task_type, _ = request.queue
            for queue_id, rows in request.parts:
                group_numbers.setdefault(request.keys, []).append(len(groups))
                groups.append((TASK, (range_hash, queue_id, task_type, int(self._fair)), rows))
        sealed: list[list[bytes]] = [[]] * len(groups)
        for keys, numbers in group_numbers.items():
            values = keys.seal_groups([groups[number] for number in numbers])
            for number, group in zip(numbers, values, strict=True):
                sealed[number] = group
        return [value for group in sealed for value in group]


def _queue_and_tasks(
    request: TaskWrite,
) -> tuple[int, UUID, int, Sequence[tuple[bytes, Sequence[tuple[RecordKey, bytes]]]]]:
    return request.queue.range_hash, request.queue.namespace_id, request.queue.task_type, request.parts
