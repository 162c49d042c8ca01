"""The first fields of a `temporal.api.history.v1.HistoryEvent`, read from its protobuf encoding.

Field numbers and event types: temporalio/api, history/v1/message.proto, common/v1/message.proto and enums/v1/event_type.proto.
The encoded bytes are never changed.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5
_EVENT_ID, _EVENT_TIME, _EVENT_TYPE = 1, 2, 3
_MAX_DEPTH = 12
_SIGN, _MOST_TYPES = 2**63, 2**31
_SECONDS = range(-62_135_596_800, 253_402_300_800)
"""The seconds that a protobuf `Timestamp` has: the years 1 to 9999."""

# Event types in the order of their numbers, from 1.
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
# Events from a worker's commands. They are written together with the completed task that sent them.
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
    """A history event.

    Attributes:
        event_id: The event id, from 1 without gaps.
        time: The time, in nanoseconds since the epoch.
        type: Temporal's name of the event type.
        data: The encoded message.
    """

    event_id: int
    time: int
    type: str
    data: bytes


def read_event(data: bytes) -> HistoryEvent:
    """Return an event from its encoding.

    Raises:
        ValueError: The bytes are not an encoded history event.
    """
    first_fields = {number: value for number, value in fields(data) if number <= _EVENT_TYPE}
    event_id, moment, number = first_fields.get(_EVENT_ID), first_fields.get(_EVENT_TIME), first_fields.get(_EVENT_TYPE)
    if not isinstance(event_id, int) or not isinstance(moment, bytes) or not isinstance(number, int):
        raise ValueError  # noqa: TRY004 - malformed input, not a programming error
    time = dict(fields(moment))
    seconds, nanoseconds = time.get(1, 0), time.get(2, 0)
    if not isinstance(seconds, int) or not isinstance(nanoseconds, int):
        raise ValueError  # noqa: TRY004 - likewise
    seconds -= (seconds & _SIGN) << 1  # a varint of an int64 is its two's complement
    if not (0 < event_id < _SIGN and 0 < number < _MOST_TYPES and seconds in _SECONDS and nanoseconds < 10**9):
        raise ValueError
    name = EVENT_TYPES[number - 1] if number <= len(EVENT_TYPES) else f"EventType{number}"
    return HistoryEvent(event_id, seconds * 10**9 + nanoseconds, name, data)


def batches(events: Sequence[HistoryEvent]) -> list[list[HistoryEvent]]:
    """Group events as they were written: a completed task with the events of its commands, and every other event alone."""
    grouped: list[list[HistoryEvent]] = []
    for event in events:
        follows = grouped and grouped[-1][0].type == _TASK_COMPLETED and event.type in _FROM_COMMANDS
        if follows:
            grouped[-1].append(event)
        else:
            grouped.append([event])
    return grouped


def encode_batch(events: Sequence[HistoryEvent]) -> bytes:
    """Return events encoded as `temporal.api.history.v1.History`: field 1, repeated."""
    return b"".join(b"\x0a" + _varint(len(event.data)) + event.data for event in events)


def decode_batch(data: bytes) -> list[HistoryEvent]:
    """Return the events of an encoded `History`.

    Raises:
        ValueError: The bytes are not an encoded `History`.
    """
    return [read_event(value) for number, value in fields(data) if number == 1 and isinstance(value, bytes)]


def payloads(data: bytes, depth: int = 0) -> Iterator[bytes]:
    """Yield the data of each `Payload` in a message: a message with its encoding in field 1 and bytes in field 2."""
    try:
        members = [(number, value) for number, value in fields(data) if isinstance(value, bytes)]
    except ValueError:
        return  # bytes or text, not a message
    if any(number == 1 and value.startswith(b"\x0a\x08encoding\x12") for number, value in members):
        yield from (value for number, value in members if number == 2)  # noqa: PLR2004 - Payload.data
    elif depth < _MAX_DEPTH:
        for _, value in members:
            yield from payloads(value, depth + 1)


def fields(data: bytes) -> Iterator[tuple[int, int | bytes]]:
    """Yield the number and the value of each field of a protobuf message, one level deep.

    Raises:
        ValueError: The bytes are not a protobuf message.
    """
    position = 0
    while position < len(data):
        tag, position = _read_varint(data, position)
        number, wire_type = tag >> 3, tag & 7
        value: int | bytes
        if wire_type == _VARINT:
            value, position = _read_varint(data, position)
        elif wire_type in (_FIXED64, _BYTES, _FIXED32):
            if wire_type == _BYTES:
                length, position = _read_varint(data, position)
            else:
                length = 8 if wire_type == _FIXED64 else 4
            value, position = data[position : position + length], position + length
        else:
            raise ValueError
        if number == 0 or position > len(data):
            raise ValueError
        yield number, value


def _read_varint(data: bytes, position: int) -> tuple[int, int]:
    value = 0
    for shift in range(0, 70, 7):
        if position >= len(data):
            raise ValueError
        byte = data[position]
        position += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:  # noqa: PLR2004 - the last byte has no continuation bit
            return value, position
    raise ValueError


def _varint(number: int) -> bytes:
    encoded = bytearray()
    while number > 0x7F:  # noqa: PLR2004 - as above
        encoded.append(number & 0x7F | 0x80)
        number >>= 7
    encoded.append(number)
    return bytes(encoded)
