"""What an importer and a reader need of a `temporal.api.history.v1.HistoryEvent`, read from its protobuf encoding.

Field numbers and event types: temporalio/api, history/v1/message.proto, common/v1/message.proto and enums/v1/event_type.proto.
The bytes themselves are kept as they are; this only looks at them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5
_EVENT_ID, _EVENT_TIME, _EVENT_TYPE = 1, 2, 3
_MAX_DEPTH = 12

# In the order of their numbers, from 1.
EVENT_TYPES = tuple(
    """
    WorkflowExecutionStarted WorkflowExecutionCompleted WorkflowExecutionFailed WorkflowExecutionTimedOut
    WorkflowTaskScheduled WorkflowTaskStarted WorkflowTaskCompleted WorkflowTaskTimedOut WorkflowTaskFailed
    ActivityTaskScheduled ActivityTaskStarted ActivityTaskCompleted ActivityTaskFailed ActivityTaskTimedOut
    ActivityTaskCancelRequested ActivityTaskCanceled TimerStarted TimerFired TimerCanceled
    WorkflowExecutionCancelRequested WorkflowExecutionCanceled RequestCancelExternalWorkflowExecutionInitiated
    RequestCancelExternalWorkflowExecutionFailed ExternalWorkflowExecutionCancelRequested MarkerRecorded
    WorkflowExecutionSignaled WorkflowExecutionTerminated WorkflowExecutionContinuedAsNew
    StartChildWorkflowExecutionInitiated StartChildWorkflowExecutionFailed ChildWorkflowExecutionStarted
    ChildWorkflowExecutionCompleted ChildWorkflowExecutionFailed ChildWorkflowExecutionCanceled
    ChildWorkflowExecutionTimedOut ChildWorkflowExecutionTerminated SignalExternalWorkflowExecutionInitiated
    SignalExternalWorkflowExecutionFailed ExternalWorkflowExecutionSignaled UpsertWorkflowSearchAttributes
    WorkflowExecutionUpdateAccepted WorkflowExecutionUpdateRejected WorkflowExecutionUpdateCompleted
    WorkflowPropertiesModifiedExternally ActivityPropertiesModifiedExternally WorkflowPropertiesModified
    WorkflowExecutionUpdateAdmitted NexusOperationScheduled NexusOperationStarted NexusOperationCompleted
    NexusOperationFailed NexusOperationCanceled NexusOperationTimedOut NexusOperationCancelRequested
    """.split()
)
_TASK_COMPLETED = "WorkflowTaskCompleted"
# Events that a worker's commands make: written together with the completed task that sent them.
_FROM_COMMANDS = frozenset(
    """
    WorkflowExecutionCompleted WorkflowExecutionFailed WorkflowExecutionCanceled WorkflowExecutionContinuedAsNew
    ActivityTaskScheduled ActivityTaskCancelRequested TimerStarted TimerCanceled MarkerRecorded
    RequestCancelExternalWorkflowExecutionInitiated SignalExternalWorkflowExecutionInitiated
    StartChildWorkflowExecutionInitiated UpsertWorkflowSearchAttributes WorkflowPropertiesModified
    WorkflowExecutionUpdateAccepted WorkflowExecutionUpdateCompleted NexusOperationScheduled
    NexusOperationCancelRequested
    """.split()
)


@dataclass(frozen=True, slots=True)
class HistoryEvent:
    """An event: what its first fields say, and its bytes.

    Attributes:
        event_id: from 1, without gaps.
        time: nanoseconds since the epoch.
        type: Temporal's name of the event type.
        data: the whole message as it was encoded.
    """

    event_id: int
    time: int
    type: str
    data: bytes


def read_event(data: bytes) -> HistoryEvent:
    """Look at an encoded event.

    Raises:
        ValueError: not a protobuf message, or not one of a history event.
    """
    found = {number: value for number, value in fields(data) if number <= _EVENT_TYPE}
    event_id, moment, number = found.get(_EVENT_ID), found.get(_EVENT_TIME), found.get(_EVENT_TYPE)
    if not isinstance(event_id, int) or not isinstance(moment, bytes) or not isinstance(number, int):
        raise ValueError  # noqa: TRY004 - malformed input, not a programming error
    time = dict(fields(moment))
    seconds, nanoseconds = time.get(1, 0), time.get(2, 0)
    if not isinstance(seconds, int) or not isinstance(nanoseconds, int) or event_id < 1 or number < 1:
        raise ValueError
    name = EVENT_TYPES[number - 1] if number <= len(EVENT_TYPES) else f"EventType{number}"
    return HistoryEvent(event_id, seconds * 10**9 + nanoseconds, name, data)


def batches(events: Sequence[HistoryEvent]) -> list[list[HistoryEvent]]:
    """Group events as they were written: a completed task with what its commands made, others by themselves."""
    grouped: list[list[HistoryEvent]] = []
    for event in events:
        follows = grouped and grouped[-1][0].type == _TASK_COMPLETED and event.type in _FROM_COMMANDS
        if follows:
            grouped[-1].append(event)
        else:
            grouped.append([event])
    return grouped


def encode_batch(events: Sequence[HistoryEvent]) -> bytes:
    """Encode events as `temporal.api.history.v1.History`: field 1, repeated."""
    return b"".join(b"\x0a" + _varint(len(event.data)) + event.data for event in events)


def decode_batch(data: bytes) -> list[HistoryEvent]:
    """Undo `encode_batch`.

    Raises:
        ValueError: not such a message.
    """
    return [read_event(value) for number, value in fields(data) if number == 1 and isinstance(value, bytes)]


def payloads(data: bytes, depth: int = 0) -> Iterator[bytes]:
    """Yield the data of each `Payload` anywhere in a message: what carries its encoding in field 1 and bytes in field 2."""
    try:
        found = [(number, value) for number, value in fields(data) if isinstance(value, bytes)]
    except ValueError:
        return  # bytes or text, not a message
    if any(number == 1 and value.startswith(b"\x0a\x08encoding\x12") for number, value in found):
        yield from (value for number, value in found if number == 2)  # noqa: PLR2004 - Payload.data
    elif depth < _MAX_DEPTH:
        for _, value in found:
            yield from payloads(value, depth + 1)


def fields(data: bytes) -> Iterator[tuple[int, int | bytes]]:
    """Yield field number and value for each field of a protobuf message, one level deep.

    Raises:
        ValueError: not a protobuf message.
    """
    place = 0
    while place < len(data):
        tag, place = _read_varint(data, place)
        number, wire_type = tag >> 3, tag & 7
        value: int | bytes
        if wire_type == _VARINT:
            value, place = _read_varint(data, place)
        elif wire_type in (_FIXED64, _BYTES, _FIXED32):
            if wire_type == _BYTES:
                length, place = _read_varint(data, place)
            else:
                length = 8 if wire_type == _FIXED64 else 4
            value, place = data[place : place + length], place + length
        else:
            raise ValueError
        if number == 0 or place > len(data):
            raise ValueError
        yield number, value


def _read_varint(data: bytes, place: int) -> tuple[int, int]:
    value = 0
    for shift in range(0, 70, 7):
        if place >= len(data):
            raise ValueError
        byte = data[place]
        place += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:  # noqa: PLR2004 - the last byte has no continuation bit
            return value, place
    raise ValueError


def _varint(number: int) -> bytes:
    encoded = bytearray()
    while number > 0x7F:  # noqa: PLR2004 - as above
        encoded.append(number & 0x7F | 0x80)
        number >>= 7
    encoded.append(number)
    return bytes(encoded)
