"""A proxy in front of PostgreSQL that cuts a connection, or holds answers back, when a test asks for it."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager

from .forwarding import forward

_IDLE = b"Z\x00\x00\x00\x05I"
"""The end of the answer to a statement after which no transaction is open."""
_COMMITTED = (b"COMMIT\x00", b"INSERT 0 ", b"UPDATE ", b"DELETE ")


class Proxy:
    """A proxy that forwards bytes. `cut` decides where the next statement is cut off.

    `cut` is None, "before" (the next statement does not reach the server) or "after" (the statement is committed, but its answer
    does not come back). `held` is a text of a statement: on a connection that sends it, answers wait until `release`.
    """

    def __init__(self, server_socket: str) -> None:
        self.server_socket = server_socket
        self.cut: str | None = None
        self.cuts = 0
        self.commits: int | None = None
        self.held: bytes | None = None
        self._released = asyncio.Event()
        self._open: set[asyncio.StreamWriter] = set()

    def end_after(self, commits: int | None) -> None:
        """Close all connections once this number of commits was answered, and refuse new ones. None accepts connections again."""
        self.commits = commits

    def release(self) -> None:
        """Pass on the answers that were held back, and hold no more."""
        self.held = None
        self._released.set()

    async def serve(self, reader, writer):
        """Forward one connection."""
        if self.commits == 0:
            writer.close()
            return
        self._open.add(writer)
        try:
            await self._forward(reader, writer)
        finally:
            self._open.discard(writer)

    async def _forward(self, reader, writer):
        server_reader, server_writer = await asyncio.open_unix_connection(self.server_socket)
        swallow, hold = asyncio.Event(), asyncio.Event()
        ways = (
            self._requests(reader, server_writer, swallow, hold),
            self._answers(server_reader, writer, swallow, hold),
        )
        await forward(ways, (writer, server_writer))

    async def _requests(self, reader, server_writer, swallow, hold):
        while data := await reader.read(1 << 20):
            if self.commits == 0:
                return  # the client has the answer to the last commit already, and its next statement must not reach the server
            # Only Bind and Execute of a prepared statement are cut. Its Parse is forwarded.
            if self.cut is not None and data[:1] == b"B":
                self.cuts += 1
                how, self.cut = self.cut, None
                if how == "before":
                    return
                swallow.set()
            if self.held is not None and self.held in data:
                hold.set()
            server_writer.write(data)
            await server_writer.drain()

    async def _answers(self, server_reader, writer, swallow, hold):
        while data := await server_reader.read(1 << 20):
            if swallow.is_set():
                return  # the server has answered, so the statement is committed
            if hold.is_set():
                await self._released.wait()
            if self.commits and data.endswith(_IDLE) and any(tag in data for tag in _COMMITTED):
                self.commits -= 1
            writer.write(data)
            await writer.drain()
            if self.commits == 0 and data.endswith(_IDLE):
                for each in [*self._open]:
                    each.close()
                return


@asynccontextmanager
async def proxied(server_socket, path):
    """Serve a proxy on a Unix socket at `path`."""
    proxy = Proxy(server_socket)
    server = await asyncio.start_unix_server(proxy.serve, path)
    try:
        yield proxy
    finally:
        server.close()
