"""What tests of mutable state share: a workflow in a shard of its own, requests with defaults, and a model of what is stored."""

from __future__ import annotations

import secrets
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import count
from typing import TYPE_CHECKING, Any
from uuid import UUID, uuid4

import pytest

from strongroom.storage import EVERY_NAMESPACE, DataBlob, HistoryBranch, HistoryNode
from strongroom.storage.data_blob import Encoding
from strongroom.storage.executions.history_tasks import (
    ARCHIVAL,
    OUTBOUND,
    REPLICATION,
    TIMER,
    TRANSFER,
    VISIBILITY,
    CategoryType,
    HistoryTask,
    TaskKey,
)
from strongroom.storage.executions.requests import (
    ChasmNode,
    ConflictResolveMode,
    ConflictResolveWorkflowExecutionRequest,
    CreateMode,
    CreateWorkflowExecutionRequest,
    ExecutionState,
    SetWorkflowExecutionRequest,
    UpdateMode,
    UpdateWorkflowExecutionRequest,
    WorkflowMutableState,
    WorkflowMutation,
    WorkflowSnapshot,
    WorkflowState,
    WorkflowStatus,
)
from strongroom.storage.histories.rows import HistoryAppend
from strongroom.storage.visibility_rows.records import VisibilityRow

if TYPE_CHECKING:
    from strongroom.driver.strongroom import Strongroom

CREATED, RUNNING, COMPLETED, ZOMBIE, CORRUPTED = WorkflowState
CATEGORIES = (TRANSFER, TIMER, REPLICATION, VISIBILITY, ARCHIVAL, OUTBOUND)
MAPS = {
    "activity_infos": int,
    "timer_infos": str,
    "child_execution_infos": int,
    "request_cancel_infos": int,
    "signal_infos": int,
    "chasm_nodes": str,
}
TABLES = (
    *("executions", "execution_maps", "current_executions", "history_tasks"),
    *("history_node", "history_tree", "visibility_records"),
)
_task_ids = count(1000)


def blob(size=24):
    """Return a payload that stands nowhere else."""
    return DataBlob(secrets.token_bytes(size), secrets.choice(list(Encoding)))


def state(of, status=None, **changes):
    """Return a run's state; a status that goes with it, unless one is given."""
    if status is None:
        status = WorkflowStatus.COMPLETED if of is COMPLETED else WorkflowStatus.RUNNING
    given = {"blob": blob(), "create_request_id": str(uuid4()), "start_time": secrets.randbelow(2**62)} | changes
    return ExecutionState(of, status, **given)


def tasks(*categories):
    """Return a task in each of these categories, under ids that no other has."""
    return {category: [task(category)] for category in categories}


def task(category, *, fire_time=None, task_id=None):
    """Return a task that a category may have."""
    scheduled = category.type is CategoryType.SCHEDULED
    fires = (1_700_000_000_000_000_000 if fire_time is None else fire_time) if scheduled else 0
    return HistoryTask(TaskKey(fires, next(_task_ids) if task_id is None else task_id), blob())


def full_maps():
    """Return two entries for each map of a snapshot."""
    numbered = {name: {number: blob() for number in (5, 2**63 - 1)} for name, key in MAPS.items() if key is int}
    return numbered | {
        "timer_infos": {"timer a": blob(), "тимер": blob()},
        "chasm_nodes": {"root": ChasmNode(blob(), blob()), "root/child": ChasmNode(blob(), blob())},
        "signal_requested_ids": {"signal a", "signal b"},
    }


