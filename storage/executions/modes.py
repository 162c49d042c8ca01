"""States and statuses of a run, and the modes of the requests that write it."""

from __future__ import annotations

from enum import IntEnum


class WorkflowState(IntEnum):
    """Temporal's WorkflowExecutionState. Only `set_workflow_execution` writes `UNSPECIFIED` and `VOID`."""

    UNSPECIFIED = 0
    CREATED = 1
    RUNNING = 2
    COMPLETED = 3
    ZOMBIE = 4
    VOID = 5
    CORRUPTED = 6


class WorkflowStatus(IntEnum):
    """Temporal's WorkflowExecutionStatus. Only `set_workflow_execution` writes `UNSPECIFIED`."""

    UNSPECIFIED = 0
    RUNNING = 1
    COMPLETED = 2
    FAILED = 3
    CANCELED = 4
    TERMINATED = 5
    CONTINUED_AS_NEW = 6
    TIMED_OUT = 7
    PAUSED = 8


class CreateMode(IntEnum):
    """What a create expects of the workflow's current run."""

    BRAND_NEW = 0
    """The workflow has no current run, or it is `previous_run_id`. The new run becomes the current run."""
    UPDATE_CURRENT = 1
    """The current run is `previous_run_id`, completed, at `previous_last_write_version`. The new run becomes the current run."""
    BYPASS_CURRENT = 2
    """The new run is not the current run. The current run does not change."""


class UpdateMode(IntEnum):
    """What an update expects of the workflow's current run."""

    UPDATE_CURRENT = 0
    """The current run is the updated run. If the request has a new run, it becomes the current run."""
    BYPASS_CURRENT = 1
    """The current run is not the updated run."""
    IGNORE_CURRENT = 2
    """Nothing is expected."""


class ConflictResolveMode(IntEnum):
    """What a conflict resolution expects of the workflow's current run."""

    UPDATE_CURRENT = 0
    """The current run is the run of the current mutation, or the reset run if the request has no such mutation."""
    BYPASS_CURRENT = 1
    """The current run is not the reset run."""
