"""Connections of aiohttp: sockets that notice a lost peer, idle connections that can be dropped, and answers of limited size."""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING, Any

import aiohttp

from strongroom.kms.transport.keepalive import SOCKET_OPTIONS

if TYPE_CHECKING:
    import ssl

_IDLE_SECONDS = 10.0
"""Seconds for which an unused connection is kept. A new one costs less than a request that waits for a dead one."""


class KeptConnections(aiohttp.TCPConnector):
    """Connections to one server.

    Args:
        tls: The TLS context; None for a server without TLS.
        limit: The maximum number of connections.
    """

    def __init__(self, tls: ssl.SSLContext | None, *, limit: int) -> None:
        super().__init__(
            ssl=True if tls is None else tls,
            limit=limit,
            keepalive_timeout=_IDLE_SECONDS,
            socket_factory=_new_socket,
        )

    def drop_idle(self) -> None:
        """Close the unused connections. Call it after a timeout, because a firewall drops connections together."""
        for kept in self._conns.values():
            for protocol, _ in kept:
                protocol.close()
        self._conns.clear()


def limited_response(max_answer: int) -> type[aiohttp.ClientResponse]:
    """Return a class of answers. Reading an answer of more than `max_answer` bytes raises `ClientPayloadError`."""

    class LimitedResponse(aiohttp.ClientResponse):
        async def read(self) -> bytes:
            """Return the body."""
            if self._body is None:
                pieces, size = [], 0
                async for piece in self.content.iter_any():
                    size += len(piece)
                    if size > max_answer:
                        self.close()
                        msg = f"the answer has more than {max_answer} bytes"
                        raise aiohttp.ClientPayloadError(msg)
                    pieces.append(piece)
                self._body = b"".join(pieces)
            return await super().read()

    return LimitedResponse


def _new_socket(address: tuple[Any, ...]) -> socket.socket:
    family, kind, protocol = address[:3]
    made = socket.socket(family, kind, protocol)
    made.setblocking(False)
    for option in SOCKET_OPTIONS:
        made.setsockopt(*option)
    return made
