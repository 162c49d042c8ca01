"""A relay in front of a server. It terminates TLS if it has a context, and cuts connections on request."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager, suppress


class Relay:
    """A relay that forwards the connections of clients to a server.

    Attributes:
        port: The port on 127.0.0.1.
        taken: The number of connections that were accepted.
    """

    def __init__(self, host, port):
        self.forward_to(host, port)
        self._writers = set()
        self.port = 0
        self.taken = 0

    def forward_to(self, host, port):
        """Forward new connections to this server. A server that was started again may have another port."""
        self._target = host, port

    async def handle(self, reader, writer):
        """Forward the bytes of a connection in both directions. Close it if the server can't be reached."""
        self.taken += 1
        self._writers.add(writer)  # at once, because `cut` may come while it connects
        try:
            there, back = await asyncio.open_connection(*self._target)
        except OSError:
            self._writers.discard(writer)
            writer.transport.abort()
            return
        self._writers.add(back)
        with suppress(OSError):
            await asyncio.gather(_carry(reader, back), _carry(there, writer))
        self._writers -= {writer, back}

    async def cut(self):
        """Close all current connections."""
        for writer in list(self._writers):
            writer.transport.abort()
        await asyncio.sleep(0.05)  # gives the client time to notice


async def _carry(reader, writer):
    try:
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
    finally:
        writer.close()


@asynccontextmanager
async def relay(host, port, *, tls=None):
    """Start a relay, and stop it at the end."""
    made = Relay(host, port)
    server = await asyncio.start_server(made.handle, "127.0.0.1", 0, ssl=tls)
    made.port = server.sockets[0].getsockname()[1]
    try:
        yield made
    finally:
        server.close()
        await made.cut()
