"""Read the histories that Temporal's command line prints: `temporal workflow show --output json`.

The document is a `temporal.api.history.v1.History` in protobuf's JSON form: names in camelCase, enumerations in capitals, event ids as
texts, payloads in base64.
"""

from __future__ import annotations

import base64
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import orjson

from strongroom.kms import StrongroomError

from .errors import Fault
from .history_event import read_event

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from temporalio.api.common.v1 import Payload
    from temporalio.api.history.v1 import HistoryEvent as EventMessage

    from .history_event import HistoryEvent

CLOSING = {
    "WorkflowExecutionCompleted": "COMPLETED",
    "WorkflowExecutionFailed": "FAILED",
    "WorkflowExecutionTimedOut": "TIMED_OUT",
    "WorkflowExecutionCanceled": "CANCELED",
    "WorkflowExecutionTerminated": "TERMINATED",
    "WorkflowExecutionContinuedAsNew": "CONTINUED_AS_NEW",
}
"""The events that close a run, with its status."""
_SHOW = "export each run with its history: temporal workflow show --workflow-id ID --run-id ID --output json"
_UNKNOWN = re.compile(r'no field named "(\w{1,64})"')
_JSON_PLAIN = b"json/plain"


class TemporalPackageMissing(StrongroomError):  # noqa: N818 - says what is wrong
    """Temporal's JSON form needs a package that is not installed. Run: pip install 'strongroom[temporal]'."""


@dataclass(frozen=True, slots=True)
class Given:
    """The ids from the command line.

    Attributes:
        workflow_id: The workflow id of a history that names none; None for the one in the history.
        run_id: The run id; None for the one in the history.
    """

    workflow_id: str | None = None
    run_id: str | None = None


def is_history(item: Any) -> bool:
    """Return whether a document is a history that Temporal's command line printed."""
    return isinstance(item, dict) and isinstance(item.get("events"), list) and "workflow_id" not in item


def refuse_without_history(item: Any) -> None:
    """Refuse the other documents of Temporal's command line, which have no history.

    Raises:
        Fault: The document is of `temporal workflow list` or of `temporal workflow describe`.
    """
    first = item[0] if isinstance(item, list) and item else item
    if isinstance(first, dict) and {"execution", "type"} <= first.keys():
        raise Fault(f"this is the output of `temporal workflow list`, which has no histories; {_SHOW}")
    if isinstance(first, dict) and "workflowExecutionInfo" in first:
        raise Fault(f"this is the output of `temporal workflow describe`, which has no history; {_SHOW}")


def read_history(item: Mapping[str, Any], given: Given) -> tuple[dict[str, Any], tuple[HistoryEvent, ...]]:
    """Return a run in the keys of our own format, without `events`, and its events.

    Args:
        item: The document.
        given: The ids from the command line. A history after a reset has the run id of the run that was reset.

    Raises:
        Fault: The history is not whole, it names another workflow id than the given one, or the document has a field that the
            installed `temporalio` does not know.
        TemporalPackageMissing: `temporalio` is not installed.
    """
    messages = _parsed(item)
    events = tuple(_event(number, each) for number, each in enumerate(messages, start=1))
    for number, event in enumerate(events, start=1):
        if event.event_id != number:
            raise Fault(f"event {number} has event id {event.event_id}: export the whole history, from the first event")
    if not events or events[0].type != "WorkflowExecutionStarted":
        raise Fault("the history does not begin with WorkflowExecutionStarted; export the whole history")
    started = messages[0].workflow_execution_started_event_attributes
    workflow_id = _workflow_id(started.workflow_id, given.workflow_id)
    begin = events[0].time
    executed = begin + started.first_workflow_task_backoff.ToNanoseconds()
    end = events[-1].time if events[-1].type in CLOSING else None
    attributes, memo = _attributes(messages)
    parent, root = started.parent_workflow_execution, started.root_workflow_execution
    closed = {
        "execution_duration_ns": max(0, (end or 0) - executed),
        "history_length": len(events),
        "history_size_bytes": sum(len(event.data) for event in events),
    }
    return {
        "workflow_id": workflow_id,
        "run_id": given.run_id or started.original_execution_run_id,
        "workflow_type": started.workflow_type.name,
        "task_queue": started.task_queue.name,
        "status": CLOSING.get(events[-1].type, "RUNNING"),
        "start_time_ns": begin,
        "execution_time_ns": executed,
        "close_time_ns": end,
        **(closed if end is not None else {}),
        "parent_workflow_id": parent.workflow_id or None,
        "parent_run_id": parent.run_id or None,
        "root_workflow_id": root.workflow_id or None,
        "root_run_id": root.run_id or None,
        "search_attributes": attributes,
        "memo": memo,
    }, events


