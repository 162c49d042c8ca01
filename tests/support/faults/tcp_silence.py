"""A TCP proxy that goes silent on old connections, as a firewall that lost its state, and forwards new ones."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager

from .forwarding import forward


class TcpSilence:
    """A proxy of a server.

    Args:
        connect: Opens a connection to the server, and returns its reader and writer.

    Attributes:
        port: The port of the proxy.
        opened: The number of connections so far.
        silent_before: The connections with a lower or equal number are silent. They stay open.
        swallowed: The numbers of the silent connections on which something was sent.
    """

    def __init__(self, connect):
        self._connect = connect
        self.port = 0
        self.opened = self.silent_before = 0
        self.swallowed = set()
        self._ends = []
        self._serving = set()

    def silence(self):
        """Go silent on all connections that are open."""
        self.silent_before = self.opened

    async def serve(self, reader, writer):
        """Forward one connection."""
        self.opened += 1
        number = self.opened
        self._serving.add(asyncio.current_task())
        self._ends.append(writer)  # at once, because `aclose` may come while it connects
        server_reader, server_writer = await self._connect()
        ends = writer, server_writer
        self._ends.append(server_writer)
        there = self._carry(reader, server_writer, lambda data: self._request_passes(data, number))
        back = self._carry(server_reader, writer, lambda _: self._passes(number))
        await forward((there, back), ends)

    def _passes(self, number):
        """Return whether data passes on a connection."""
        if number > self.silent_before:
            return True
        self.swallowed.add(number)
        return False

    def _request_passes(self, _data, number):
        return self._passes(number)

    @staticmethod
    async def _carry(reader, writer, passes):
        while data := await reader.read(1 << 20):
            if passes(data):
                writer.write(data)

    async def aclose(self):
        """End all connections."""
        for end in self._ends:
            end.transport.abort()
        await asyncio.gather(*self._serving, return_exceptions=True)


@asynccontextmanager
async def served(proxy):
    """Serve a proxy on a free port of this machine."""
    server = await asyncio.start_server(proxy.serve, "127.0.0.1", 0)
    proxy.port = server.sockets[0].getsockname()[1]
    try:
        yield proxy
    finally:
        server.close()
        await proxy.aclose()


def tcp_silence(port, host="127.0.0.1"):
    """Serve a proxy of the server at a port."""
    return served(TcpSilence(lambda: asyncio.open_connection(host, port)))
