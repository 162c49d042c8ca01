"""Read and check a file of exported executions: JSON Lines, plain or gzip. Nothing is written before the whole file is checked."""

from __future__ import annotations

import base64
import binascii
import gzip
import zlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from uuid import UUID

import orjson

from strongroom.kms import StrongroomError
from strongroom.visibility import (
    AttributeType,
    AttributeValue,
    InvalidRecord,
    VisibilityRecord,
    check_record,
    parse_datetime,
    registrable,
)

from .history_event import read_event

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from .history_event import HistoryEvent

MAX_LINE_BYTES = 256 * 2**20
_GZIP = b"\x1f\x8b"
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


class ImportFileError(StrongroomError):
    """An import file can't be used. The message has the line and the fault, and no content of the file."""


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


def read_import_file(path: Path, *, progress: Callable[[int], None] = lambda _: None) -> list[Execution]:
    """Return the executions of a file.

    Args:
        path: The file.
        progress: Is called with the number of lines read so far.

    Raises:
        ImportFileError: The file is missing, truncated or of another format.
    """
    executions: list[Execution] = []
    types: dict[str, AttributeType] = {}
    runs: set[str] = set()
    for number, line in _lines(path):
        execution, fault = _read_line(line)
        if execution is None:
            raise ImportFileError(f"{path}: line {number}: {fault}")
        if execution.record.run_id in runs:
            raise ImportFileError(f"{path}: line {number}: this run is in the file twice; remove one of the two lines")
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
    return executions


class _Fault(Exception):  # noqa: N818 - turned into ImportFileError where the line is known
    pass


def _read_line(line: bytes) -> tuple[Execution | None, str]:
    """Return an execution, or the fault of the line. An exception would have the line in its context."""
    try:
        return _execution(orjson.loads(line)), ""
    except orjson.JSONDecodeError as error:
        return None, f"not JSON (column {error.colno})"
    except _Fault as fault:
        return None, str(fault)


def _lines(path: Path) -> Iterator[tuple[int, bytes]]:
    number = 0
    try:
        with path.open("rb") as start:
            compressed = start.read(len(_GZIP)) == _GZIP
        with gzip.open(path) if compressed else path.open("rb") as file:
            while line := file.readline(MAX_LINE_BYTES + 1):
                number += 1
                if len(line) > MAX_LINE_BYTES:
                    raise ImportFileError(f"{path}: line {number} is longer than {MAX_LINE_BYTES} bytes")
                if line.strip():
                    yield number, line
    except FileNotFoundError:
        raise ImportFileError(f"{path} does not exist; check the path") from None
    except (EOFError, zlib.error, gzip.BadGzipFile):
        raise ImportFileError(
            f"{path}: the gzip stream is truncated or damaged after line {number}; export it again"
        ) from None
    except OSError as error:
        raise ImportFileError(f"{path}: can't be read: {error.strerror}") from None


def _execution(item: Any) -> Execution:
    if not isinstance(item, dict):
        raise _Fault("the line is not a JSON object")
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
        state_transition_count=_get(item, "state_transition_count", int) if closed else None,
        parent_workflow_id=_optional(item, "parent_workflow_id"),
        parent_run_id=_optional(item, "parent_run_id"),
        root_workflow_id=_optional(item, "root_workflow_id"),
        root_run_id=_optional(item, "root_run_id"),
        search_attributes=values,
        memo=orjson.dumps(item["memo"]) if item.get("memo") else b"",
    )
    try:
        check_record(record, types)
    except InvalidRecord as error:
        raise _Fault(str(error)) from None
    return Execution(record, _events(_get(item, "events", list)), types)


def _get(item: dict[str, Any], name: str, wanted: type) -> Any:
    value = item.get(name)
    if not isinstance(value, wanted) or (isinstance(value, bool) and wanted is not bool):
        raise _Fault(f"{name} is missing, or is not a {wanted.__name__}")
    if isinstance(value, str) and "\x00" in value:
        raise _Fault(f"{name} holds a NUL character")
    return value


def _optional(item: dict[str, Any], name: str) -> str | None:
    return None if item.get(name) is None else str(_get(item, name, str))


def _uuid(item: dict[str, Any], name: str) -> str:
    try:
        return str(UUID(_get(item, name, str)))
    except ValueError:
        raise _Fault(f"{name} is not a UUID") from None


def _time(item: dict[str, Any], name: str) -> int:
    moment = parse_datetime(_get(item, name, str))
    if moment is None:
        raise _Fault(f"{name} is not a time of RFC 3339, such as 2026-11-23T18:00:00Z")
    return moment


def _status(item: dict[str, Any], *, closed: bool) -> str:
    status = _STATUS.get(_get(item, "status", str))
    if status is None:
        raise _Fault(f"status is not one of {', '.join(_STATUS)}")
    if closed == (status in {"Running", "Paused"}):
        raise _Fault("status and close_time contradict each other: only a closed run has a close_time")
    return status


def _search_attributes(found: dict[str, Any]) -> tuple[dict[str, AttributeValue], dict[str, AttributeType]]:
    values: dict[str, AttributeValue] = {}
    types: dict[str, AttributeType] = {}
    for name, entry in found.items():
        try:
            attribute_type, value = AttributeType(entry["type"]), entry["value"]
        except (KeyError, TypeError, ValueError):
            raise _Fault(
                "a search attribute does not have the form {type, value} with one of Temporal's types"
            ) from None
        if attribute_type is AttributeType.DATETIME and isinstance(value, str):
            value = parse_datetime(value)
        if isinstance(value, list):
            value = tuple(value)
        if value is None:
            raise _Fault(f"the value of a search attribute is not a {attribute_type.value}")
        values[name] = value
        if registrable(name):
            types[name] = attribute_type
    return values, types


def _events(encoded: list[Any]) -> tuple[HistoryEvent, ...]:
    events = []
    for number, text in enumerate(encoded, start=1):
        try:
            event = read_event(base64.b64decode(text, validate=True))
        except (ValueError, TypeError, binascii.Error):
            raise _Fault(f"event {number} is not a HistoryEvent in base64") from None
        if event.event_id != number:
            raise _Fault(f"event {number} has event id {event.event_id}: ids must run from 1 without gaps")
        events.append(event)
    if not events:
        raise _Fault("events is empty")
    return tuple(events)
