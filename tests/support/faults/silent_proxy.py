"""A TCP proxy in front of PostgreSQL that falls silent: connections stay open, and nothing passes any more."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager, suppress
from urllib.parse import parse_qs, urlsplit


class SilentProxy:
    """A proxy that forwards bytes until it is silent. It answers keepalives, and accepts new connections, for ever.

    Attributes:
        dsn: The connection string through the proxy.
        silent: Whether nothing passes, in both directions.
        at: A text. The proxy falls silent when a request has it. None for no text.
        forwards: Whether that request itself still reaches the server.
        reached: Set when a request has the text.
        opened: The number of connections so far.
        silent_before: The connections with a lower or equal number are silent.
    """

    def __init__(self, server_dsn):
        parts = urlsplit(server_dsn)
        self._socket = f"{parse_qs(parts.query)['host'][0]}/.s.PGSQL.5432"
        self._parts = parts
        self.dsn = ""
        self.silent = False
        self.at = None
        self.forwards = True
        self.reached = asyncio.Event()
        self.opened = 0
        self.silent_before = 0
        self.ends = []

    def heal(self):
        """Forward everything again on new connections. What was swallowed is lost."""
        self.silent, self.at = False, None
        self.reached.clear()

    def moved(self, port):
        """Set the connection string for the port of the proxy."""
        user = self._parts.netloc.rpartition("@")[0]
        self.dsn = f"postgresql://{user}@127.0.0.1:{port}{self._parts.path}"

    async def serve(self, reader, writer):
        """Forward one connection."""
        self.opened += 1
        number = self.opened
        server_reader, server_writer = await asyncio.open_unix_connection(self._socket)
        self.ends += [writer, server_writer]
        tasks = [
            asyncio.ensure_future(self._requests(reader, server_writer, number)),
            asyncio.ensure_future(self._answers(server_reader, writer, number)),
        ]
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in tasks:
            task.cancel()
            with suppress(asyncio.CancelledError, ConnectionError):
                await task
        for end in (writer, server_writer):
            end.close()

    def _passes(self, number):
        return not self.silent and number > self.silent_before

    async def _requests(self, reader, server_writer, number):
        while data := await reader.read(1 << 20):
            if self.at is not None and self.at in data:
                self.silent = True
                if self.forwards:
                    server_writer.write(data)
                self.reached.set()
            elif self._passes(number):
                server_writer.write(data)

    async def _answers(self, server_reader, writer, number):
        while data := await server_reader.read(1 << 20):
            if self._passes(number):
                writer.write(data)


@asynccontextmanager
async def silent_proxy(server_dsn):
    """Serve a proxy on a free TCP port."""
    proxy = SilentProxy(server_dsn)
    server = await asyncio.start_server(proxy.serve, "127.0.0.1", 0)
    proxy.moved(server.sockets[0].getsockname()[1])
    try:
        yield proxy
    finally:
        server.close()
        for end in proxy.ends:
            end.transport.abort()
        await asyncio.sleep(0.01)  # the tasks of the connections end
