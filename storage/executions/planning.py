"""From a request to a plan: the request is checked, and its mode becomes a rule for the workflow's current run.

Each `plan_` function is the first half of one of the four writes of `ExecutionStore`. It uses only the request.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import chain
from typing import TYPE_CHECKING, NamedTuple, TypeAlias

from strongroom.storage.checks import check_collection, check_type, check_uuid

from . import checks
from .binding import CurrentRule, RunRule
from .modes import ConflictResolveMode, CreateMode, UpdateMode
from .requests import (
    ConflictResolveWorkflowExecutionRequest,
    CreateWorkflowExecutionRequest,
    SetWorkflowExecutionRequest,
    UpdateWorkflowExecutionRequest,
)

if TYPE_CHECKING:
    from collections.abc import Sequence
    from uuid import UUID

    from strongroom.storage.histories.rows import HistoryAppend
    from strongroom.storage.visibility_rows.records import VisibilityRow

    from .requests import ExecutionState, WorkflowMutation, WorkflowSnapshot

    PlannedRun: TypeAlias = tuple[RunRule, WorkflowMutation | WorkflowSnapshot, Sequence[HistoryAppend]]
    """What happens to a run, its new state, and its new history."""


class CurrentRun(NamedTuple):
    """A workflow's current run, as it is after a write."""

    run_id: UUID
    state: ExecutionState
    last_write_version: int


@dataclass(frozen=True, slots=True)
class CurrentPlan:
    """The current run that a request expects, and the one that replaces it.

    Attributes:
        rule: The condition.
        expected: The run that the condition is about; None for no run.
        archetype_id: 0 for a workflow.
        expected_version: The last write version that `CurrentRule.EXPECTED_AND_COMPLETED` expects.
        becomes: The new current run; None if it does not change.
    """

    rule: CurrentRule
    expected: UUID | None
    archetype_id: int
    expected_version: int = 0
    becomes: CurrentRun | None = None

    @property
    def keeps_run(self) -> bool:
        """Whether the expected run stays the current one. It may get another state."""
        return self.rule is CurrentRule.EXPECTED and self.becomes is not None and self.becomes.run_id == self.expected


@dataclass(frozen=True, slots=True)
class WritePlan:
    """A request that was checked.

    Attributes:
        shard_id: The workflow's shard.
        range_id: The range id that the caller holds.
        current: The plan for the current run; None if the write neither checks nor changes it.
        runs: The runs of one workflow, with what happens to each.
        appends: The new history of all runs.
        visibility: Visibility records.
        size: The approximate bytes of the request in a statement.
    """

    shard_id: int
    range_id: int
    current: CurrentPlan | None
    runs: Sequence[PlannedRun]
    appends: Sequence[HistoryAppend]
    visibility: Sequence[VisibilityRow]
    size: int


def plan_create(request: CreateWorkflowExecutionRequest) -> WritePlan:
    """Check a request that creates a run, and plan it.

    Raises:
        InvalidPersistenceRequest: A field is not valid.
        TransactionSizeLimit: A blob is too large.
    """
    check_type("request", request, CreateWorkflowExecutionRequest)
    new, archetype_id = request.new_workflow_snapshot, request.archetype_id
    size = checks.check_create(request.mode, new)
    previous = request.previous_run_id
    if previous is not None:
        check_uuid("previous_run_id", previous)
    if request.mode is CreateMode.BYPASS_CURRENT:
        current = CurrentPlan(CurrentRule.NOT_EXPECTED, new.run_id, archetype_id)
    elif request.mode is CreateMode.UPDATE_CURRENT:
        version = request.previous_last_write_version
        current = CurrentPlan(CurrentRule.EXPECTED_AND_COMPLETED, previous, archetype_id, version, _current(new))
    else:
        current = CurrentPlan(CurrentRule.ABSENT_OR_EXPECTED, previous, archetype_id, becomes=_current(new))
    events = request.new_workflow_new_events
    runs = [(RunRule.INSERT, new, events)]
    return _plan(request.shard_id, request.range_id, current, runs, events, request.visibility, size)


