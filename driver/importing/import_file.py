"""Read and check a file of exported executions. Nothing is written before the whole file is checked."""

from __future__ import annotations

import base64
import binascii
import re
from dataclasses import dataclass
from difflib import get_close_matches
from typing import TYPE_CHECKING, Any
from uuid import UUID

import orjson

from strongroom.visibility import (
    AttributeType,
    AttributeValue,
    InvalidRecord,
    VisibilityRecord,
    check_record,
    parse_datetime,
    registrable,
)
from strongroom.visibility.fields import PREDEFINED_FIELDS

from .documents import documents, parse
from .errors import Fault, ImportFileError
from .history_event import read_event
from .temporal_history import Given, is_history, read_history, refuse_without_history

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from .history_event import HistoryEvent

KEYS = (
    *("workflow_id", "run_id", "workflow_type", "status", "task_queue", "start_time", "execution_time", "close_time"),
    *("execution_duration_ns", "history_length", "history_size_bytes", "state_transition_count"),
    *("parent_workflow_id", "parent_run_id", "root_workflow_id", "root_run_id", "search_attributes", "memo", "events"),
)
"""The keys of an object; docs/how-to/import.md describes them."""
_KEY = re.compile(r"[a-z][a-z_]{0,40}", re.IGNORECASE)
_STATUS = {
    "RUNNING": "Running",
    "COMPLETED": "Completed",
    "FAILED": "Failed",
    "CANCELED": "Canceled",
    "TERMINATED": "Terminated",
    "CONTINUED_AS_NEW": "ContinuedAsNew",
    "TIMED_OUT": "TimedOut",
    "PAUSED": "Paused",
}


@dataclass(frozen=True, slots=True)
class Execution:
    """An exported execution.

    Attributes:
        record: The visibility record.
        events: The history, with event ids from 1 without gaps.
        attribute_types: The types of its custom search attributes.
    """

    record: VisibilityRecord
    events: tuple[HistoryEvent, ...]
    attribute_types: dict[str, AttributeType]


def read_import_file(
    path: Path, *, given: Given | None = None, progress: Callable[[int], None] = lambda _: None
) -> list[Execution]:
    """Return the executions of a file.

    Args:
        path: The file; `-` for standard input.
        given: Ids for the one history of a file from `temporal workflow show`.
        progress: Is called with the number of lines read so far.

    Raises:
        ImportFileError: The file is missing, truncated or of another format, or ids are given for a file with their own.
    """
    given = given or Given()
    executions: list[Execution] = []
    types: dict[str, AttributeType] = {}
    runs: set[str] = set()
    for number, text in documents(path):
        execution, fault = _read_document(text, given)
        if execution is None:
            raise ImportFileError(f"{path}: line {number}: {fault}")
        if execution.record.run_id in runs:
            raise ImportFileError(f"{path}: line {number}: this run is in the file twice; remove one of the two")
        runs.add(execution.record.run_id)
        for name, attribute_type in execution.attribute_types.items():
            if types.setdefault(name, attribute_type) is not attribute_type:
                raise ImportFileError(
                    f"{path}: line {number}: a search attribute has another type than on an earlier line; use one type for it"
                )
        executions.append(execution)
        progress(number)
    if not executions:
        raise ImportFileError(f"{path}: the file is empty; export executions as JSON Lines")
    if len(executions) > 1 and given != Given():
        raise ImportFileError(
            f"{path}: --workflow-id and --run-id are for a file with one history, and this one has more"
        )
    return executions


def _read_document(text: bytes, given: Given) -> tuple[Execution | None, str]:
    """Return an execution, or the fault of the document. An exception would have the document in its context."""
    try:
        item = parse(text)
        if is_history(item):
            run, events = read_history(item, given)
            return _execution(_with_times(run), events), ""
        _check_own_format(item, given)
        return _execution(item, _events(_get(item, "events", list))), ""
    except Fault as fault:
        return None, str(fault)


def _check_own_format(item: Any, given: Given) -> None:
    if given != Given():
        raise Fault("--workflow-id and --run-id are for histories of `temporal workflow show`; leave them out")
    refuse_without_history(item)
    if not isinstance(item, dict):
        raise Fault("the line is not a JSON object")
    _refuse_unknown(item, KEYS, "key")


def _refuse_unknown(item: dict[str, Any], known: Sequence[str], what: str) -> None:
    """Refuse a key that the format does not have. It is shown only if it looks like a key, because it may be a tenant's value."""
    for name in item:
        if name not in known:
            shown = name if _KEY.fullmatch(name) else f"a {what}"
            meant = get_close_matches(name, known, n=1)
            hint = f"; did you mean {meant[0]}?" if meant else f"; the format has {', '.join(known)}"
            raise Fault(f"{shown} is not a {what} of the format{hint}")


def _with_times(run: dict[str, Any]) -> dict[str, Any]:
    """Return a run of Temporal's history with its times in the form of our own format."""
    times = ("start_time", "execution_time", "close_time")
    return {**run, **{name: run[f"{name}_ns"] for name in times}}