def _workflow_id(named: str, given: str | None) -> str:
    """Return the workflow id of a history. One from the command line does not replace one in the history."""
    if given and named and given != named:
        raise Fault(
            "the history names another workflow id than --workflow-id, which is for histories that name none; leave it out, or "
            "check that this is the history that you mean"
        )
    if not (named or given):
        raise Fault("the history does not name its workflow id, as those of old servers; give --workflow-id")
    return named or str(given)


def _parsed(item: Mapping[str, Any]) -> list[EventMessage]:
    try:
        from google.protobuf.json_format import ParseDict, ParseError  # noqa: PLC0415 - an extra
        from temporalio.api.history.v1 import History  # noqa: PLC0415
    except ModuleNotFoundError:
        raise TemporalPackageMissing from None
    try:
        return list(ParseDict(dict(item), History()).events)
    except (ParseError, TypeError, ValueError, RecursionError) as error:
        unknown = _UNKNOWN.search(str(error))
    if unknown:
        raise Fault(
            f"the history has the field {unknown[1]}, which the installed package temporalio does not know; upgrade it"
        )
    raise Fault(
        "the document is not a history in Temporal's JSON form, as `temporal workflow show --output json` prints it"
    )


def _event(number: int, message: EventMessage) -> HistoryEvent:
    try:
        return read_event(message.SerializeToString(deterministic=True))
    except ValueError:
        pass
    raise Fault(
        f"event {number} has no eventId, eventTime or eventType that Temporal could have written; export the history again"
    )


def _attributes(messages: Iterable[EventMessage]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the last search attributes of a run with their types, and its last memo."""
    attributes: dict[str, Any] = {}
    memo: dict[str, Any] = {}
    for message in messages:
        changed: dict[str, Payload] = {}
        match message.WhichOneof("attributes"):
            case "workflow_execution_started_event_attributes":
                started = message.workflow_execution_started_event_attributes
                changed = dict(started.search_attributes.indexed_fields)
                _merge(memo, {name: _value(each) for name, each in started.memo.fields.items()})
            case "upsert_workflow_search_attributes_event_attributes":
                upsert = message.upsert_workflow_search_attributes_event_attributes
                changed = dict(upsert.search_attributes.indexed_fields)
            case "workflow_properties_modified_event_attributes":
                fields = message.workflow_properties_modified_event_attributes.upserted_memo.fields
                _merge(memo, {name: _value(each) for name, each in fields.items()})
        _merge(attributes, {name: _attribute(each) for name, each in changed.items()})
    return attributes, memo


def _merge(values: dict[str, Any], changed: Mapping[str, Any]) -> None:
    """Change values. Null removes one."""
    values |= changed
    for name in [name for name, value in values.items() if value is None]:
        del values[name]


def _attribute(payload: Payload) -> dict[str, Any] | None:
    value = _value(payload)
    if value is None:
        return None
    kind = payload.metadata.get("type", b"").decode(errors="replace")
    if not kind or payload.metadata.get("encoding") != _JSON_PLAIN:
        raise Fault(
            "a search attribute has no type, or is not in JSON; export the run with a server of version 1.20 or newer"
        )
    return {"type": kind, "value": value}


def _value(payload: Payload) -> Any:
    """Return the JSON value of a payload; for another encoding the encoding and the data in base64."""
    encoding = payload.metadata.get("encoding", b"")
    if encoding == b"binary/null":
        return None
    if encoding == _JSON_PLAIN:
        try:
            return orjson.loads(payload.data)
        except orjson.JSONDecodeError:
            pass
        raise Fault("a payload of the memo or of the search attributes is not JSON, although its encoding says so")
    return {"encoding": encoding.decode(errors="replace"), "data": base64.b64encode(payload.data).decode()}
