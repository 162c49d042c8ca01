"""The two statements that matching lives on: write tasks and read tasks, each for several callers at once."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

from strongroom.kms.sealing.record_kinds import TASK
from strongroom.storage.engine.functions import load_functions
from strongroom.storage.errors import ConditionFailed
from strongroom.storage.sealing import OFF_LOOP_BYTES

if TYPE_CHECKING:
    from collections.abc import Sequence
    from uuid import UUID

    from strongroom.kms import Key, NamespaceKeys, RecordKind, StrongroomError
    from strongroom.storage.engine.connection import Connection
    from strongroom.storage.engine.database import Database

    SealedTasks: TypeAlias = tuple[Sequence[int], Sequence[int], Sequence[bytes]]
    """Passes, ids and sealed values of tasks, in order."""


MAX_TASKS = 4096
"""Tasks of one request: as many as a statement has requests still fit into one batch of the sealed format, 2^16 records."""


class QueueRow(NamedTuple):
    """Which row of `task_queues` a write needs, as the statement takes it."""

    range_hash: int
    namespace_id: UUID
    task_queue_id: bytes
    task_type: int
    range_id: int


class TaskWrite(NamedTuple):
    """Tasks of one caller.

    Attributes:
        queue: the row that must be there, at this range_id.
        keys: of its namespace.
        parts: for the queue and each of its subqueues that gets tasks: its token, and of each task pass, id and packed blob.
        size: bytes of all blobs.
    """

    queue: QueueRow
    keys: NamespaceKeys
    parts: Sequence[tuple[bytes, Sequence[tuple[Key, bytes]]]]
    size: int


class TaskRange(NamedTuple):
    """A page of tasks that one caller reads, as the statement takes it; from (pass, task), inclusive, to (pass, task), exclusive."""

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
    """Runs batches of writes and of reads for one form of queues; what `GroupCommit` calls.

    Args:
        database: bounds how long an answer may take.
        fair: the form of the queues.
        distributed: all requests of a batch are of one range_hash.
    """

    def __init__(self, database: Database, *, fair: bool, distributed: bool) -> None:
        functions = load_functions(distributed=distributed)
        self._create = functions["create_tasks"]
        self._get = functions["get_tasks"]
        self._fair = fair
        self._timeout = database.answer_timeout

    async def write(self, connection: Connection, requests: Sequence[TaskWrite]) -> Sequence[StrongroomError | None]:
        """Seal and write tasks; a request whose queue has another owner is answered so, and leaves nothing.

        Raises:
            ConditionFailed: a task is there already. Nothing of the whole batch was written.
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
        refused = await self._create.call(
            connection,
            requests[0].queue.range_hash,
            self._fair,
            *zip(*[request.queue for request in requests], strict=True),
            owners,
            queues,
            parts,
            passes,
            task_ids,
            sealed,
            timeout=self._timeout,
        )
        answers: list[StrongroomError | None] = [None] * len(requests)
        for row in refused:
            msg = "the task queue has another owner now, or is not there; acquire it again before writing"
            answers[row["request"] - 1] = ConditionFailed(msg)
        return answers

    async def read(self, connection: Connection, requests: Sequence[TaskRange]) -> Sequence[SealedTasks]:
        """Read a page of sealed tasks for each request."""
        columns = zip(*requests, strict=True)
        rows = await self._get.call(connection, requests[0].range_hash, self._fair, *columns, timeout=self._timeout)
        return [(row["passes"] or (), row["task_ids"] or (), row["sealed"] or ()) for row in rows]

    def _seal(self, requests: Sequence[TaskWrite]) -> list[bytes]:
        """Seal the tasks of all requests, each namespace's in one batch; return them in order."""
        places: dict[NamespaceKeys, list[int]] = {}
        groups: list[tuple[RecordKind, Key, Sequence[tuple[Key, bytes]]]] = []
        for request in requests:
            range_hash, _, _, task_type, _ = request.queue
            for queue_id, rows in request.parts:
                places.setdefault(request.keys, []).append(len(groups))
                groups.append((TASK, (range_hash, queue_id, task_type, int(self._fair)), rows))
        sealed: list[list[bytes]] = [[]] * len(groups)
        for keys, numbers in places.items():
            values = keys.seal_groups([groups[number] for number in numbers])
            for number, group in zip(numbers, values, strict=True):
                sealed[number] = group
        return [value for group in sealed for value in group]
