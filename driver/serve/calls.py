"""The calls of a connection: decode, run, answer, and give up at the deadline or when the caller cancels."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Annotated, Any

import msgspec

from strongroom.kms import StrongroomError

from .errors import draining_map, error_map, exhausted_map, invalid_map, timeout_map, too_large_map, unexpected_map
from .frames import MESSAGE, FrameType, ProtocolError
from .logs import LOG, kind_and_place
from .values import decoder_of, encode

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from strongroom.storage import ShardNumbers

    from .callers import Callers
    from .counts import Counts
    from .deadlines import Deadlines
    from .operations import ServedOperation

MARGIN = 0.020
"""The server gives up a call this long before its deadline, so that its answer arrives in time, in seconds."""
LONGEST = 86_400.0
"""The longest deadline of a call, in seconds."""
_NAME = 80
_LONGEST_REASON = 300
_UNKNOWN_FIELD = "Object contains unknown field"
_decode_call = decoder_of(tuple[str, Annotated[int, msgspec.Meta(ge=0)], str, msgspec.Raw]).decode


@dataclass(frozen=True, slots=True)
class Service:
    """What all connections of a worker share.

    Attributes:
        operations: The operations by name.
        callers: The stores.
        numbers: The permutation of shard numbers.
        counts: What is counted.
        deadlines: The deadlines of all calls.
        max_in_flight: The number of calls that a connection may have in flight.
    """

    operations: Mapping[str, ServedOperation]
    callers: Callers
    numbers: ShardNumbers
    counts: Counts
    deadlines: Deadlines
    max_in_flight: int


@dataclass(slots=True, eq=False)
class Call:
    """A call in flight.

    Attributes:
        id: The id.
        operation: The operation.
        task: The task that runs it.
        forget: Removes the call's deadline; None without a deadline.
        is_started: Whether the task has begun. A task that is cancelled before never runs.
        is_answered: Whether the client has its answer, or an error in its place.
    """

    id: int
    operation: ServedOperation
    task: asyncio.Task[None] | None = None
    forget: Callable[[], object] | None = None
    is_started: bool = False
    is_answered: bool = False


class Calls:
    """The calls of one connection.

    A call that is given up is answered at once. Its place is free when its task has ended.

    Args:
        service: What all connections share.
        send: Sends a message: its type, the call's id, and the content.
        idle: Is called when the last call has ended.
    """

    def __init__(
        self, service: Service, send: Callable[[FrameType, int, bytes], None], idle: Callable[[], None]
    ) -> None:
        self._service, self._send, self._idle = service, send, idle
        self._running: dict[int, Call] = {}
        self._loop = asyncio.get_running_loop()
        self.is_draining = False

    def __len__(self) -> int:
        return len(self._running)

    def start(self, call_id: int, message: bytes | bytearray) -> None:
        """Start a call.

        Raises:
            ProtocolError: The id is 0, or the id of a call that runs.
        """
        if call_id in self._running or call_id == 0:
            raise ProtocolError("a CALL with the id of another one")
        service = self._service
        if len(self._running) >= service.max_in_flight:
            service.counts.refused += 1
            self._refuse(call_id, exhausted_map(service.max_in_flight))
            return
        if self.is_draining:
            self._refuse(call_id, draining_map())
            return
        name = "a call"
        try:
            name, timeout, caller, encoded = _decode_call(message)
            operation = service.operations[name]
            arguments = operation.arguments(encoded, service.numbers)
            store = getattr(service.callers.stores_for(caller), operation.area)
        except KeyError:
            self._refuse(
                call_id, invalid_map(f"there is no operation {name[:_NAME]!r}; client and server differ in version")
            )
        except (msgspec.DecodeError, RecursionError) as error:
            self._refuse(call_id, invalid_map(f"the arguments of {name[:_NAME]!r} can't be decoded: {_reason(error)}"))
        except StrongroomError as error:
            self._refuse(call_id, error_map(error))
        else:
            self._begin(Call(call_id, operation), store, arguments, timeout / 1000)

    def cancel(self, call_id: int) -> None:
        """Give up a call, because its caller did. A call that has ended is ignored."""
        call = self._running.get(call_id)
        if call is not None:
            self._give_up(call)

    def give_up_all(self) -> None:
        """Give up every call."""
        for call in list(self._running.values()):
            self._give_up(call)

    def refuse_incomplete(self, call_id: int) -> None:
        """Answer a call that was cancelled before its last part arrived."""
        self._refuse(call_id, timeout_map("a call", may_have_been_committed=False))

    def _begin(self, call: Call, store: Any, arguments: dict[str, Any], timeout: float) -> None:
        self._running[call.id] = call
        self._service.counts.in_flight += 1
        if timeout:
            left = min(timeout, LONGEST)
            call.forget = self._service.deadlines.add(call, max(left - MARGIN, left / 2), partial(self._give_up, call))
        call.task = asyncio.Task(self._run(call, store, arguments), loop=self._loop)

    async def _run(self, call: Call, store: Any, arguments: dict[str, Any]) -> None:
        call.is_started = True
        operation = call.operation
        try:
            answer = await getattr(store, operation.method)(**arguments)
            if operation.answer is not None:
                answer = operation.answer(answer, self._service.numbers.temporal)
            self._answer(call, FrameType.ANSWER, encode(answer))
        except StrongroomError as error:
            self._answer(call, FrameType.ERROR, self._encoded(error))
        except BaseException as error:  # a defect in one call must not end the others
            if not call.is_answered:
                # The message of an error that is not ours may contain a tenant's data, so only its class and place are logged.
                LOG.error("%s failed with %s", operation.name, kind_and_place(error))
                content = encode(unexpected_map(operation.name, may_have_been_committed=operation.writes))
                self._answer(call, FrameType.ERROR, content)
            if not isinstance(error, Exception):
                raise
        finally:
            self._end(call)

    def _answer(self, call: Call, frame_type: FrameType, content: bytes) -> None:
        if call.is_answered:
            return
        call.is_answered = True
        if len(content) > MESSAGE:
            frame_type, content = FrameType.ERROR, encode(too_large_map(call.operation.name, len(content)))
        self._send(frame_type, call.id, content)

    def _give_up(self, call: Call) -> None:
        """Answer a call that has not ended, and cancel it. A write that has started may still be committed."""
        if call.is_answered:
            return
        self._service.counts.given_up += 1
        operation = call.operation
        error = timeout_map(operation.name, may_have_been_committed=call.is_started and operation.writes)
        self._answer(call, FrameType.ERROR, encode(error))
        if call.task is not None:
            call.task.cancel()
        if not call.is_started:
            self._end(call)

    def _end(self, call: Call) -> None:
        if call.forget is not None:
            call.forget()
        del self._running[call.id]
        self._service.counts.in_flight -= 1
        if not self._running:
            self._idle()

    def _refuse(self, call_id: int, error: dict[str, Any]) -> None:
        self._send(FrameType.ERROR, call_id, encode(error))

    def _encoded(self, error: StrongroomError) -> bytes:
        return encode(error_map(error, self._service.numbers))


def _reason(error: Exception) -> str:
    """Return the reason of a decoder without the value that it may quote."""
    text = str(error)[:_LONGEST_REASON]
    if text.startswith(_UNKNOWN_FIELD):
        return f"{text}; client and server differ in version"
    return text if "`" not in text or text.startswith(("Expected", "Object")) else "a value is not one of its type"
