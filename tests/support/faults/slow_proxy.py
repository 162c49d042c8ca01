"""A TCP proxy in front of PostgreSQL with the latency of a distant network, which records the statements that pass."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager, suppress
from urllib.parse import parse_qs, urlsplit, urlunsplit


class SlowProxy:
    """Delays each chunk by half a round trip in each direction. Bandwidth is not limited.

    Attributes:
        sent: The statements that clients have executed.
    """

    def __init__(self, dsn, *, round_trip):
        self._dsn = dsn
        self._delay = round_trip / 2
        self._connections = set()
        self._ends = []
        self.sent = []
        self.dsn = ""

    async def serve(self, reader, writer):
        """Forward one connection."""
        self._connections.add(asyncio.current_task())
        self._ends.append(writer)  # at once, because `aclose` may come while it connects
        parts = urlsplit(self._dsn)
        socket = parse_qs(parts.query).get("host")
        if socket:
            server_reader, server_writer = await asyncio.open_unix_connection(
                f"{socket[0]}/.s.PGSQL.{parts.port or 5432}"
            )
        else:
            server_reader, server_writer = await asyncio.open_connection(parts.hostname, parts.port or 5432)
        self._ends.append(server_writer)
        with suppress(OSError, RuntimeError, asyncio.IncompleteReadError):
            await asyncio.gather(
                self._forward(self._frames(reader), server_writer), self._forward(_chunks(server_reader), writer)
            )
        for end in (writer, server_writer):
            end.close()

    async def _forward(self, pieces, writer):
        """Write each piece half a round trip after it was read, in order."""
        loop = asyncio.get_running_loop()
        queue = asyncio.Queue()

        async def write():
            while (item := await queue.get()) is not None:
                due, piece = item
                await asyncio.sleep(due - loop.time())
                writer.write(piece)
                await writer.drain()
            writer.write_eof()

        writing = asyncio.create_task(write())
        try:
            async for piece in pieces:
                queue.put_nowait((loop.time() + self._delay, piece))
        finally:
            queue.put_nowait(None)
            await writing

    async def _frames(self, reader):
        """Yield the messages of a client, and record the statements. The first message has no type."""
        length = await reader.readexactly(4)
        yield length + await reader.readexactly(int.from_bytes(length) - 4)
        prepared, bound = {}, b""
        while kind := await reader.read(1):
            length = await reader.readexactly(4)
            body = await reader.readexactly(int.from_bytes(length) - 4)
            match kind:
                case b"P":  # Parse
                    name, text, _ = body.split(b"\0", 2)
                    prepared[name] = text
                case b"B":  # Bind
                    bound = prepared[body.split(b"\0", 2)[1]]
                case b"E":  # Execute
                    self.sent.append(bound.decode())
                case b"Q":  # Query
                    self.sent.append(body[:-1].decode())
            yield kind + length + body

    async def aclose(self):
        """Cut all connections."""
        for end in self._ends:
            end.close()
        await asyncio.gather(*self._connections, return_exceptions=True)


async def _chunks(reader):
    while chunk := await reader.read(1 << 16):
        yield chunk


@asynccontextmanager
async def distant(dsn, *, round_trip=0.1):
    """Serve a proxy for a database. Its attribute `dsn` is the connection string through it."""
    proxy = SlowProxy(dsn, round_trip=round_trip)
    server = await asyncio.start_server(proxy.serve, "127.0.0.1", 0)
    parts = urlsplit(dsn)
    user = parts.netloc.rpartition("@")[0]
    port = server.sockets[0].getsockname()[1]
    proxy.dsn = urlunsplit(parts._replace(netloc=f"{user}@127.0.0.1:{port}", query=""))
    try:
        yield proxy
    finally:
        server.close()
        await proxy.aclose()