def _execution(item: dict[str, Any], events: tuple[HistoryEvent, ...]) -> Execution:
    values, types = _search_attributes(_get(item, "search_attributes", dict))
    closed = item.get("close_time") is not None
    record = VisibilityRecord(
        workflow_id=_get(item, "workflow_id", str),
        run_id=_uuid(item, "run_id"),
        workflow_type=_get(item, "workflow_type", str),
        execution_status=_status(item, closed=closed),
        task_queue=_get(item, "task_queue", str),
        start_time=_time(item, "start_time"),
        execution_time=_time(item, "execution_time"),
        close_time=_time(item, "close_time") if closed else None,
        # A server sets these when the run closes. Before that an export holds null or 0.
        execution_duration=_get(item, "execution_duration_ns", int) if closed else None,
        history_length=_get(item, "history_length", int) if closed else None,
        history_size_bytes=_get(item, "history_size_bytes", int) if closed else None,
        # Temporal's histories don't have it.
        state_transition_count=_get(item, "state_transition_count", int)
        if closed and "start_time_ns" not in item
        else None,
        parent_workflow_id=_optional(item, "parent_workflow_id"),
        parent_run_id=_optional(item, "parent_run_id"),
        root_workflow_id=_optional(item, "root_workflow_id"),
        root_run_id=_optional(item, "root_run_id"),
        search_attributes=values,
        memo=_memo(item.get("memo")),
    )
    try:
        check_record(record, types)
    except InvalidRecord as error:
        raise Fault(str(error)) from None
    return Execution(record, events, types)


def _get(item: dict[str, Any], name: str, wanted: type) -> Any:
    value = item.get(name)
    if not isinstance(value, wanted) or (isinstance(value, bool) and wanted is not bool):
        raise Fault(f"{name} is missing, or is not a {wanted.__name__}")
    if isinstance(value, str) and "\x00" in value:
        raise Fault(f"{name} holds a NUL character")
    return value


def _memo(value: Any) -> bytes:
    try:
        return orjson.dumps(value) if value else b""
    except TypeError:
        pass
    # Raised outside the handler, because the error's context would hold the memo.
    raise Fault("memo is nested too deeply, or holds a whole number beyond 64 bits")


def _optional(item: dict[str, Any], name: str) -> str | None:
    return None if item.get(name) is None else str(_get(item, name, str))


def _uuid(item: dict[str, Any], name: str) -> str:
    try:
        return str(UUID(_get(item, name, str)))
    except ValueError:
        raise Fault(f"{name} is not a UUID") from None


def _time(item: dict[str, Any], name: str) -> int:
    if f"{name}_ns" in item:
        return int(item[f"{name}_ns"])
    moment = parse_datetime(_get(item, name, str))
    if moment is None:
        raise Fault(f"{name} is not a time of RFC 3339, such as 2026-11-23T18:00:00Z")
    return moment


def _status(item: dict[str, Any], *, closed: bool) -> str:
    status = _STATUS.get(_get(item, "status", str))
    if status is None:
        raise Fault(f"status is not one of {', '.join(_STATUS)}")
    if closed == (status in {"Running", "Paused"}):
        raise Fault("status and close_time contradict each other: only a closed run has a close_time")
    return status


def _search_attributes(found: dict[str, Any]) -> tuple[dict[str, AttributeValue], dict[str, AttributeType]]:
    values: dict[str, AttributeValue] = {}
    types: dict[str, AttributeType] = {}
    for name, entry in found.items():
        if isinstance(entry, dict):
            _refuse_unknown(entry, ("type", "value"), "key of a search attribute")
        try:
            attribute_type, value = AttributeType(entry["type"]), entry["value"]
        except (KeyError, TypeError, ValueError):
            raise Fault(
                "a search attribute does not have the form {type, value} with one of Temporal's types"
            ) from None
        _check_predefined(name, attribute_type)
        if attribute_type is AttributeType.DATETIME and isinstance(value, str):
            value = parse_datetime(value)
        if isinstance(value, list):
            value = tuple(value)
        if value is None:
            raise Fault(f"the value of a search attribute is not a {attribute_type.value}")
        values[name] = value
        if registrable(name):
            types[name] = attribute_type
    return values, types


def _check_predefined(name: str, declared: AttributeType) -> None:
    """Refuse another type for an attribute of Temporal's own, whose name is no tenant's value."""
    field = PREDEFINED_FIELDS.get(name)
    if field is None or declared is field.type:
        return
    is_older = declared is AttributeType.KEYWORD and field.type is AttributeType.KEYWORD_LIST  # once one type for both
    if not is_older:
        raise Fault(f"the search attribute {name} is Temporal's own and of type {field.type.value}; declare this type")


def _events(encoded: list[Any]) -> tuple[HistoryEvent, ...]:
    events = []
    for number, text in enumerate(encoded, start=1):
        try:
            event = read_event(base64.b64decode(text, validate=True))
        except (ValueError, TypeError, binascii.Error):
            raise Fault(f"event {number} is not a HistoryEvent in base64") from None
        if event.event_id != number:
            raise Fault(f"event {number} has event id {event.event_id}: ids must run from 1 without gaps")
        events.append(event)
    if not events:
        raise Fault("events is empty")
    return tuple(events)
