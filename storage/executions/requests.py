"""What is written of a run, and how: Temporal's mutable-state requests.

A mutation changes a run's mutable state, a snapshot replaces it. Field names are those of Temporal's `InternalWorkflowMutation` and
`InternalWorkflowSnapshot`. Values are the service's own blobs; the store reads what it must compare, and nothing else.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import IntEnum
from typing import TYPE_CHECKING, NamedTuple, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence
    from uuid import UUID

    from strongroom.storage.data_blob import DataBlob
    from strongroom.storage.histories.rows import HistoryAppend
    from strongroom.storage.visibility_rows.records import VisibilityRow

    from .tasks import HistoryTask, TaskCategory

    Tasks: TypeAlias = Mapping[TaskCategory, Sequence[HistoryTask]]


class WorkflowState(IntEnum):
    """Temporal's WorkflowExecutionState."""

    CREATED = 1
    RUNNING = 2
    COMPLETED = 3
    ZOMBIE = 4
    CORRUPTED = 6


class WorkflowStatus(IntEnum):
    """Temporal's WorkflowExecutionStatus."""

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
    """There is none, or it is `previous_run_id`. The new run becomes the current one."""
    UPDATE_CURRENT = 1
    """It is `previous_run_id`, completed, at `previous_last_write_version`. The new run becomes the current one."""
    BYPASS_CURRENT = 2
    """It is another run, or there is none. It stays as it is."""


class UpdateMode(IntEnum):
    """What an update expects of the workflow's current run."""

    UPDATE_CURRENT = 0
    """It is the run that is updated; the new run, if there is one, becomes the current one."""
    BYPASS_CURRENT = 1
    """It is another run, or there is none."""
    IGNORE_CURRENT = 2
    """Nothing."""


class ConflictResolveMode(IntEnum):
    """What a conflict resolution expects of the workflow's current run."""

    UPDATE_CURRENT = 0
    """It is the run of the current mutation, or of the reset snapshot where there is none."""
    BYPASS_CURRENT = 1
    """It is not the run that is reset."""


class ChasmNode(NamedTuple):
    """A node of a CHASM tree."""

    metadata: DataBlob
    data: DataBlob


@dataclass(frozen=True, slots=True)
class ExecutionState:
    """What the store reads of a run's WorkflowExecutionState, and the whole of it.

    Attributes:
        state: compared when another run takes this one's place.
        status: of the run.
        blob: the whole, as the service encodes it.
        create_request_id: of the request that started the run.
        start_time: nanoseconds since 1970.
    """

    state: WorkflowState
    status: WorkflowStatus
    blob: DataBlob
    create_request_id: str = ""
    start_time: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkflowMutation:
    """A change of a run's mutable state; what it does not name stays.

    Attributes:
        db_record_version: of the state after the change; the stored one must be one less. 0: `condition` is compared instead.
        condition: `next_event_id` as it must be stored, where `db_record_version` is 0.
    """

    namespace_id: UUID
    workflow_id: str
    run_id: UUID
    execution_info: DataBlob
    execution_state: ExecutionState
    next_event_id: int
    last_write_version: int = 0
    db_record_version: int
    condition: int = 0
    upsert_activity_infos: Mapping[int, DataBlob] = field(default_factory=dict)
    delete_activity_infos: Collection[int] = ()
    upsert_timer_infos: Mapping[str, DataBlob] = field(default_factory=dict)
    delete_timer_infos: Collection[str] = ()
    upsert_child_execution_infos: Mapping[int, DataBlob] = field(default_factory=dict)
    delete_child_execution_infos: Collection[int] = ()
    upsert_request_cancel_infos: Mapping[int, DataBlob] = field(default_factory=dict)
    delete_request_cancel_infos: Collection[int] = ()
    upsert_signal_infos: Mapping[int, DataBlob] = field(default_factory=dict)
    delete_signal_infos: Collection[int] = ()
    upsert_signal_requested_ids: Collection[str] = ()
    delete_signal_requested_ids: Collection[str] = ()
    upsert_chasm_nodes: Mapping[str, ChasmNode] = field(default_factory=dict)
    delete_chasm_nodes: Collection[str] = ()
    new_buffered_events: DataBlob | None = None
    clear_buffered_events: bool = False
    tasks: Tasks = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkflowSnapshot:
    """The whole of a run's mutable state. It has no buffered events: they are cleared. Versions as in `WorkflowMutation`."""

    namespace_id: UUID
    workflow_id: str
    run_id: UUID
    execution_info: DataBlob
    execution_state: ExecutionState
    next_event_id: int
    last_write_version: int = 0
    db_record_version: int
    condition: int = 0
    activity_infos: Mapping[int, DataBlob] = field(default_factory=dict)
    timer_infos: Mapping[str, DataBlob] = field(default_factory=dict)
    child_execution_infos: Mapping[int, DataBlob] = field(default_factory=dict)
    request_cancel_infos: Mapping[int, DataBlob] = field(default_factory=dict)
    signal_infos: Mapping[int, DataBlob] = field(default_factory=dict)
    signal_requested_ids: Collection[str] = ()
    chasm_nodes: Mapping[str, ChasmNode] = field(default_factory=dict)
    tasks: Tasks = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkflowMutableState:
    """A run's mutable state as it is read: all of it from one snapshot of the database.

    Attributes:
        execution_state: the blob of its `ExecutionState`.
        buffered_events: in the order in which they were written.
    """

    execution_info: DataBlob
    execution_state: DataBlob
    next_event_id: int
    last_write_version: int
    db_record_version: int
    activity_infos: Mapping[int, DataBlob]
    timer_infos: Mapping[str, DataBlob]
    child_execution_infos: Mapping[int, DataBlob]
    request_cancel_infos: Mapping[int, DataBlob]
    signal_infos: Mapping[int, DataBlob]
    signal_requested_ids: frozenset[str]
    chasm_nodes: Mapping[str, ChasmNode]
    buffered_events: Sequence[DataBlob]