@dataclass
class Workflow:
    """A workflow in a shard, and the host that owns it: requests with right defaults, sent to the store."""

    cell: Strongroom
    namespace_id: UUID
    shard_id: int
    workflow_id: str = "order 1"
    range_id: int = 1

    def snapshot(self, run_id=None, of=CREATED, **changes) -> WorkflowSnapshot:
        """Return a snapshot with nothing in its maps."""
        given: dict[str, Any] = {
            "namespace_id": self.namespace_id,
            "workflow_id": self.workflow_id,
            "run_id": run_id or uuid4(),
            "execution_info": blob(),
            "execution_state": state(of),
            "next_event_id": 3,
            "last_write_version": 10,
            "db_record_version": 1,
        }
        return WorkflowSnapshot(**(given | changes))

    def full(self, run_id=None, of=CREATED, **changes) -> WorkflowSnapshot:
        """Return a snapshot with entries in all maps and tasks in all categories."""
        return self.snapshot(run_id, of, **({"tasks": tasks(*CATEGORIES)} | full_maps() | changes))

    def mutation(self, run_id, of=RUNNING, **changes) -> WorkflowMutation:
        """Return a mutation of a run that was just created."""
        given: dict[str, Any] = {
            "namespace_id": self.namespace_id,
            "workflow_id": self.workflow_id,
            "run_id": run_id,
            "execution_info": blob(),
            "execution_state": state(of),
            "next_event_id": 7,
            "last_write_version": 10,
            "db_record_version": 2,
        }
        return WorkflowMutation(**(given | changes))

    def events(self, run_id, node_id=1, txn_id=1, prev_txn_id=0) -> list[HistoryAppend]:
        """Return a batch of events to append; the first makes the branch."""
        nodes = [HistoryNode(node_id, txn_id, prev_txn_id, blob())]
        return [HistoryAppend(self.branch(run_id), nodes, is_new_branch=node_id == 1)]

    def branch(self, run_id) -> HistoryBranch:
        """Return the one branch of a run."""
        return HistoryBranch(self.shard_id, run_id, run_id)

    def record(self, version=1, **changes) -> VisibilityRow:
        """Return a visibility record: the store does not look into it."""
        row = VisibilityRow(
            self.shard_id, secrets.token_bytes(16), version, 1, 2**60, 7, (1, 5), secrets.token_bytes(40)
        )
        return row._replace(**changes)

    async def create(self, snapshot=None, mode=CreateMode.BRAND_NEW, **changes) -> WorkflowSnapshot:
        """Create a run; return its snapshot."""
        snapshot = snapshot or self.snapshot()
        given = {"shard_id": self.shard_id, "range_id": self.range_id} | changes
        request = CreateWorkflowExecutionRequest(mode=mode, new_workflow_snapshot=snapshot, **given)
        await self.cell.executions.create_workflow_execution(request)
        return snapshot

    async def create_zombie(self, snapshot=None, **changes) -> WorkflowSnapshot:
        """Create a run that is not current."""
        return await self.create(snapshot or self.snapshot(of=ZOMBIE), CreateMode.BYPASS_CURRENT, **changes)

    async def update(self, mutation, mode=UpdateMode.UPDATE_CURRENT, new=None, **changes) -> None:
        """Update a run."""
        given = {"shard_id": self.shard_id, "range_id": self.range_id, "new_workflow_snapshot": new} | changes
        request = UpdateWorkflowExecutionRequest(mode=mode, update_workflow_mutation=mutation, **given)
        await self.cell.executions.update_workflow_execution(request)

    async def resolve(
        self, reset, mode=ConflictResolveMode.UPDATE_CURRENT, *, new=None, current=None, **changes
    ) -> None:
        """Reset a run."""
        given = {"shard_id": self.shard_id, "range_id": self.range_id} | changes
        request = ConflictResolveWorkflowExecutionRequest(
            mode=mode,
            reset_workflow_snapshot=reset,
            new_workflow_snapshot=new,
            current_workflow_mutation=current,
            **given,
        )
        await self.cell.executions.conflict_resolve_workflow_execution(request)

    async def set(self, snapshot, **changes) -> None:
        """Replace a run's mutable state."""
        given = {"shard_id": self.shard_id, "range_id": self.range_id} | changes
        request = SetWorkflowExecutionRequest(set_workflow_snapshot=snapshot, **given)
        await self.cell.executions.set_workflow_execution(request)

    async def get(self, run_id) -> WorkflowMutableState:
        """Read a run."""
        return comparable(
            await self.cell.executions.get_workflow_execution(
                self.namespace_id, self.workflow_id, run_id, shard_id=self.shard_id
            )
        )

    async def current(self, archetype_id=0):
        """Read the current run."""
        return await self.cell.executions.get_current_execution(
            self.namespace_id, self.workflow_id, shard_id=self.shard_id, archetype_id=archetype_id
        )

    async def history(self, run_id) -> tuple[HistoryNode, ...]:
        """Read a run's events."""
        return (await self.cell.history.read_history_branch(self.namespace_id, self.branch(run_id))).nodes

    async def stored_tasks(self, category) -> list[HistoryTask]:
        """Read all tasks of a category in the shard."""
        page = await self.cell.history_tasks.get_history_tasks(
            category,
            shard_id=self.shard_id,
            min_key=TaskKey(0, 0),
            max_key=TaskKey(0 if category.type is CategoryType.IMMEDIATE else 2**63 - 1, 2**63 - 1),
            batch_size=1000,
        )
        assert not page.unreadable
        return list(page.tasks)

    async def footprint(self) -> dict[str, list[str]]:
        """Return every row of the namespace as it lies in the tables."""
        found = {}
        async with self.cell.database.connection(EVERY_NAMESPACE) as connection:
            for table in TABLES:
                query = f"SELECT whole::text AS text FROM {table} whole WHERE namespace_id = $1"  # noqa: S608 - our own tables
                rows = await connection.fetch(query, self.namespace_id)
                found[table] = sorted(row["text"] for row in rows)
        return found

    async def refused(self, error, call):
        """Await a call that must raise exactly this error, and leave every row as it was; return the error."""
        before = await self.footprint()
        with exactly(error) as raised:
            await call
        assert await self.footprint() == before
        return raised.value

    def like(self, **changes) -> Workflow:
        """Return another workflow, or another host's view of this one."""
        return replace(self, **changes)


