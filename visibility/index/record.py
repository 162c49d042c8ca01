"""The visibility record of a run: what a list returns, and what its sealed row is bound to."""

from __future__ import annotations

from operator import itemgetter
from types import MappingProxyType
from typing import TYPE_CHECKING, NamedTuple, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

Scalar: TypeAlias = str | int | float | bool
AttributeValue: TypeAlias = Scalar | tuple[str, ...]


class VisibilityRecord(NamedTuple):
    """What is known of one run, in Temporal's terms. Times are nanoseconds since the epoch, UTC; None where there is no value.

    Attributes:
        workflow_id: chosen by the tenant.
        run_id: of this run.
        workflow_type: chosen by the tenant.
        execution_status: one of Temporal's short names: Running, Completed, ...
        task_queue: chosen by the tenant.
        start_time: when the run started.
        execution_time: when its first task was due.
        close_time: None while open.
        execution_duration: nanoseconds; None while open.
        history_length: events; None while open.
        history_size_bytes: None while open.
        state_transition_count: None while open.
        parent_workflow_id: None for a run without parent; so is parent_run_id.
        parent_run_id: see there.
        root_workflow_id: the run's own id where it is the root; so is root_run_id.
        root_run_id: see there.
        search_attributes: custom and predefined ones; a KeywordList is a tuple, a Datetime an integer of nanoseconds.
        memo: encoded as the service encodes it; sealed, never searched.
    """

    workflow_id: str
    run_id: str
    workflow_type: str
    execution_status: str
    task_queue: str
    start_time: int
    execution_time: int
    close_time: int | None = None
    execution_duration: int | None = None
    history_length: int | None = None
    history_size_bytes: int | None = None
    state_transition_count: int | None = None
    parent_workflow_id: str | None = None
    parent_run_id: str | None = None
    root_workflow_id: str | None = None
    root_run_id: str | None = None
    search_attributes: Mapping[str, AttributeValue] = MappingProxyType({})
    memo: bytes = b""

    def attributes(self) -> dict[str, AttributeValue]:
        """Return all search attributes that have a value, by their canonical names."""
        found = {name: value for name, value in zip(_NAMES, system_values(self), strict=True) if value is not None}
        found.update(self.search_attributes)
        if () in found.values():
            return {name: value for name, value in found.items() if value != ()}
        return found


_NAMES = (
    "WorkflowId",
    "RunId",
    "WorkflowType",
    "ExecutionStatus",
    "TaskQueue",
    "StartTime",
    "ExecutionTime",
    "CloseTime",
    "ExecutionDuration",
    "HistoryLength",
    "HistorySizeBytes",
    "StateTransitionCount",
    "ParentWorkflowId",
    "ParentRunId",
    "RootWorkflowId",
    "RootRunId",
)
"""Attributes that are not custom, in the order of the record's slots, which is that of the packed form."""


def system_values(record: VisibilityRecord) -> tuple[AttributeValue | None, ...]:
    """Return the attributes that are not custom, in the order of the slots; None where there is no value."""
    return record[: len(_NAMES)]  # type: ignore[return-value]  # the slots before search_attributes and memo


def value_reader(name: str) -> Callable[[VisibilityRecord], AttributeValue | None]:
    """Return a function that gives a record's value of an attribute, by its canonical name; None where it has none."""
    if name in _NAMES:
        return itemgetter(_NAMES.index(name))

    def read(record: VisibilityRecord) -> AttributeValue | None:
        value = record.search_attributes.get(name)
        return None if value == () else value

    return read
