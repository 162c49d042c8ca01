"""Checks of the execution store's requests: fields, and which states a mode allows (Temporal's validators)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from strongroom.storage.checks import (
    check_blob,
    check_collection,
    check_id,
    check_mapping,
    check_number,
    check_shard_id,
    check_type,
    check_uuid,
)
from strongroom.storage.errors import InvalidPersistenceRequest
from strongroom.storage.histories.rows import HistoryAppend, check_append
from strongroom.storage.visibility_rows.records import HASHED_COLUMNS, VisibilityRow

from .maps import BY_EVENT_ID, deletes_by_event_id, event_id_maps, upserts_by_event_id
from .modes import ConflictResolveMode, CreateMode, UpdateMode, WorkflowState, WorkflowStatus
from .requests import ChasmNode, ExecutionState, WorkflowMutation, WorkflowSnapshot
from .tasks import check_tasks

if TYPE_CHECKING:
    from collections.abc import Sequence

_OPEN = (WorkflowState.CREATED, WorkflowState.RUNNING)
_OPEN_STATUS = (WorkflowStatus.RUNNING, WorkflowStatus.PAUSED)
_WRITABLE = (*_OPEN, WorkflowState.COMPLETED, WorkflowState.ZOMBIE, WorkflowState.CORRUPTED)
_ROW_BYTES = 300
_CHASM_PATH = "chasm path"
"""The root node of a CHASM tree has the path ""."""
_RECORD_ID_BYTES = 16


def check_fence(shard_id: int, range_id: int, archetype_id: int = 0) -> None:
    """Refuse a shard id, range id or archetype id that is not valid."""
    check_shard_id(shard_id)
    check_number("range_id", range_id)
    check_number("archetype_id", archetype_id)


def check_create(mode: CreateMode, new: WorkflowSnapshot) -> int:
    """Refuse states in which Temporal does not create a run. Return the approximate bytes of the run in a statement."""
    check_type("mode", mode, CreateMode)
    size = _check_run("new_workflow_snapshot", new, WorkflowSnapshot)
    state = new.execution_state.state
    _check_new_status(new.execution_state)
    if mode is CreateMode.BYPASS_CURRENT:
        _refuse_if(state in _OPEN, "a run that is not current is created")
    else:
        _refuse_if(state is WorkflowState.ZOMBIE, "a current run is created")
    return size


def check_update(mode: UpdateMode, updated: WorkflowMutation, new: WorkflowSnapshot | None) -> int:
    """Refuse states that Temporal does not allow in an update, and a new run that does not continue it. Return the size."""
    check_type("mode", mode, UpdateMode)
    size = _check_run("update_workflow_mutation", updated, WorkflowMutation)
    state = updated.execution_state.state
    _check_status(updated.execution_state)
    if new is not None:
        size += _check_run("new_workflow_snapshot", new, WorkflowSnapshot)
        _check_continuation(updated, new)
        _check_new_status(new.execution_state)
    if mode is UpdateMode.IGNORE_CURRENT:
        _refuse_if(new is not None, "a run is continued by a new one without a look at the current run")
    elif mode is UpdateMode.BYPASS_CURRENT:
        _refuse_if(
            state in _OPEN or (new is not None and new.execution_state.state in _OPEN), "other runs than the current"
        )
    elif new is None:
        _refuse_if(state is WorkflowState.ZOMBIE, "the current run is updated")
    else:
        _refuse_if(state in _OPEN or new.execution_state.state is WorkflowState.ZOMBIE, "the current run is continued")
    return size


def check_conflict_resolve(
    mode: ConflictResolveMode,
    reset: WorkflowSnapshot,
    new: WorkflowSnapshot | None,
    current: WorkflowMutation | None,
) -> int:
    """Refuse states that Temporal does not allow in a reset. Return the size."""
    check_type("mode", mode, ConflictResolveMode)
    size = _check_run("reset_workflow_snapshot", reset, WorkflowSnapshot)
    state = reset.execution_state.state
    _check_status(reset.execution_state)
    if current is not None:
        size += _check_run("current_workflow_mutation", current, WorkflowMutation)
        _check_continuation(reset, current)
        _check_status(current.execution_state)
    if new is not None:
        size += _check_run("new_workflow_snapshot", new, WorkflowSnapshot)
        _check_continuation(reset, new)
        _check_new_status(new.execution_state)
        if current is not None:
            _check_continuation(current, new)
        _refuse_if(state in (*_OPEN, WorkflowState.ZOMBIE), "a run is reset and continued")
    if mode is ConflictResolveMode.BYPASS_CURRENT:
        _refuse_if(current is not None, "a run that is not current is reset")
        _refuse_if(new is None and state in _OPEN, "a run that is not current is reset")
        closed = (*_OPEN, WorkflowState.COMPLETED)
        _refuse_if(new is not None and new.execution_state.state in closed, "a run that is not current is continued")
    else:
        _refuse_if(state is WorkflowState.ZOMBIE, "the current run is reset")
        _refuse_if(
            new is not None and new.execution_state.state is WorkflowState.ZOMBIE, "the current run is continued"
        )
        _refuse_if(
            current is not None and current.execution_state.state in _OPEN, "another run takes the current one's place"
        )
    return size


def check_set(snapshot: WorkflowSnapshot) -> int:
    """Refuse a snapshot that is not valid. Temporal sets every state and status. Return the size."""
    return _check_run("set_workflow_snapshot", snapshot, WorkflowSnapshot)


def _check_run(field: str, run: WorkflowMutation | WorkflowSnapshot, wanted: type) -> int:
    """Refuse a mutation or snapshot with a field that is not valid. Return its approximate bytes in a statement."""
    check_type(field, run, wanted)
    check_uuid("namespace_id", run.namespace_id)
    check_uuid("run_id", run.run_id)
    check_number("next_event_id", run.next_event_id)
    check_number("last_write_version", run.last_write_version, least=-(2**63))
    check_number("db_record_version", run.db_record_version)
    check_number("condition", run.condition)
    size = check_blob("execution_info", run.execution_info) + _check_state(run.execution_state) + check_tasks(run.tasks)
    maps = upserts_by_event_id(run) if isinstance(run, WorkflowMutation) else event_id_maps(run)
    for name, infos in zip(BY_EVENT_ID.values(), maps, strict=True):
        check_mapping(name, infos)
        for event_id, blob in infos.items():
            check_number("the key of an entry", event_id)
            size += check_blob(name, blob) + _ROW_BYTES
    if isinstance(run, WorkflowMutation):
        timers, signals, nodes = run.upsert_timer_infos, run.upsert_signal_requested_ids, run.upsert_chasm_nodes
        size += _check_deletions(run)
        if run.new_buffered_events is not None:
            size += check_blob("new_buffered_events", run.new_buffered_events)
    else:
        timers, signals, nodes = run.timer_infos, run.signal_requested_ids, run.chasm_nodes
    check_mapping("timer_infos", timers)
    check_collection("signal_requested_ids", signals)
    check_mapping("chasm_nodes", nodes)
    for name, blob in timers.items():
        size += len(check_id("timer id", name)) + check_blob("timer_infos", blob) + _ROW_BYTES
    for name in signals:
        size += len(check_id("signal requested id", name)) + _ROW_BYTES
    for path, node in nodes.items():
        check_id(_CHASM_PATH, path, least=0)
        check_type("a CHASM node", node, ChasmNode)
        size += check_blob("chasm_nodes", node.metadata) + check_blob("chasm_nodes", node.data) + _ROW_BYTES
    return size


def check_appends(shard_id: int, appends: Sequence[HistoryAppend]) -> int:
    """Refuse history that is not valid or belongs to another shard. Return its size."""
    size = 0
    check_collection("new events", appends)
    for append in appends:
        check_type("new events", append, HistoryAppend)
        size += check_append(append)
        if append.branch.shard_id != shard_id:
            msg = "new events belong to another shard than the run"
            raise InvalidPersistenceRequest(msg)
    if len(appends) > 1:
        written = [(append.branch.branch_id, *node[:2]) for append in appends for node in append.nodes]
        if len(set(written)) < len(written):
            msg = "new events name a node and transaction twice"
            raise InvalidPersistenceRequest(msg)
    return size


def check_visibility(shard_id: int, rows: Sequence[VisibilityRow]) -> int:
    """Refuse visibility records of another shard, and two of one run. Return their size."""
    check_collection("visibility", rows)
    for row in rows:
        check_type("a visibility record", row, VisibilityRow)
        if row.shard_id != shard_id:
            msg = "a visibility record belongs to another shard than the run"
            raise InvalidPersistenceRequest(msg)
        if len(row.id) != _RECORD_ID_BYTES or len(row.hashes) != len(HASHED_COLUMNS):
            msg = "a visibility record has an id of 16 bytes and a value for each hashed column"
            raise InvalidPersistenceRequest(msg)
    if len({row.id for row in rows}) < len(rows):
        msg = "a request holds two visibility records of one run"
        raise InvalidPersistenceRequest(msg)
    return sum(len(row.sealed) + 20 * (len(row.tokens) + len(row.hashes)) for row in rows)


def _check_deletions(run: WorkflowMutation) -> int:
    size = 0
    for deleted in deletes_by_event_id(run):
        check_collection("deleted entries", deleted)
        for event_id in deleted:
            check_number("the key of an entry", event_id)
            size += _ROW_BYTES
    for field, names in (
        ("timer id", run.delete_timer_infos),
        ("signal requested id", run.delete_signal_requested_ids),
        (_CHASM_PATH, run.delete_chasm_nodes),
    ):
        check_collection(f"deleted entries of {field}", names)
        for name in names:
            check_id(field, name, least=0 if field == _CHASM_PATH else 1)
            size += _ROW_BYTES
    return size


def _check_state(state: ExecutionState) -> int:
    check_type("execution_state", state, ExecutionState)
    check_type("state", state.state, WorkflowState)
    check_type("status", state.status, WorkflowStatus)
    if state.start_time is not None:
        check_number("start_time", state.start_time)
    if state.create_request_id != "":
        check_id("create_request_id", state.create_request_id)
    return check_blob("execution_state", state.blob)


def _check_new_status(state: ExecutionState) -> None:
    """Refuse a pair of state and status that Temporal does not allow in a new run."""
    closed = state.state is WorkflowState.COMPLETED
    allowed = state.status not in _OPEN_STATUS if closed else state.status is WorkflowStatus.RUNNING
    _refuse_if(not allowed or not _is_writable(state), "a run is created")


def _check_status(state: ExecutionState) -> None:
    """Refuse a pair of state and status that Temporal does not allow in an update."""
    _refuse_if(not _is_writable(state), "a run is updated")
    if state.state is WorkflowState.CREATED:
        _refuse_if(state.status is not WorkflowStatus.RUNNING, "a run is updated")
    elif state.state in (WorkflowState.RUNNING, WorkflowState.ZOMBIE):
        _refuse_if(state.status not in _OPEN_STATUS, "a run is updated")
    else:
        _refuse_if(state.status in _OPEN_STATUS, "a run is updated")


def _is_writable(state: ExecutionState) -> bool:
    """Return whether Temporal creates and updates runs with this state and status at all."""
    return state.state in _WRITABLE and state.status is not WorkflowStatus.UNSPECIFIED


def _check_continuation(run: WorkflowMutation | WorkflowSnapshot, other: WorkflowMutation | WorkflowSnapshot) -> None:
    if (other.namespace_id, other.workflow_id) != (run.namespace_id, run.workflow_id):
        msg = "all runs of a request belong to one workflow in one namespace"
        raise InvalidPersistenceRequest(msg)
    if other.run_id == run.run_id:
        msg = "a request names one run twice"
        raise InvalidPersistenceRequest(msg)


def _refuse_if(wrong: bool, what: str) -> None:  # noqa: FBT001 - the condition
    if wrong:
        msg = f"{what}: the state and status do not match each other or the mode"
        raise InvalidPersistenceRequest(msg)
