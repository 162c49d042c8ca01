"""The health endpoint: GET /health over plain HTTP. It answers 200 if every worker serves, else 503, with the state of each."""

from __future__ import annotations

import asyncio
import json
import re
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING, Any

from strongroom.driver.config import ConfigError

from .sockets import KEEP_FILE, listen, remove_stale

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Mapping

    from strongroom.driver.config import Listen

HEAD_BYTES = 8192
HEAD_SECONDS = 5.0
"""Timeout for the head of a request, in seconds."""
CONNECTIONS = 64
"""Maximum of open connections; more are closed at once."""
_REQUEST = re.compile(rb"([A-Z]+) ([^ ?\r\n]+)(?:\?[^ \r\n]*)? HTTP/1\.[01]\r\n")
_REASONS = {200: "OK", 400: "Bad Request", 404: "Not Found", 405: "Method Not Allowed", 503: "Service Unavailable"}


class Health:
    """The endpoint.

    Args:
        state: Returns the state of the server; the endpoint answers 200 if its `status` is "ok".
        head_seconds: Timeout for the head of a request, in seconds.
    """

    def __init__(self, state: Callable[[], Mapping[str, Any]], *, head_seconds: float = HEAD_SECONDS) -> None:
        self._state = state
        self._head_seconds = head_seconds
        self._open = 0

    async def answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer one request, and close the connection."""
        self._open += 1
        try:
            if self._open <= CONNECTIONS:
                async with asyncio.timeout(self._head_seconds):
                    head = await reader.readuntil(b"\r\n\r\n")
                    writer.write(self._response(head))
                    await writer.drain()
        except (OSError, TimeoutError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
            pass  # a client that sends no request gets no answer
        finally:
            self._open -= 1
            writer.close()
            with suppress(OSError):
                await writer.wait_closed()

    def _response(self, head: bytes) -> bytes:
        request = _REQUEST.match(head)
        if request is None:
            return _http(400, {"error": "this is no HTTP request"})
        method, path = request.groups()
        if path != b"/health":
            return _http(404, {"error": "unknown path; use /health"})
        if method not in {b"GET", b"HEAD"}:
            return _http(405, {"error": "use GET"}, "Allow: GET, HEAD\r\n")
        state = self._state()
        return _http(200 if state["status"] == "ok" else 503, state, with_body=method == b"GET")


def _http(code: int, content: Mapping[str, Any], headers: str = "", *, with_body: bool = True) -> bytes:
    body = json.dumps(content).encode() + b"\n"
    head = (
        f"HTTP/1.1 {code} {_REASONS[code]}\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n"
        f"Cache-Control: no-store\r\nConnection: close\r\n{headers}\r\n"
    )
    return head.encode() + (body if with_body else b"")


@asynccontextmanager
async def health_endpoint(address: Listen | None, health: Health) -> AsyncIterator[str | None]:
    """Serve the endpoint on an address, and yield the address as text; without an address do nothing.

    Args:
        address: The address; None for none.
        health: The endpoint.

    Raises:
        ConfigError: The address can't be used.
    """
    if address is None:
        yield None
        return
    unlink = None
    try:
        if address.socket is None:
            server = await asyncio.start_server(health.answer, address.host, address.port, limit=HEAD_BYTES)
        else:
            remove_stale(address.socket, 0, "serve.health")
            listening, unlink = listen(address.socket)
            try:
                server = await asyncio.start_unix_server(health.answer, sock=listening, limit=HEAD_BYTES, **KEEP_FILE)
            except BaseException:
                listening.close()
                unlink()
                raise
    except OSError as error:
        where = address.socket or f"{address.host}:{address.port}"
        msg = f"the health endpoint can't listen on {where}: {error.strerror}; change serve.health, or stop the other program"
        raise ConfigError(msg) from None
    try:
        async with server:
            yield _name(server)
    finally:
        if unlink is not None:
            unlink()


def _name(server: asyncio.Server) -> str:
    name = server.sockets[0].getsockname()
    if isinstance(name, str):
        return f"unix:{name}"
    host = f"[{name[0]}]" if ":" in name[0] else name[0]
    return f"http://{host}:{name[1]}/health"