@contextmanager
def exactly(error):
    """Expect an error of this very class, whose message holds nothing of a payload, and which surely left nothing."""
    with pytest.raises(error) as raised:
        yield raised
    assert type(raised.value) is error
    assert raised.value.may_have_been_committed is False


def comparable(stored: WorkflowMutableState) -> WorkflowMutableState:
    """Return a mutable state with plain containers."""
    plain = {name: dict(getattr(stored, name)) for name in MAPS}
    return replace(stored, **plain, buffered_events=tuple(stored.buffered_events))


def accumulated(*writes: WorkflowSnapshot | WorkflowMutation) -> WorkflowMutableState:
    """Return what must be stored after these writes of one run: the model of mutable state."""
    maps: dict[str, dict[Any, Any]] = {name: {} for name in MAPS}
    requested: set[str] = set()
    buffered: list[DataBlob] = []
    for write in writes:
        if isinstance(write, WorkflowSnapshot):
            maps = {name: dict(getattr(write, name)) for name in MAPS}
            requested, buffered = set(write.signal_requested_ids), []
            continue
        for name, entries in maps.items():
            entries.update(getattr(write, "upsert_" + name))
            for key in getattr(write, "delete_" + name):
                entries.pop(key, None)
        requested = (requested | set(write.upsert_signal_requested_ids)) - set(write.delete_signal_requested_ids)
        buffered = [] if write.clear_buffered_events else buffered
        buffered += [write.new_buffered_events] if write.new_buffered_events is not None else []
    last = writes[-1]
    return WorkflowMutableState(
        execution_info=last.execution_info,
        execution_state=last.execution_state.blob,
        next_event_id=last.next_event_id,
        last_write_version=last.last_write_version,
        db_record_version=last.db_record_version,
        **maps,
        signal_requested_ids=frozenset(requested),
        buffered_events=tuple(buffered),
    )


@pytest.fixture
def workflow(cell, namespace_id, shard_id):
    """A workflow of the test's own, in a shard that this host owns."""
    return Workflow(cell, namespace_id, shard_id)
