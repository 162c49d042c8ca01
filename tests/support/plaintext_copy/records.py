"""Documents of the plaintext copy as records of the code under test, and back."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from strongroom.visibility import VisibilityRecord

from .attributes import BUILT_IN

if TYPE_CHECKING:
    from collections.abc import Mapping

_SLOTS = {
    "WorkflowId": "workflow_id",
    "RunId": "run_id",
    "WorkflowType": "workflow_type",
    "ExecutionStatus": "execution_status",
    "TaskQueue": "task_queue",
    "StartTime": "start_time",
    "ExecutionTime": "execution_time",
    "CloseTime": "close_time",
    "ExecutionDuration": "execution_duration",
    "HistoryLength": "history_length",
    "HistorySizeBytes": "history_size_bytes",
    "StateTransitionCount": "state_transition_count",
    "ParentWorkflowId": "parent_workflow_id",
    "ParentRunId": "parent_run_id",
    "RootWorkflowId": "root_workflow_id",
    "RootRunId": "root_run_id",
}
assert _SLOTS.keys() <= BUILT_IN.keys()


def record_of(document: Mapping[str, Any], *, memo: bytes = b"") -> VisibilityRecord:
    """Return the record of a document."""
    values = {slot: document[name] for name, slot in _SLOTS.items() if name in document}
    rest = {
        name: tuple(value) if isinstance(value, list) else value
        for name, value in document.items()
        if name not in _SLOTS
    }
    return VisibilityRecord(**values, search_attributes=rest, memo=memo)


def document_of(record: VisibilityRecord) -> dict[str, Any]:
    """Return the document of a record."""
    found = record.attributes()
    return {name: list(value) if isinstance(value, tuple) else value for name, value in found.items()}
