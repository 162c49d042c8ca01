"""Which states and statuses Temporal takes in which mode, as its operation_mode_validator.go and its neighbour have it."""

from __future__ import annotations

from strongroom.storage.executions.modes import (
    ConflictResolveMode,
    CreateMode,
    UpdateMode,
    WorkflowState,
    WorkflowStatus,
)
from tests.support.fixtures.executions import state

CREATED, RUNNING, COMPLETED, ZOMBIE, CORRUPTED = WorkflowState
OPEN = {CREATED, RUNNING}
OPEN_STATUSES = {WorkflowStatus.RUNNING, WorkflowStatus.PAUSED}
CLOSED_STATUSES = set(WorkflowStatus) - OPEN_STATUSES

CREATED_STATUSES = {
    **{of: {WorkflowStatus.RUNNING} for of in (CREATED, RUNNING, ZOMBIE, CORRUPTED)},
    COMPLETED: CLOSED_STATUSES,
}
"""Of a run that is created."""
UPDATED_STATUSES = {
    CREATED: {WorkflowStatus.RUNNING},
    RUNNING: OPEN_STATUSES,
    ZOMBIE: OPEN_STATUSES,
    COMPLETED: CLOSED_STATUSES,
    CORRUPTED: CLOSED_STATUSES,
}
"""Of a run that is updated or reset."""


def create_is_allowed(mode, new):
    """Whether a run of this state is created in this mode."""
    return new not in OPEN if mode is CreateMode.BYPASS_CURRENT else new is not ZOMBIE


def update_is_allowed(mode, updated, new):
    """Whether a run is updated to this state, and continued by one of that state; None for none."""
    if mode is UpdateMode.UPDATE_CURRENT:
        return updated is not ZOMBIE if new is None else updated not in OPEN and new is not ZOMBIE
    if mode is UpdateMode.BYPASS_CURRENT:
        return updated not in OPEN and new not in OPEN
    return new is None


def resolve_is_allowed(mode, reset, new, current):
    """Whether a run is reset to this state, with these states of the new and the current run; None for none."""
    closes = new is None or reset not in {*OPEN, ZOMBIE}
    if mode is ConflictResolveMode.UPDATE_CURRENT:
        return closes and ZOMBIE not in {reset, new} and current not in OPEN
    return closes and current is None and reset not in OPEN and new not in {*OPEN, COMPLETED}


def updated_state(of):
    """Return an execution state, with a status that a run may be updated to."""
    return state(of, WorkflowStatus.FAILED if of in {COMPLETED, CORRUPTED} else WorkflowStatus.RUNNING)
