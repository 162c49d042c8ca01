"""Strongroom's side of the persistence benchmark: the same operations on blobs of the same sizes as `temporal-go` has."""

from __future__ import annotations

import asyncio
import itertools
import statistics
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING
from uuid import UUID, uuid4

from benchmarks.persistence.requests import Run, blob, change, creation, new_run
from strongroom.storage import (
    EVERY_NAMESPACE,
    HistoryBranch,
    HistoryNode,
    ShardInfo,
    Task,
    TaskQueue,
    TaskQueueKey,
)

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from strongroom.driver.strongroom import Strongroom

SHARDS = 64
RUNS = 512
BRANCHES = 64
BRANCH_NODES = 100
QUEUES = 64
QUEUE_TASKS = 1000
TASK_PAGE = 10
FEWEST = 2
"""Number of calls without which there is no quantile."""
TABLES = (
    "shards, executions, execution_maps, current_executions, history_tasks, history_node, history_tree, "
    "task_queues, tasks, visibility_records"
)


@dataclass
class Cell:
    """The result of a measurement."""

    operations: int
    seconds: float
    p50_ms: float
    p99_ms: float
    client_cpu_us: float


@dataclass
class Fixtures:
    """The rows that callers work on."""

    strongroom: Strongroom
    namespace_id: UUID
    runs: list[Run] = field(default_factory=list)
    branches: list[HistoryBranch] = field(default_factory=list)
    task_ids: itertools.count[int] = field(default_factory=lambda: itertools.count(1_000_000))
    written: list[TaskQueueKey] = field(default_factory=list)
    read: list[TaskQueueKey] = field(default_factory=list)

    async def prepare(self) -> None:
        """Empty all tables, and fill them with the rows that the operations start from."""
        async with self.strongroom.database.connection(EVERY_NAMESPACE) as connection:
            await connection.execute(f"TRUNCATE {TABLES}")
        for shard_id in range(1, SHARDS + 1):
            made = ShardInfo(shard_id, 1, blob(150))
            await self.strongroom.shards.get_or_create_shard(shard_id, lambda made=made: made)
        self.runs = await asyncio.gather(*(self._create(number, f"fixture-{number}") for number in range(RUNS)))
        self.branches = await asyncio.gather(*(self._branch(number) for number in range(BRANCHES)))
        self.written = await asyncio.gather(*(self._queue(f"written-{number}", 0) for number in range(QUEUES)))
        self.read = await asyncio.gather(*(self._queue(f"read-{number}", QUEUE_TASKS) for number in range(QUEUES)))
        async with self.strongroom.database.connection(EVERY_NAMESPACE) as connection:
            await connection.execute("ANALYZE")

    async def _create(self, number: int, workflow_id: str) -> Run:
        run = new_run(workflow_id, number % SHARDS + 1)
        await self.strongroom.executions.create_workflow_execution(creation(self, run, is_fixture=True))
        return run

    async def _branch(self, number: int) -> HistoryBranch:
        branch = HistoryBranch(number % SHARDS + 1, uuid4(), uuid4())
        nodes = [HistoryNode(node, node, node - 1, blob(2048)) for node in range(1, BRANCH_NODES + 1)]
        await self.strongroom.history.append_history_nodes(self.namespace_id, branch, nodes, is_new_branch=True)
        return branch

    async def _queue(self, name: str, tasks: int) -> TaskQueueKey:
        queue = TaskQueueKey(self.namespace_id, name, 1)
        await self.strongroom.tasks.create_task_queue(TaskQueue(queue, 1, blob(150)))
        for first in range(1, tasks + 1, 500):
            await self.strongroom.tasks.create_tasks(
                queue, [Task(number, blob(200)) for number in range(first, first + 500)], range_id=1
            )
        return queue