@dataclass(frozen=True, slots=True)
class CurrentExecution:
    """A workflow's current run.

    Attributes:
        execution_state: of the run; its blob is the one that was written last.
        last_write_version: of the run.
    """

    run_id: UUID
    execution_state: ExecutionState
    last_write_version: int


@dataclass(frozen=True, slots=True, kw_only=True)
class CreateWorkflowExecutionRequest:
    """Make a run.

    Attributes:
        range_id: of the shard, as its owner knows it; also in the other requests.
        archetype_id: 0 for workflows; other archetypes of CHASM have current runs of their own.
        new_workflow_new_events: appended in the same transaction; also in the other requests.
        visibility: written in the same transaction, each unless a version as new is stored; also in the other requests.
    """

    shard_id: int
    range_id: int
    mode: CreateMode
    new_workflow_snapshot: WorkflowSnapshot
    previous_run_id: UUID | None = None
    previous_last_write_version: int = 0
    archetype_id: int = 0
    new_workflow_new_events: Sequence[HistoryAppend] = ()
    visibility: Sequence[VisibilityRow] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class UpdateWorkflowExecutionRequest:
    """Change a run, and start the one that continues it."""

    shard_id: int
    range_id: int
    mode: UpdateMode
    update_workflow_mutation: WorkflowMutation
    update_workflow_new_events: Sequence[HistoryAppend] = ()
    new_workflow_snapshot: WorkflowSnapshot | None = None
    new_workflow_new_events: Sequence[HistoryAppend] = ()
    archetype_id: int = 0
    visibility: Sequence[VisibilityRow] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class ConflictResolveWorkflowExecutionRequest:
    """Reset a run to a snapshot, with the current run changed and a new one made as needed."""

    shard_id: int
    range_id: int
    mode: ConflictResolveMode
    reset_workflow_snapshot: WorkflowSnapshot
    reset_workflow_events_new_events: Sequence[HistoryAppend] = ()
    new_workflow_snapshot: WorkflowSnapshot | None = None
    new_workflow_events_new_events: Sequence[HistoryAppend] = ()
    current_workflow_mutation: WorkflowMutation | None = None
    current_workflow_events_new_events: Sequence[HistoryAppend] = ()
    archetype_id: int = 0
    visibility: Sequence[VisibilityRow] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class SetWorkflowExecutionRequest:
    """Replace a run's mutable state; neither its history nor the current run is touched."""

    shard_id: int
    range_id: int
    set_workflow_snapshot: WorkflowSnapshot
