"""The calls that the benchmark of the server sends: blobs of the sizes of `requests.py`, on rows that it writes through the server."""

from __future__ import annotations

import asyncio
from itertools import count, cycle
from typing import TYPE_CHECKING, Any, TypeAlias
from uuid import uuid4

from benchmarks.persistence.requests import Run, blob, change, creation, new_run
from strongroom.storage import (
    TRANSFER,
    HistoryNode,
    Task,
    TaskKey,
    TaskQueue,
    TaskQueueKey,
)

if TYPE_CHECKING:
    from benchmarks.persistence.cells import Fixtures
    from tests.support.serve.client import Client

SHARDS = 16
RUNS = 64
AT_ONCE = 16
Request: TypeAlias = tuple[str, dict[str, Any]]
"""An operation and its arguments."""


class Load:
    """The calls of each operation, on rows that the bench itself wrote through the server."""

    def __init__(self, client: Client, fixtures: Fixtures) -> None:
        self.client, self.fixtures = client, fixtures
        self.numbers = count(1)

    async def prepare(self) -> None:
        """Write the rows that the calls start from."""
        remote: Any = self.fixtures.strongroom
        namespace_id = self.fixtures.namespace_id
        for shard_id in range(1, SHARDS + 1):
            shard = {"shard_id": shard_id, "range_id": 1, "info": blob(150)}
            await self.client.call("shards.get_or_create_shard", shard_id=shard_id, create=shard)
        self.fixtures.runs = []
        for first in range(0, RUNS, AT_ONCE):  # all at once would wait longer than a call may, on a slow machine
            numbers = range(first, min(first + AT_ONCE, RUNS))
            self.fixtures.runs += await asyncio.gather(*(self._fixture(number) for number in numbers))
        self.runs = cycle(self.fixtures.runs)
        self.queue = TaskQueueKey(namespace_id, "bench", 1)
        await remote.tasks.create_task_queue(TaskQueue(self.queue, 1, blob(150)))
        await remote.tasks.create_tasks(self.queue, [Task(number, blob(200)) for number in range(1, 21)], range_id=1)

    async def _fixture(self, number: int) -> Run:
        remote: Any = self.fixtures.strongroom
        run = new_run(f"fixture-{number}", shard_of(number))
        await remote.executions.create_workflow_execution(creation(self.fixtures, run, is_fixture=True))
        nodes = [HistoryNode(node, node, node - 1, blob(1024)) for node in (2, 3)]
        await remote.history.append_history_nodes(self.fixtures.namespace_id, run.branch, nodes)
        return run

    def call(self, name: str) -> Request:
        """Return the operation and the arguments of the next call."""
        return getattr(self, "_" + name.lower().replace(".", "_").replace(" ", "_"))()

    def _echo_20_b(self) -> Request:
        return "echo.echo", {"value": bytes(20)}

    def _statement(self) -> Request:
        return "echo.statement", {"value": next(self.numbers)}

    def _echo_4_kib(self) -> Request:
        return "echo.echo", {"value": bytes(4096)}

    def _echo_update(self) -> Request:
        return "echo.echo", {"value": self._update_of(new_run("echo", shard_of(1)))[1]}

    def _shard_get(self) -> Request:
        return "shards.get_or_create_shard", {"shard_id": shard_of(next(self.numbers))}

    def _execution_create(self) -> Request:
        number = next(self.numbers)
        run = new_run(f"created-{number}-{uuid4()}", shard_of(number))
        return "executions.create_workflow_execution", {"request": creation(self.fixtures, run, is_fixture=False)}

    def _execution_update(self) -> Request:
        return self._update_of(next(self.runs))

    def _update_of(self, run: Run) -> Request:
        # Two nodes were appended after the run was created.
        return "executions.update_workflow_execution", {"request": change(self.fixtures, run, earlier=2)}

    def _place_of(self, run: Run) -> dict[str, Any]:
        return {"namespace_id": self.fixtures.namespace_id, "workflow_id": run.workflow_id, "shard_id": run.shard_id}

    def _execution_get(self) -> Request:
        run = next(self.runs)
        return "executions.get_workflow_execution", {**self._place_of(run), "run_id": run.run_id}

    def _execution_current(self) -> Request:
        return "executions.get_current_execution", self._place_of(next(self.runs))

    def _history_append(self) -> Request:
        run, number = next(self.runs), next(self.numbers)
        nodes = [HistoryNode(1_000_000 + number, number, number - 1, blob(1024))]
        return "history.append_history_nodes", {
            "namespace_id": self.fixtures.namespace_id,
            "branch": run.branch,
            "nodes": nodes,
        }

    def _history_read_3(self) -> Request:
        run = next(self.runs)
        return "history.read_history_nodes", {
            "namespace_id": self.fixtures.namespace_id,
            "shard_id": run.shard_id,
            "tree_id": run.branch.tree_id,
            "branch_id": run.branch.branch_id,
            "min_node_id": 1,
            "max_node_id": 4,
            "page_size": 100,
        }

    def _htask_get_20(self) -> Request:
        return self._htask_get(TaskKey(0, 0))

    def _htask_get_0(self) -> Request:
        return self._htask_get(TaskKey(0, 2**50))

    def _htask_get(self, first: TaskKey) -> Request:
        return "history_tasks.get_history_tasks", {
            "category": TRANSFER,
            "shard_id": shard_of(next(self.numbers)),
            "min_key": first,
            "max_key": TaskKey(0, 2**60),
            "batch_size": 20,
        }

    def _task_create(self) -> Request:
        tasks = [Task(100 + next(self.numbers), blob(200))]
        return "tasks.create_tasks", {"queue": self.queue, "tasks": tasks, "range_id": 1}

    def _task_get_20(self) -> Request:
        return "tasks.get_tasks", {"queue": self.queue, "min_task_id": 1, "max_task_id": 21, "page_size": 20}


def shard_of(number: int) -> int:
    """Return the shard of a number."""
    return number % SHARDS + 1
