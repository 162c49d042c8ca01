"""A TCP proxy that goes silent on old connections, as a firewall that lost its state, and forwards new ones."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager, suppress


class TcpSilence:
    """A proxy of a server.

    Attributes:
        port: The port of the proxy.
        opened: The number of connections so far.
        silent_before: The connections with a lower or equal number are silent. They stay open.
        swallowed: The numbers of the silent connections on which something was sent.
    """

    def __init__(self, host, port):
        self._server = (host, port)
        self.port = 0
        self.opened = self.silent_before = 0
        self.swallowed = set()
        self._ends = []

    def silence(self):
        """Go silent on all connections that are open."""
        self.silent_before = self.opened

    async def serve(self, reader, writer):
        """Forward one connection."""
        self.opened += 1
        number = self.opened
        server_reader, server_writer = await asyncio.open_connection(*self._server)
        self._ends += [writer, server_writer]
        ways = [
            asyncio.ensure_future(self._forward(reader, server_writer, number)),
            asyncio.ensure_future(self._forward(server_reader, writer, number)),
        ]
        await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
        for way in ways:
            way.cancel()
            with suppress(asyncio.CancelledError, ConnectionError):
                await way
        for end in (writer, server_writer):
            end.close()

    async def _forward(self, reader, writer, number):
        while data := await reader.read(1 << 16):
            if number > self.silent_before:
                writer.write(data)
            else:
                self.swallowed.add(number)

    def abort(self):
        """End all connections."""
        for end in self._ends:
            end.transport.abort()


@asynccontextmanager
async def tcp_silence(port, host="127.0.0.1"):
    """Serve a proxy on a free port of the same host."""
    proxy = TcpSilence(host, port)
    server = await asyncio.start_server(proxy.serve, "127.0.0.1", 0)
    proxy.port = server.sockets[0].getsockname()[1]
    try:
        yield proxy
    finally:
        server.close()
        proxy.abort()
        await asyncio.sleep(0.01)  # the tasks of the connections end
