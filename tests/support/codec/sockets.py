"""The codec server's HTTP in the test's own process, reached through real sockets."""

from __future__ import annotations

import asyncio
import socket
from contextlib import asynccontextmanager, suppress

from strongroom.driver.codec.connections import Connections, Deadlines
from strongroom.driver.codec.listener import http_server

LONG = 60
"""Seconds that are only reached if a test fails."""
NEVER = 10 * LONG
PATIENT = Deadlines(head=NEVER, body=NEVER, answer=NEVER, idle=NEVER, closing=NEVER, total=NEVER)


async def echo(scope, receive, send):
    """Answer with the body of the request."""
    assert scope["type"] == "http"
    body = b""
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            return
        body += message["body"]
        if not message["more_body"]:
            break
    headers = [(b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": body})


@asynccontextmanager
async def running(app=echo, *, deadlines=PATIENT, connections=None, context=None):
    """Run a server; yield its port and its register of connections."""
    connections = Connections() if connections is None else connections
    listening = socket.create_server(("127.0.0.1", 0))
    server = http_server(app, context, deadlines=deadlines, connections=connections)
    serving = asyncio.create_task(server.serve(sockets=[listening]))
    await condition(lambda: server.started)
    try:
        yield listening.getsockname()[1], connections
    finally:
        server.should_exit = server.force_exit = True
        await serving


@asynccontextmanager
async def connected(port):
    """Open a connection; yield its reader and writer."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        yield reader, writer
    finally:
        writer.close()
        with suppress(OSError):
            await writer.wait_closed()


async def condition(holds):
    """Wait until a condition holds."""
    async with asyncio.timeout(LONG):
        while not holds():  # noqa: ASYNC110 - the conditions are of uvicorn's and of the register
            await asyncio.sleep(0.01)


async def until_closed(reader):
    """Return all that the server sends until it ends the connection."""
    received = b""
    with suppress(ConnectionResetError):
        while part := await asyncio.wait_for(reader.read(65536), LONG):
            received += part
    return received


async def answered(reader):
    """Read one answer, and return its status and body."""
    head = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), LONG)
    length = int(head.lower().split(b"content-length: ")[1].split(b"\r\n")[0])
    return int(head.split(b" ")[1]), await asyncio.wait_for(reader.readexactly(length), LONG)


async def dribble(writer, content=b"a"):
    """Send bytes one after the other until the server ends the connection or the test does; return the number sent."""
    count = 0
    with suppress(OSError):
        while not writer.is_closing():
            writer.write(content)
            await writer.drain()
            count += 1
            await asyncio.sleep(0.01)
    return count
