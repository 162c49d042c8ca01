"""The states and statuses that Temporal allows in each mode, from operation_mode_validator.go and the file next to it."""

from __future__ import annotations

from strongroom.storage.executions.modes import (
    ConflictResolveMode,
    CreateMode,
    UpdateMode,
    WorkflowStatus,
)
from tests.support.fixtures.executions import COMPLETED, CORRUPTED, CREATED, RUNNING, WRITABLE, ZOMBIE, state

OPEN = {CREATED, RUNNING}
OPEN_STATUSES = {WorkflowStatus.RUNNING, WorkflowStatus.PAUSED}
CLOSED_STATUSES = set(WorkflowStatus) - OPEN_STATUSES - {WorkflowStatus.UNSPECIFIED}

CREATED_STATUSES = {
    **{of: {WorkflowStatus.RUNNING} for of in (CREATED, RUNNING, ZOMBIE, CORRUPTED)},
    COMPLETED: CLOSED_STATUSES,
}
"""Statuses of a created run, by state."""
UPDATED_STATUSES = {
    CREATED: {WorkflowStatus.RUNNING},
    RUNNING: OPEN_STATUSES,
    ZOMBIE: OPEN_STATUSES,
    COMPLETED: CLOSED_STATUSES,
    CORRUPTED: CLOSED_STATUSES,
}
"""Statuses of an updated or reset run, by state."""


def create_is_allowed(mode, new):
    """Return whether a run of this state may be created in this mode."""
    if new not in WRITABLE:
        return False
    return new not in OPEN if mode is CreateMode.BYPASS_CURRENT else new is not ZOMBIE


def update_is_allowed(mode, updated, new):
    """Return whether a run may be updated to a state and continued by a new run of a state; None for no new run."""
    if not {updated, new} <= {None, *WRITABLE}:
        return False
    if mode is UpdateMode.UPDATE_CURRENT:
        return updated is not ZOMBIE if new is None else updated not in OPEN and new is not ZOMBIE
    if mode is UpdateMode.BYPASS_CURRENT:
        return updated not in OPEN and new not in OPEN
    return new is None


def resolve_is_allowed(mode, reset, new, current):
    """Return whether a run may be reset to a state, with these states of the new and the current run; None for no such run."""
    if not {reset, new, current} <= {None, *WRITABLE}:
        return False
    closes = new is None or reset not in {*OPEN, ZOMBIE}
    if mode is ConflictResolveMode.UPDATE_CURRENT:
        return closes and ZOMBIE not in {reset, new} and current not in OPEN
    return closes and current is None and reset not in OPEN and new not in {*OPEN, COMPLETED}


def updated_state(of):
    """Return an execution state with a status that an update allows."""
    return state(of, WorkflowStatus.FAILED if of in {COMPLETED, CORRUPTED} else WorkflowStatus.RUNNING)
