"""A connection of a client: handshake, messages in and out, and its end."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

from .calls import Calls
from .frames import FrameReader, FrameType, FrameWriter, ProtocolError
from .handshake import Refused, answer_to, shutting_down
from .logs import LOG
from .peers import uid_of
from .values import encode

if TYPE_CHECKING:
    from collections.abc import Callable

    from .calls import Service
    from .frames import Message
    from .handshake import Welcome


@dataclass(frozen=True, slots=True)
class ConnectionLimits:
    """The limits of connections.

    Attributes:
        connections: Number of connections of a worker.
        handshake: Time from a new connection to its HELLO, in seconds.
        buffered: Bytes that a connection takes before it asks the writer to wait.
        queued: Bytes of answers that may wait for a client to read. Beyond that, nothing more is read from it.
    """

    connections: int = 256
    handshake: float = 10.0
    buffered: int = 128 * 1024
    queued: int = 8 * 2**20


class Connection(asyncio.Protocol):
    """One connection.

    Args:
        service: What all connections share.
        welcome: The answer to an accepted client.
        limits: The limits.
        refused: Returns the reason for which a peer with this user id is refused; None if it is not.
        ended: Is called with the connection when it has ended.
    """

    def __init__(
        self,
        service: Service,
        welcome: Welcome,
        limits: ConnectionLimits,
        *,
        refused: Callable[[int], Refused | None],
        ended: Callable[[Connection], None],
    ) -> None:
        self._service, self._welcome, self._limits = service, welcome, limits
        self._refused, self._ended = refused, ended
        self._counts = service.counts
        self._loop = asyncio.get_running_loop()
        self._frames = FrameReader()
        self._refusal: Refused | None = None
        self._is_open = False
        self._is_flushing = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Check the peer's user. A refused peer gets the reason when its HELLO arrives, because it reads only then."""
        self._transport = cast(asyncio.Transport, transport)
        self._transport.set_write_buffer_limits(high=self._limits.buffered)
        self._writer = FrameWriter(self._transport.write)
        self._calls = Calls(self._service, self._send, self._idle)
        self._counts.connections += 1
        self._refusal = self._refused(uid_of(transport))
        self._handshake = self._loop.call_later(self._limits.handshake, self._transport.abort)

    def data_received(self, data: bytes) -> None:
        """Process the messages that are complete."""
        self._counts.received_bytes += len(data)
        if self._refusal is not None:
            self._refuse(self._refusal)
            return
        try:
            for message in self._frames.feed(data):
                self._receive(message)
        except ProtocolError as error:
            self._counts.protocol_errors += 1
            LOG.warning("a client did not keep to the protocol, so its connection is closed: %s", error)
            self._transport.abort()

    def pause_writing(self) -> None:
        """Wait until the client reads."""
        self._writer.is_paused = True

    def resume_writing(self) -> None:
        """Write what waits."""
        self._writer.is_paused = False
        self._flush()

    def connection_lost(self, _error: Exception | None) -> None:
        """Give up the calls, because nobody waits for their answers."""
        self._handshake.cancel()
        self._calls.give_up_all()
        self._counts.connections -= 1
        self._counts.queued -= self._writer.queued
        self._ended(self)

    def drain(self) -> None:
        """Take no more calls, and close when those in flight are answered."""
        if not self._is_open:
            self._refuse(shutting_down())
            return
        self._calls.is_draining = True
        self._send(FrameType.GOAWAY, 0)
        if not len(self._calls):
            self._idle()

    def end(self) -> None:
        """Give up the calls that are left, and close."""
        self._calls.give_up_all()
        self._flush()
        self._transport.close()

    def _receive(self, message: Message) -> None:
        kind, call_id, content = message
        if not self._is_open:
            self._greet(message)
        elif kind is FrameType.CALL:
            self._calls.start(call_id, content)
        elif kind is FrameType.CANCEL:
            if self._frames.discard(FrameType.CALL, call_id):
                self._calls.refuse_incomplete(call_id)
            else:
                self._calls.cancel(call_id)
        elif kind is FrameType.PING:
            self._send(FrameType.PONG, 0)
        elif kind is not FrameType.PONG:
            msg = f"a {kind.name} from a client"
            raise ProtocolError(msg)

    def _greet(self, message: Message) -> None:
        if message.type is not FrameType.HELLO:
            raise ProtocolError("the first message is not a HELLO")
        answer = answer_to(message.content, self._welcome)
        if isinstance(answer, Refused):
            self._refuse(answer)
            return
        self._handshake.cancel()
        self._is_open = True
        self._send(FrameType.WELCOME, 0, encode(answer))

    def _refuse(self, refusal: Refused) -> None:
        if self._transport.is_closing():
            return
        self._counts.refused += 1
        LOG.warning("a connection is refused: %s", refusal.message)
        self._send(FrameType.REFUSED, 0, encode(refusal))
        self._flush()
        self._transport.close()

    def _send(self, frame_type: FrameType, call_id: int, content: bytes = b"") -> None:
        """Queue a message. All messages of one turn of the event loop are written at once."""
        before = self._writer.queued
        self._writer.add(frame_type, call_id, content)
        self._counts.queued += self._writer.queued - before
        if not self._is_flushing:
            self._is_flushing = True
            self._loop.call_soon(self._flush)
        if self._writer.queued > self._limits.queued:
            self._transport.pause_reading()

    def _flush(self) -> None:
        self._is_flushing = False
        if self._transport.is_closing():
            return
        before = self._writer.queued
        self._writer.flush()
        written = before - self._writer.queued
        self._counts.queued -= written
        self._counts.sent_bytes += written
        if self._writer.queued <= self._limits.queued and not self._transport.is_reading():
            self._transport.resume_reading()
        if self._calls.is_draining and not len(self._calls) and not self._writer.queued:
            self._transport.close()

    def _idle(self) -> None:
        """Close the connection when the last call of a draining server is answered and written."""
        if self._calls.is_draining and not self._is_flushing:
            self._is_flushing = True
            self._loop.call_soon(self._flush)
