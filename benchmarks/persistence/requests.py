"""The requests of the store benchmarks, with blobs of the sizes of the reference."""

from __future__ import annotations

import itertools
import os
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol
from uuid import uuid4

from strongroom.storage import (
    TIMER,
    TRANSFER,
    CreateMode,
    CreateWorkflowExecutionRequest,
    DataBlob,
    ExecutionState,
    HistoryBranch,
    HistoryNode,
    HistoryTask,
    TaskKey,
    UpdateMode,
    UpdateWorkflowExecutionRequest,
    WorkflowMutation,
    WorkflowSnapshot,
    WorkflowState,
    WorkflowStatus,
)
from strongroom.storage.histories.rows import HistoryAppend

if TYPE_CHECKING:
    from uuid import UUID

_noise = os.urandom(1 << 20)
_offsets = itertools.cycle(range(0, 1 << 19, 4099))


class Source(Protocol):
    """A namespace, and the source of task ids.

    Attributes:
        namespace_id: The namespace.
        task_ids: The ids of the next tasks.
    """

    namespace_id: UUID
    task_ids: itertools.count[int]


def blob(size: int) -> DataBlob:
    """Return random bytes. They do not compress, as in the reference."""
    start = next(_offsets)
    return DataBlob(_noise[start : start + size])


@dataclass
class Run:
    """A run, with the values that its owner needs for the next write."""

    shard_id: int
    workflow_id: str
    run_id: UUID
    branch: HistoryBranch
    version: int = 1
    next_node: int = 10


def new_run(workflow_id: str, shard_id: int) -> Run:
    """Return a run that is not stored yet."""
    run_id = uuid4()
    return Run(shard_id, workflow_id, run_id, HistoryBranch(shard_id, run_id, uuid4()))


def state(status: WorkflowStatus = WorkflowStatus.RUNNING) -> ExecutionState:
    """Return the state of a running run."""
    return ExecutionState(WorkflowState.RUNNING, status, blob(200), str(uuid4()), time.time_ns())


def history_tasks(fixtures: Source) -> dict[object, list[HistoryTask]]:
    """Return one transfer and one timer task."""
    return {
        TRANSFER: [HistoryTask(TaskKey(0, next(fixtures.task_ids)), blob(120))],
        TIMER: [HistoryTask(TaskKey(time.time_ns(), next(fixtures.task_ids)), blob(120))],
    }


def _row(fixtures: Source, run: Run) -> dict[str, Any]:
    """Return the fields that a snapshot and a mutation have in common."""
    return {
        "namespace_id": fixtures.namespace_id,
        "workflow_id": run.workflow_id,
        "run_id": run.run_id,
        "execution_info": blob(1024),
        "execution_state": state(),
        "next_event_id": run.next_node,
        "db_record_version": run.version,
        "tasks": history_tasks(fixtures),
    }


def creation(fixtures: Source, run: Run, *, is_fixture: bool) -> CreateWorkflowExecutionRequest:
    """Return a create request like the reference's. A fixture has activities and a timer; a new run has none yet."""
    snapshot = WorkflowSnapshot(
        **_row(fixtures, run),
        activity_infos={number: blob(300) for number in (5, 6, 7)} if is_fixture else {},
        timer_infos={"timer": blob(100)} if is_fixture else {},
    )
    return CreateWorkflowExecutionRequest(
        shard_id=run.shard_id,
        range_id=1,
        mode=CreateMode.BRAND_NEW,
        new_workflow_snapshot=snapshot,
        new_workflow_new_events=[HistoryAppend(run.branch, [HistoryNode(1, 1, 0, blob(1024))], is_new_branch=True)],
    )


def change(fixtures: Source, run: Run, *, earlier: int = 0) -> UpdateWorkflowExecutionRequest:
    """Return an update of a run: info, state, a new activity, two tasks, one batch of events.

    Args:
        fixtures: The namespace, and the source of task ids.
        run: The run, which is brought to its next version.
        earlier: The number of transactions of its branch that were no update of the run.
    """
    run.version += 1
    run.next_node += 1
    mutation = WorkflowMutation(**_row(fixtures, run), upsert_activity_infos={run.next_node: blob(300)})
    txn = run.version + earlier
    return UpdateWorkflowExecutionRequest(
        shard_id=run.shard_id,
        range_id=1,
        mode=UpdateMode.UPDATE_CURRENT,
        update_workflow_mutation=mutation,
        update_workflow_new_events=[
            HistoryAppend(run.branch, [HistoryNode(run.next_node - 1, txn, txn - 1, blob(1024))])
        ],
    )