class Caller:
    """One of many concurrent callers. No other caller touches its runs."""

    def __init__(self, fixtures: Fixtures, number: int, callers: int) -> None:
        self.fixtures = fixtures
        self.strongroom = fixtures.strongroom
        self.namespace_id = fixtures.namespace_id
        self.runs = itertools.cycle(fixtures.runs[number::callers])
        self.branches = itertools.cycle(fixtures.branches[number % BRANCHES :: callers])
        self.appends: dict[UUID, int] = {}
        self.written = itertools.cycle(fixtures.written[number % QUEUES :: callers])
        self.read = itertools.cycle(fixtures.read[number % QUEUES :: callers])
        self.next_page = 0

    async def update(self) -> None:
        """Update a run: info, state, a new activity, two tasks, one batch of events."""
        request = change(self.fixtures, next(self.runs))
        await self.strongroom.executions.update_workflow_execution(request)

    async def create(self) -> None:
        """Create a run of a new workflow."""
        workflow_id = uuid4()
        run = new_run(str(workflow_id), workflow_id.int % SHARDS + 1)
        await self.strongroom.executions.create_workflow_execution(creation(self.fixtures, run, is_fixture=False))

    async def get(self) -> None:
        """Read a run's mutable state."""
        run = next(self.runs)
        await self.strongroom.executions.get_workflow_execution(
            self.namespace_id, run.workflow_id, run.run_id, shard_id=run.shard_id
        )

    def append(self, size: int) -> Callable[[], Awaitable[None]]:
        """Append one batch of events to a branch."""

        async def append() -> None:
            run = next(self.runs)
            run.next_node += 1
            node = HistoryNode(run.next_node + 1_000_000, run.next_node, run.next_node - 1, blob(size))
            await self.strongroom.history.append_history_nodes(self.namespace_id, run.branch, [node])

        return append

    async def read100(self) -> None:
        """Read a branch of 100 nodes in one page."""
        page = await self.strongroom.history.read_history_branch(
            self.namespace_id, next(self.branches), page_size=BRANCH_NODES
        )
        assert len(page.nodes) == BRANCH_NODES

    async def create_tasks(self) -> None:
        """Add ten tasks to a queue."""
        ids = self.fixtures.task_ids
        await self.strongroom.tasks.create_tasks(
            next(self.written), [Task(next(ids), blob(200)) for _ in range(TASK_PAGE)], range_id=1
        )

    async def get_tasks(self) -> None:
        """Read a page of ten tasks. The minimum task id increases with each page."""
        self.next_page = self.next_page % (QUEUE_TASKS - TASK_PAGE) + TASK_PAGE
        page = await self.strongroom.tasks.get_tasks(
            next(self.read), page_size=TASK_PAGE, min_task_id=self.next_page - TASK_PAGE + 1
        )
        assert len(page.tasks) == TASK_PAGE

    def operation(self, name: str) -> Callable[[], Awaitable[None]]:
        """Return an operation by its name in the reference."""
        if name.startswith("append"):
            return self.append(int(name.removeprefix("append")))
        found: Callable[[], Awaitable[None]] = getattr(self, name)
        return found


async def measure(fixtures: Fixtures, name: str, callers: int, *, seconds: float, warmup: float) -> Cell:
    """Run an operation with a number of callers for some seconds, and longer until it was called `FEWEST` times."""
    latencies: list[float] = []
    started = time.perf_counter()
    begin, end = started + warmup, started + warmup + seconds
    cpu: list[float] = []

    async def call(number: int) -> None:
        operation = Caller(fixtures, number, callers).operation(name)
        before = time.perf_counter()
        while before < end or len(latencies) < FEWEST:
            await operation()
            after = time.perf_counter()
            if begin <= after and (after <= end or len(latencies) < FEWEST):
                if not cpu:
                    cpu.append(time.process_time())
                latencies.append(after - before)
            before = after

    await asyncio.gather(*(call(number) for number in range(callers)))
    spent = time.process_time() - cpu[0]
    cuts = statistics.quantiles(latencies, n=100)
    return Cell(
        len(latencies),
        seconds if len(latencies) > FEWEST else time.perf_counter() - begin,
        cuts[49] * 1e3,
        cuts[98] * 1e3,
        spent / len(latencies) * 1e6,
    )
