"""What an attack acts on: a namespace and a shard of a cell for this attack alone, and what honest callers do there."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from itertools import count
from typing import TYPE_CHECKING, Any
from uuid import UUID

from strongroom.storage import Queue, Task, TaskKey, TaskQueue, TaskQueueKey, UserDataUpdate
from strongroom.storage.executions.tasks import CategoryType
from strongroom.visibility import AttributeType, VisibilityRecord
from tests.support.fixtures.contract import new_namespace, new_shard
from tests.support.fixtures.executions import RUNNING, Workflow, blob
from tests.support.fixtures.history import Histories, node

if TYPE_CHECKING:
    from strongroom.driver.strongroom import Strongroom
    from strongroom.storage import HistoryBranch
    from tests.support.earlier_rows import Administrator

TYPES = {"Customer": AttributeType.KEYWORD}
SECOND = 10**9
_queue_types = count(100)
_LAST = 2**63 - 1


@dataclass
class Run:
    """A run with its last history node.

    Attributes:
        run_id: The run, and its history tree and branch.
        version: The record version that is stored.
        node: The id of the last node.
    """

    run_id: UUID
    version: int = 1
    node: int = 1

    @property
    def txn(self) -> int:
        """The transaction of the last node."""
        return 10 * self.node


@dataclass
class Scene:
    """The state of one attack. `kept` holds the rows that the administrator copied away, and what steps share."""

    cell: Strongroom
    admin: Administrator
    namespace_id: UUID
    shard_id: int
    kept: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.workflow = Workflow(self.cell, self.namespace_id, self.shard_id)
        self.histories = Histories(self.cell, self.namespace_id, self.shard_id)
        self.queue_type = next(_queue_types)
        self.queue = Queue(self.cell.database, self.cell.keyring, self.cell.journal.journal, queue_type=self.queue_type)
        self.task_queue = TaskQueueKey(self.namespace_id, "orders", 1)

    def on(self, cell: Strongroom) -> Scene:
        """Return this scene in another process."""
        return Scene(cell, self.admin, self.namespace_id, self.shard_id, self.kept)

    def restart(self) -> None:
        """Forget which rows the process has seen, as a process that starts after the attack."""
        self.cell.journal.journal.rows.forget()

    @property
    def run(self) -> Run:
        """The run that the attack is about."""
        return self.kept["run"]

    async def keep(self, name: str, table: str, where: str, *arguments: object) -> None:
        """Copy rows away."""
        self.kept[name] = await self.admin.copies(table, where, *arguments)

    async def start(self, nodes: int = 1, **fields: Any) -> Run:
        """Start a run, which becomes the current one, and write further nodes of its history."""
        snapshot = self.workflow.snapshot(**fields)
        await self.workflow.create(snapshot, new_workflow_new_events=self.workflow.events(snapshot.run_id, 1, 10, 0))
        run = self.kept["run"] = Run(snapshot.run_id)
        for _ in range(1, nodes):
            await self.write(run)
        return run

    async def write(self, run: Run, of=RUNNING, *, has_events: bool = True, **changes: Any) -> None:
        """Update a run, with another node of its history."""
        events = self.workflow.events(run.run_id, run.node + 1, run.txn + 10, run.txn) if has_events else []
        mutation = self.workflow.mutation(
            run.run_id, of, db_record_version=run.version + 1, next_event_id=7 + run.version, **changes
        )
        await self.workflow.update(mutation, update_workflow_new_events=events)
        run.version += 1
        run.node += has_events

    async def history_of_another_run(self, nodes: int) -> HistoryBranch:
        """Write another history with the nodes of `start`; return its branch."""
        branch = self.histories.branch()
        links = zip(range(1, nodes + 1), range(10, 10 * nodes + 1, 10), range(0, 10 * nodes, 10), strict=True)
        await self.histories.append(branch, *(node(*link) for link in links))
        return branch

    async def take_over_shard(self) -> None:
        """Take the shard over, as another host does."""
        shard = await self.cell.shards.get_or_create_shard(self.shard_id)
        newer = replace(shard, range_id=shard.range_id + 1)
        await self.cell.shards.update_shard(newer, previous_range_id=shard.range_id)

    async def read_run(self):
        """Read mutable state."""
        return await self.workflow.get(self.run.run_id)

    async def read_history(self):
        """Read the whole history of the run."""
        return await self.workflow.history(self.run.run_id)

    async def stored_tasks(self, category):
        """Read the history tasks of a category. Raise the error of a task that does not open."""
        page = await self.cell.history_tasks.get_history_tasks(
            category,
            shard_id=self.shard_id,
            min_key=TaskKey(0, 0),
            max_key=TaskKey(0 if category.type is CategoryType.IMMEDIATE else _LAST, _LAST),
            batch_size=1000,
        )
        for each in page.unreadable:
            raise each.reason
        return page.tasks

    async def make_task_queue(self, tasks: int = 0) -> TaskQueue:
        """Create a task queue at range id 7, with tasks 1, 2, 3 ..."""
        queue = TaskQueue(self.task_queue, 7, blob())
        await self.cell.tasks.create_task_queue(queue)
        if tasks:
            await self.add_tasks(*range(1, tasks + 1))
        return queue

    async def add_tasks(self, *task_ids: int) -> None:
        """Add tasks to the queue."""
        await self.cell.tasks.create_tasks(self.task_queue, [Task(each, blob()) for each in task_ids], range_id=7)

    async def complete_tasks(self, below: int) -> None:
        """Delete the tasks of the queue with a lower id."""
        await self.cell.tasks.complete_tasks_less_than(self.task_queue, max_task_id=below, limit=1000)

    async def write_user_data(self, version: int, **build_ids: Any) -> None:
        """Write the user data of the queue, which has this version now."""
        update = UserDataUpdate(version, blob(), **build_ids)
        await self.cell.task_queue_user_data.update_task_queue_user_data(self.namespace_id, {"orders": update})

    def record(self, number: int = 1, **changes: Any) -> VisibilityRecord:
        """Return the visibility record of a run; equal numbers give the same run."""
        given = {
            "workflow_id": f"order {number}",
            "run_id": str(UUID(int=number)),
            "workflow_type": "ship",
            "execution_status": "Running",
            "task_queue": "orders",
            "start_time": (1_795_000_000 + number) * SECOND,
            "execution_time": (1_795_000_000 + number) * SECOND,
            "search_attributes": {"Customer": f"customer {number}"},
        }
        return VisibilityRecord(**(given | changes))

    async def show(self, *records: VisibilityRecord, version: int = 1) -> None:
        """Write visibility records, all in the shard of the scene."""
        rows = [(self.shard_id, version, record) for record in records]
        await self.cell.visibility.record_workflow_executions(self.namespace_id, rows, TYPES)

    async def hide(self, record: VisibilityRecord, version: int) -> None:
        """Delete a visibility record."""
        await self.cell.visibility.delete_workflow_execution(
            self.namespace_id,
            shard_id=self.shard_id,
            workflow_id=record.workflow_id,
            run_id=record.run_id,
            version=version,
        )

    async def listed(self, query: str = ""):
        """List runs."""
        page = await self.cell.visibility.list_workflow_executions(self.namespace_id, query, TYPES, page_size=100)
        return page.executions


async def new_scene(cell: Strongroom, admin: Administrator) -> Scene:
    """Return a scene with its own namespace and shard."""
    return Scene(cell, admin, await new_namespace(cell), await new_shard(cell))
