"""Kept connections to a search index die without a sign, and answers without an end: one request notices it, with little memory."""

from __future__ import annotations

import asyncio
import json
import re
from contextlib import asynccontextmanager, suppress
from unittest.mock import patch

import pytest

from strongroom.visibility.backends.elasticsearch import node
from strongroom.visibility.backends.elasticsearch.client import SYSTEM_CERTIFICATES, ElasticsearchClient
from strongroom.visibility.errors import SearchIndexTimeout, SearchIndexUnavailable
from tests.support.faults.tcp_silence import tcp_silence

KEPT = 8
"""Connections that die together."""
HEAD = b"HTTP/1.1 200 OK\r\nX-Elastic-Product: Elasticsearch\r\nContent-Type: application/json\r\n"


async def answer(writer):
    """Answer a request."""
    body = json.dumps({"count": 1}).encode()
    writer.write(HEAD + b"Content-Length: %d\r\n\r\n%b" % (len(body), body))
    await writer.drain()


async def dribble(writer):
    """Send a body byte by byte."""
    writer.write(HEAD + b"Content-Length: 1000000\r\n\r\n")
    while True:
        writer.write(b" ")
        await writer.drain()
        await asyncio.sleep(0.05)


async def flood(writer):
    """Send without an end."""
    writer.write(HEAD + b"Transfer-Encoding: chunked\r\n\r\n")
    while True:
        writer.write(b"10000\r\n" + bytes(0x10000) + b"\r\n")
        await writer.drain()


@asynccontextmanager
async def client_of(respond, **limits):
    """Yield a client, and the silent proxy in front of a server that answers so."""

    async def serve(reader, writer):
        with suppress(ConnectionError, asyncio.IncompleteReadError):
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                length = re.search(rb"content-length: (\d+)", head, re.IGNORECASE)
                await reader.readexactly(int(length[1]) if length else 0)
                await respond(writer)
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with tcp_silence(server.sockets[0].getsockname()[1]) as proxy:
        client = ElasticsearchClient(
            [f"http://127.0.0.1:{proxy.port}"],
            name="runs",
            api_key=None,
            tls=SYSTEM_CERTIFICATES,
            insecure=True,
            **limits,
        )
        yield client, proxy
        await client.aclose()
    server.close()


def count(client):
    """Send a small request."""
    return client.send(lambda api: api.count(index="runs"), lambda body: body["count"])


async def test_a_request_on_dead_connections_succeeds_on_a_new_one():
    """It waits for one dead connection at most, and is sent again within its deadline."""
    async with client_of(answer, timeout=4.0, deadline=60.0) as (client, proxy):
        await asyncio.gather(*(count(client) for _ in range(KEPT)))
        before = proxy.opened
        proxy.silence()
        assert await count(client) == 1
        assert len(proxy.swallowed) == 1, "the others are not tried"
        assert proxy.opened == before + 1


async def test_an_answer_that_does_not_end_ends_the_request():
    """The timeout is for the whole answer."""
    async with client_of(dribble, timeout=0.5, deadline=0.5) as (client, _):
        with pytest.raises(SearchIndexTimeout):
            async with asyncio.timeout(60):
                await count(client)


async def test_a_flood_is_cut_off():
    """No more than the largest answer is kept."""
    with patch.object(node, "MAX_ANSWER", 2**20):
        async with client_of(flood, timeout=60.0, deadline=0.0) as (client, _):
            with pytest.raises(SearchIndexUnavailable):
                await count(client)
