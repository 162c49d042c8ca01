"""A connection of the codec server: TLS, deadlines, strict framing, and the client's certificate for the application."""

from __future__ import annotations

import http
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import orjson
from uvicorn.protocols.http.h11_impl import H11Protocol

from .connections import peer_of
from .framing import Framing, Malformed
from .server import PEER

if TYPE_CHECKING:
    import asyncio
    import ssl
    from collections.abc import Callable, MutableMapping

    from uvicorn._types import ASGI3Application, ASGIReceiveCallable, ASGISendCallable

    from .connections import Connections, Deadlines


class CodecProtocol(H11Protocol):
    """A connection, from its acceptance to its end.

    One timer runs at any time, for the current step: head, answer, idle or closing. A second timer is for the whole connection.

    Args:
        context: The TLS context; None for a connection without TLS.
        connections: The register of connections.
        deadlines: The deadlines.
        options: The arguments of uvicorn's protocol.
    """

    def __init__(
        self, *, context: ssl.SSLContext | None, connections: Connections, deadlines: Deadlines, **options: Any
    ) -> None:
        super().__init__(**options)
        self._context = context
        self._register = connections
        self._deadlines = deadlines
        self._framing = Framing()
        self._accepted: asyncio.Transport | None = None
        self._peer = ""
        self._handshake: asyncio.Task[None] | None = None
        self._early = b""
        self._is_begun = False
        self._step: asyncio.TimerHandle | None = None
        self._whole: asyncio.TimerHandle | None = None
        self._is_last = False
        self._is_closing = False

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override] # as in its parent
        """Register a new connection, and begin with TLS."""
        self._accepted = transport
        self._peer = peer_of(transport.get_extra_info("peername"))
        if not self._register.admit(self._peer, self):
            transport.abort()
            return
        self._arm(self._deadlines.head, self.drop)
        self._whole = self.loop.call_later(self._deadlines.total, self._finish)
        if self._context is None:
            self._begin(transport)
        else:
            transport.pause_reading()
            self._handshake = self.loop.create_task(self._secure(transport, self._context))

    async def _secure(self, accepted: asyncio.Transport, context: ssl.SSLContext) -> None:
        transport = None
        with suppress(OSError):  # also what TLS refuses, and a peer that goes away
            transport = await self.loop.start_tls(
                accepted,
                self,
                context,
                server_side=True,
                ssl_handshake_timeout=self._deadlines.head,
                ssl_shutdown_timeout=self._deadlines.closing,
            )
        if transport is None or accepted.is_closing():
            accepted.abort()
            self._forget()
        else:
            self._begin(transport)

    def _begin(self, transport: asyncio.Transport) -> None:
        super().connection_made(transport)
        self._is_begun = True
        self.app = _with_certificate(self.app, transport.get_extra_info("peercert"))
        if self._early:
            self.data_received(self._early)

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the connection."""
        self._forget()
        if self._is_begun:
            super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Check the framing of the next bytes, and give them to h11."""
        if not self._is_begun:
            self._early += data  # TLS delivers what came with the end of the handshake before `start_tls` returns
            return
        while data and not self._is_closing:
            data = self._followed(data)

    def _followed(self, data: bytes) -> bytes:
        """Follow the current request, and return the bytes after it."""
        if self._framing.is_done:
            # The request is not answered yet. The connection ends with its answer, so that nobody can take the rest for a request.
            self._end_with_answer()
            return b""
        had_begun, had_head = self._framing.has_begun, self._framing.has_head
        try:
            taken = self._framing.feed(data)
        except Malformed as malformed:
            self._refuse(malformed)
            return b""
        if self._framing.has_head and not had_head:
            self._arm(self._deadlines.answer, self.drop)
        elif not had_begun and self.cycle is not None:
            self._arm(self._deadlines.head, self.drop)
        super().data_received(data[:taken])
        self._settle()
        return data[taken:]

    def _settle(self) -> None:
        if self._framing.is_done and self.cycle is not None and self.cycle.response_complete:
            self._next_request()

    def on_response_complete(self) -> None:
        """Wait for the next request, or for the rest of this one."""
        super().on_response_complete()
        self._unset_keepalive_if_required()
        self._register.touched(self._peer, self)
        if self.transport.is_closing():
            self._close()
        elif self._framing.is_done:
            self._next_request()
        else:
            self._arm(self._deadlines.body, self.drop)

    def shutdown(self) -> None:
        """Close the connection when the server stops; a request at work is answered first."""
        super().shutdown()
        if self.transport.is_closing():
            self._close()

    @property
    def is_waiting(self) -> bool:
        """Whether no complete head of a request has arrived since the last answer."""
        return not self._framing.has_head

    def drop(self) -> None:
        """Cut the connection. Unsent bytes are lost."""
        if self._accepted is not None:
            self._accepted.abort()
        if self._is_begun:
            self.transport.abort()

    def _next_request(self) -> None:
        self._framing = Framing()
        if self._is_last:
            self._close()
        else:
            self._arm(self._deadlines.idle, self._close)

    def _finish(self) -> None:
        """Close the connection, or let its current answer be the last one."""
        if self.is_waiting:
            self._close()
        else:
            self._end_with_answer()

    def _end_with_answer(self) -> None:
        self._is_last = True
        if self.cycle is not None:
            self.cycle.keep_alive = False

    def _close(self) -> None:
        """Close the connection once its bytes are sent, or cut it after a deadline."""
        self._is_closing = True
        self._arm(self._deadlines.closing, self.drop)
        (self.transport or self._accepted).close()  # type: ignore[union-attr] # one of them is there after `connection_made`

    def _refuse(self, malformed: Malformed) -> None:
        """Answer a request that is not in the accepted form, and close."""
        started = self.cycle is not None and self.cycle.response_started and not self.cycle.response_complete
        if started:
            self.drop()
            return
        if self.cycle is not None and not self.cycle.response_complete:
            self.cycle.disconnected = True
            self.cycle.message_event.set()
        self.logger.info("refused a request with status %s: %s", malformed.status, malformed.error)
        self.transport.write(_answer(malformed))
        if self.transport.can_write_eof():
            # The peer reads the answer before the connection ends. Closing at once would reset it while the peer still sends.
            self._is_closing = True
            self._arm(self._deadlines.closing, self.drop)
            self.transport.write_eof()
        else:
            self._close()

    def _arm(self, seconds: float, expired: Callable[[], None]) -> None:
        if self._step is not None:
            self._step.cancel()
        self._step = self.loop.call_later(seconds, expired)

    def _forget(self) -> None:
        for timer in (self._step, self._whole):
            if timer is not None:
                timer.cancel()
        self._register.remove(self._peer, self)


def _answer(malformed: Malformed) -> bytes:
    body = orjson.dumps({"error": malformed.error})
    head = (
        f"HTTP/1.1 {malformed.status} {http.HTTPStatus(malformed.status).phrase}\r\ncontent-type: application/json\r\n"
        f"content-length: {len(body)}\r\ncache-control: no-store\r\nx-content-type-options: nosniff\r\nconnection: close\r\n\r\n"
    )
    return head.encode() + body


def _with_certificate(app: ASGI3Application, certificate: dict[str, Any] | None) -> ASGI3Application:
    async def wrapped(scope: Any, receive: ASGIReceiveCallable, send: ASGISendCallable) -> None:
        extended: MutableMapping[str, Any] = scope
        extended[PEER] = certificate
        await app(scope, receive, send)

    return wrapped
