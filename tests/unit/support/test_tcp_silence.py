from __future__ import annotations

import asyncio

from tests.support.faults.tcp_silence import TcpSilence, served

PATIENCE = 60


async def test_a_connection_that_is_being_made_ends_too():
    """If a proxy is closed while it connects to the server, both ends of the connection are closed."""
    connecting, released = asyncio.Event(), asyncio.Event()
    accepted = asyncio.Queue()
    server = await asyncio.start_server(lambda *ends: accepted.put_nowait(ends), "127.0.0.1", 0)

    async def connect():
        connecting.set()
        await released.wait()
        return await asyncio.open_connection(*server.sockets[0].getsockname())

    async with asyncio.timeout(PATIENCE):
        async with served(TcpSilence(connect)) as proxy:
            reader, writer = await asyncio.open_connection("127.0.0.1", proxy.port)
            await connecting.wait()
            asyncio.get_running_loop().call_soon(released.set)
        reached, back = await accepted.get()
        assert await reached.read() == b""
        back.close()
        await asyncio.gather(reader.read(), return_exceptions=True)  # the end, or a reset
        writer.close()
        server.close()
