"""The visibility record of a run, which a list returns, and the record kind that it is sealed as."""

from __future__ import annotations

from collections.abc import Mapping
from operator import itemgetter
from types import MappingProxyType
from typing import TYPE_CHECKING, NamedTuple, TypeAlias

from strongroom.visibility.errors import InvalidRecord

if TYPE_CHECKING:
    from collections.abc import Callable

Scalar: TypeAlias = str | int | float | bool
AttributeValue: TypeAlias = Scalar | tuple[str, ...]


class VisibilityRecord(NamedTuple):
    """The visibility record of a run, with Temporal's field names.

    Times are nanoseconds since 1970, UTC. A field is None if the run has no value for it.

    Attributes:
        workflow_id: The workflow id.
        run_id: The run id.
        workflow_type: The workflow type.
        execution_status: The status by Temporal's short name, such as Running or Completed.
        task_queue: The task queue.
        start_time: The start time.
        execution_time: The time at which the first task was due.
        close_time: The close time; None for an open run.
        execution_duration: The duration in nanoseconds; None for an open run.
        history_length: The number of events; None for an open run.
        history_size_bytes: The size of the history in bytes; None for an open run.
        state_transition_count: The number of state transitions; None for an open run.
        parent_workflow_id: The workflow id of the parent; None without a parent.
        parent_run_id: The run id of the parent; None without a parent.
        root_workflow_id: The workflow id of the root; the run's own id if it is the root.
        root_run_id: The run id of the root; the run's own id if it is the root.
        search_attributes: Custom and predefined attributes. A KeywordList is a tuple, a Datetime an integer of nanoseconds.
        memo: The memo as the service encodes it. It is sealed and can't be searched.
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
        values = {name: value for name, value in zip(_NAMES, system_values(self), strict=True) if value is not None}
        values.update(self.search_attributes)
        if () in values.values():
            return {name: value for name, value in values.items() if value != ()}
        return values


_TEXTS: frozenset[type] = frozenset({str})
_OPTIONAL_TEXTS: frozenset[type] = frozenset({str, type(None)})
_NUMBERS: frozenset[type] = frozenset({int})
_OPTIONAL_NUMBERS: frozenset[type] = frozenset({int, type(None)})
_TYPES: tuple[frozenset[type] | None, ...] = (
    *[_TEXTS] * 5,
    *[_NUMBERS] * 2,
    *[_OPTIONAL_NUMBERS] * 5,
    *[_OPTIONAL_TEXTS] * 4,
    None,
    frozenset({bytes}),
)
"""The types of the fields of a record in their order; None for the search attributes, which have a check of their own."""


def check_field_types(record: VisibilityRecord) -> None:
    """Refuse a record whose fields do not have the declared types. No subclass is taken, because a boolean is no number.

    Raises:
        InvalidRecord: A field has another type. The error names the field.
    """
    for types, value, name in zip(_TYPES, record, record._fields, strict=True):
        if types is not None and type(value) not in types:
            wanted = " or ".join(sorted("None" if kind is type(None) else str(kind.__name__) for kind in types))
            raise InvalidRecord(f"{name} must be of type {wanted}")


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
"""System attributes in the order of the record's fields, which is also the order in a packed record."""


def system_values(record: VisibilityRecord) -> tuple[AttributeValue | None, ...]:
    """Return the system attributes in the order of `_NAMES`; None for one without a value."""
    return record[: len(_NAMES)]  # type: ignore[return-value]  # the fields before search_attributes and memo


def value_reader(name: str) -> Callable[[VisibilityRecord], AttributeValue | None]:
    """Return a function that returns the value of an attribute of a record, or None if the record has no value for it."""
    if name in _NAMES:
        return itemgetter(_NAMES.index(name))

    def read(record: VisibilityRecord) -> AttributeValue | None:
        value = record.search_attributes.get(name)
        return None if value == () else value

    return read
