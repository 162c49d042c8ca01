"""Temporal's requests about mutable state.

A mutation changes a run's mutable state. A snapshot replaces it. The fields have the names of Temporal's `InternalWorkflowMutation`
and `InternalWorkflowSnapshot`. Values are the service's own blobs. The store reads only the fields that it compares.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, TypeAlias
from uuid import UUID

from strongroom.storage.data_blob import DataBlob
from strongroom.storage.histories.rows import HistoryAppend
from strongroom.storage.visibility_rows.records import VisibilityRow

from .modes import ConflictResolveMode, CreateMode, UpdateMode, WorkflowState, WorkflowStatus
from .tasks import HistoryTask, TaskCategory

Tasks: TypeAlias = Mapping[TaskCategory, Sequence[HistoryTask]]


class ChasmNode(NamedTuple):
    """A node of a CHASM tree.

    Attributes:
        metadata: The node's metadata.
        data: The node's data.
    """

    metadata: DataBlob
    data: DataBlob


@dataclass(frozen=True, slots=True)
class ExecutionState:
    """A run's WorkflowExecutionState, with the fields that the store reads.

    Attributes:
        state: The state. It is compared when another run becomes the current run.
        status: The status.
        blob: The whole message, as the service encodes it.
        create_request_id: The id of the request that started the run; empty if there is none.
        start_time: The start, in nanoseconds since 1970; None if it is not known.
    """

    state: WorkflowState
    status: WorkflowStatus
    blob: DataBlob
    create_request_id: str = ""
    start_time: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkflowMutation:
    """A change of a run's mutable state. Entries that it does not name do not change.

    Attributes:
        namespace_id: The namespace.
        workflow_id: The workflow's id, 1 to 65,535 bytes of UTF-8.
        run_id: The run.
        execution_info: The new WorkflowExecutionInfo.
        execution_state: The new WorkflowExecutionState.
        next_event_id: The new next event id.
        last_write_version: The version of the cluster that writes.
        db_record_version: The version after the change; the stored version must be one less. If it is 0, `condition` is
            compared instead.
        condition: The `next_event_id` that must be stored, if `db_record_version` is 0.
        new_buffered_events: A batch of events to buffer.
        clear_buffered_events: Whether the stored buffered batches are deleted.
        tasks: New history tasks by category.
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
    """A run's complete mutable state. It has no buffered events; those that are stored are deleted.

    The attributes that `WorkflowMutation` also has mean the same.
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
    """A run's mutable state, read from one snapshot of the database.

    Attributes:
        execution_state: The blob of its `ExecutionState`.
        buffered_events: The buffered batches, in the order in which they were written.
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
        run_id: The run.
        execution_state: The run's state, with the blob that was written last.
        last_write_version: The version of the cluster that wrote the run last.
    """

    run_id: UUID
    execution_state: ExecutionState
    last_write_version: int


@dataclass(frozen=True, slots=True, kw_only=True)
class CreateWorkflowExecutionRequest:
    """A request to create a run. The attributes that the other requests also have mean the same there.

    Attributes:
        shard_id: The workflow's shard, from 1.
        range_id: The range id of the shard that the caller holds.
        mode: What the request expects of the workflow's current run.
        new_workflow_snapshot: The new run.
        previous_run_id: The run that the mode expects; None for no run.
        previous_last_write_version: The last write version that `CreateMode.UPDATE_CURRENT` expects.
        archetype_id: 0 for a workflow. Each other archetype of CHASM has current runs of its own.
        new_workflow_new_events: History that is appended in the same transaction.
        visibility: Visibility records that are written in the same transaction. A record is skipped if the
            same or a newer version is stored.
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
    """A request to update a run, and to create the run that continues it.

    Attributes:
        update_workflow_mutation: The change of the run.
        update_workflow_new_events: History of the run.
        new_workflow_snapshot: The run that continues it; None for no new run.
        new_workflow_new_events: History of the new run.
    """

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
    """A request to reset a run to a snapshot.

    Attributes:
        reset_workflow_snapshot: The run that is reset.
        reset_workflow_events_new_events: History of the run that is reset.
        new_workflow_snapshot: A new run; None for no new run.
        new_workflow_events_new_events: History of the new run.
        current_workflow_mutation: The change of the current run, if that is another run; None for no change.
        current_workflow_events_new_events: History of the current run.
    """

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
    """A request to replace a run's mutable state. Its history and the workflow's current run do not change.

    Attributes:
        set_workflow_snapshot: The new state.
    """

    shard_id: int
    range_id: int
    set_workflow_snapshot: WorkflowSnapshot
