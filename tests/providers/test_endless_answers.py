"""A server that sends an answer byte by byte, without an end or compressed: each call ends in time and with little memory."""

from __future__ import annotations

import asyncio
import gzip
import time
from contextlib import asynccontextmanager, suppress
from unittest.mock import patch

import pytest

from strongroom.kms import KekRef, KmsTimeout, KmsUnavailable, ResilientProvider, RetryPolicy, Wrapped
from strongroom.kms.providers.transit import TransitProvider
from strongroom.kms.providers.transit import client as transit_client
from strongroom.kms.providers.transit.client import MAX_ANSWER

HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"
KEK = KekRef("vault", "payments")
WRAPPED = Wrapped(KEK, "1", b"vault:v1:AAAA")
DEADLINE = 3.0
PAUSE = 0.2
GENEROUS = 60.0


async def dribble(writer):
    """Send a byte now and then, more often than the timeout of one read."""
    writer.write(HEAD + b"Content-Length: 1000000\r\n\r\n")
    while True:
        writer.write(b" ")
        await writer.drain()
        await asyncio.sleep(PAUSE)


async def dribble_the_head(writer):
    """Send the head of an answer byte by byte, without an end."""
    writer.write(HEAD)
    while True:
        writer.write(b"X")
        await writer.drain()
        await asyncio.sleep(PAUSE)


async def flood(writer):
    """Send without an end."""
    writer.write(HEAD + b"Transfer-Encoding: chunked\r\n\r\n")
    while True:
        writer.write(b"10000\r\n" + bytes(0x10000) + b"\r\n")
        await writer.drain()
        sent[0] += 0x10000


async def compress(writer):
    """Send an answer that is a thousand times as large as its bytes."""
    body = gzip.compress(bytes(2**26))
    writer.write(HEAD + b"Content-Encoding: gzip\r\nContent-Length: %d\r\n\r\n" % len(body) + body)
    await writer.drain()


sent = [0]


@asynccontextmanager
async def endless(answer):
    """Yield a provider of a server that answers each request so."""

    async def serve(reader, writer):
        with suppress(ConnectionError, asyncio.IncompleteReadError):
            await reader.readuntil(b"\r\n\r\n")
            await answer(writer)
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    with patch.multiple(transit_client, CONNECT_SECONDS=GENEROUS, READ_SECONDS=GENEROUS):
        transit = TransitProvider("vault", f"http://127.0.0.1:{port}", token=lambda: "s.token", insecure=True)
    try:
        yield ResilientProvider("vault", transit, policy=RetryPolicy(deadline=DEADLINE))
    finally:
        await transit.aclose()
        server.close()


@pytest.mark.parametrize("answer", [dribble, dribble_the_head])
async def test_an_answer_that_does_not_end_ends_the_call(answer):
    """The deadline is for the whole call. The timeout of a read begins again with each byte."""
    async with endless(answer) as provider:
        began = time.monotonic()
        with pytest.raises(KmsTimeout):
            await provider.unwrap(WRAPPED, context={})
        assert DEADLINE / 2 < time.monotonic() - began < GENEROUS


async def test_a_flood_is_cut_off():
    """No more than the largest answer is kept, and the connection is closed."""
    sent[0] = 0
    async with endless(flood) as provider:
        with pytest.raises(KmsUnavailable, match=f"more than {MAX_ANSWER} bytes"):
            await provider.inner.unwrap(WRAPPED, context={})
    assert sent[0] < 10 * MAX_ANSWER, "what the sockets of both sides hold comes on top"


async def test_a_compressed_answer_is_not_opened():
    """No request asks for one, and a small one can be of any size."""
    async with endless(compress) as provider:
        with pytest.raises(KmsUnavailable, match="compressed"):
            await provider.inner.unwrap(WRAPPED, context={})