def plan_update(request: UpdateWorkflowExecutionRequest) -> WritePlan:
    """Check a request that changes a run, and plan it; raises as `plan_create` does."""
    check_type("request", request, UpdateWorkflowExecutionRequest)
    updated, new, archetype_id = request.update_workflow_mutation, request.new_workflow_snapshot, request.archetype_id
    size = checks.check_update(request.mode, updated, new)
    current = None
    if request.mode is UpdateMode.UPDATE_CURRENT:
        becomes = _current(new or updated)
        current = CurrentPlan(CurrentRule.EXPECTED, updated.run_id, archetype_id, becomes=becomes)
    elif request.mode is UpdateMode.BYPASS_CURRENT:
        current = CurrentPlan(CurrentRule.NOT_EXPECTED, updated.run_id, archetype_id)
    runs: list[PlannedRun] = [(RunRule.UPDATE, updated, request.update_workflow_new_events)]
    if new is not None:
        runs.append((RunRule.INSERT, new, request.new_workflow_new_events))
    events = _joined(request.update_workflow_new_events, request.new_workflow_new_events)
    return _plan(request.shard_id, request.range_id, current, runs, events, request.visibility, size)


def plan_conflict_resolve(request: ConflictResolveWorkflowExecutionRequest) -> WritePlan:
    """Check a request that resets a run, and plan it; raises as `plan_create` does."""
    check_type("request", request, ConflictResolveWorkflowExecutionRequest)
    reset, new = request.reset_workflow_snapshot, request.new_workflow_snapshot
    changed = request.current_workflow_mutation
    size = checks.check_conflict_resolve(request.mode, reset, new, changed)
    if request.mode is ConflictResolveMode.UPDATE_CURRENT:
        expected = (changed or reset).run_id
        becomes = _current(new or reset)
        current = CurrentPlan(CurrentRule.EXPECTED, expected, request.archetype_id, becomes=becomes)
    else:
        current = CurrentPlan(CurrentRule.NOT_EXPECTED, reset.run_id, request.archetype_id)
    runs: list[PlannedRun] = [(RunRule.REPLACE, reset, request.reset_workflow_events_new_events)]
    if changed is not None:
        runs.append((RunRule.UPDATE, changed, request.current_workflow_events_new_events))
    if new is not None:
        runs.append((RunRule.INSERT, new, request.new_workflow_events_new_events))
    events = _joined(
        request.current_workflow_events_new_events,
        request.reset_workflow_events_new_events,
        request.new_workflow_events_new_events,
    )
    return _plan(request.shard_id, request.range_id, current, runs, events, request.visibility, size)


def plan_set(request: SetWorkflowExecutionRequest) -> WritePlan:
    """Check a request that replaces a run, and plan it; raises as `plan_create` does."""
    check_type("request", request, SetWorkflowExecutionRequest)
    snapshot = request.set_workflow_snapshot
    size = checks.check_set(snapshot)
    return _plan(request.shard_id, request.range_id, None, [(RunRule.REPLACE, snapshot, ())], (), (), size)


def _current(run: WorkflowMutation | WorkflowSnapshot) -> CurrentRun:
    return CurrentRun(run.run_id, run.execution_state, run.last_write_version)


def _joined(*several: Sequence[HistoryAppend]) -> list[HistoryAppend]:
    for appends in several:
        check_collection("new events", appends)
    return list(chain.from_iterable(several))


def _plan(
    shard_id: int,
    range_id: int,
    current: CurrentPlan | None,
    runs: Sequence[PlannedRun],
    appends: Sequence[HistoryAppend],
    visibility: Sequence[VisibilityRow],
    size: int,
) -> WritePlan:
    checks.check_fence(shard_id, range_id, 0 if current is None else current.archetype_id)
    size += checks.check_appends(shard_id, appends) + checks.check_visibility(shard_id, visibility)
    return WritePlan(shard_id, range_id, current, runs, appends, visibility, size)
