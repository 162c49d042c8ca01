"""An endpoint of AWS or Azure that sends an answer byte by byte or without an end: the call ends in time and with little memory."""

from __future__ import annotations

import asyncio
import time
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from unittest.mock import patch

import pytest

from strongroom.kms import KekRef, KmsTimeout, KmsUnavailable, ResilientProvider, RetryPolicy, Wrapped
from strongroom.kms.providers.aws import client as aws_client
from strongroom.kms.providers.aws import connections as aws_connections
from strongroom.kms.providers.azure import client as azure_client
from strongroom.kms.transport.tls import client_context
from tests.support.kms import fix_aws
from tests.support.kms.fix_azure import StaticCredential, modules
from tests.support.kms.own_ca import make_ca

ARN = "arn:aws:kms:eu-west-1:123456789012:key/1234abcd-12ab-34cd-56ef-1234567890ab"
HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"
READ_SECONDS = 0.5
GENEROUS = 60.0
sent = [0]


async def dribble(writer):
    """Send a body byte by byte, faster than the timeout of one read."""
    writer.write(HEAD + b"Content-Length: 1000000\r\n\r\n")
    await forever(writer, b" ")


async def dribble_the_head(writer):
    """Send a head byte by byte."""
    writer.write(HEAD)
    await forever(writer, b"X")


async def forever(writer, piece):
    """Send a piece now and then, without an end."""
    while True:
        writer.write(piece)
        await writer.drain()
        await asyncio.sleep(READ_SECONDS / 10)


async def flood(writer):
    """Send without an end, as long as the client takes it."""
    writer.write(HEAD + b"Transfer-Encoding: chunked\r\n\r\n")
    while sent[0] < 2**30:
        writer.write(b"10000\r\n" + bytes(0x10000) + b"\r\n")
        await writer.drain()
        await asyncio.sleep(0)  # drain alone does not let the loop notice the end of a TLS connection
        sent[0] += 0x10000


@asynccontextmanager
async def served(answer, context=None):
    """Yield the port of a server that answers each request so."""

    async def serve(reader, writer):
        with suppress(ConnectionError, asyncio.IncompleteReadError):
            await reader.readuntil(b"\r\n\r\n")
            await answer(writer)
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=context)
    yield server.sockets[0].getsockname()[1]
    server.close()


@asynccontextmanager
async def aws(answer):
    """Yield the AWS KMS provider."""
    async with served(answer) as port:
        with patch.object(aws_client, "_READ_SECONDS", READ_SECONDS):
            provider = fix_aws.provider_at(f"http://127.0.0.1:{port}")
            yield provider, Wrapped(KekRef("aws-kms", ARN), "1", b"wrapped")
            await provider.aclose()


@asynccontextmanager
async def azure(answer):
    """Yield the Key Vault provider."""
    with TemporaryDirectory() as folder:
        ca = make_ca(Path(folder), "localhost")
        async with served(answer, ca.server_context()) as port:
            tls = client_context(ca_certs=ca.authority)
            provider = modules()[1](
                "azure-keyvault",
                f"https://localhost:{port}",
                credential=StaticCredential(),
                tls=tls,
                connect_seconds=30.0,
                read_seconds=30.0,
            )
            yield provider, Wrapped(KekRef("azure-keyvault", "first"), "0" * 32, b"wrapped")
            await provider.aclose()


@pytest.mark.parametrize("answer", [dribble, dribble_the_head])
async def test_a_thread_of_aws_is_free_again(answer):
    """The thread itself ends, without the deadline of the event loop. Sixteen stuck threads would end the use of the KMS."""
    async with aws(answer) as (provider, wrapped):
        began = time.monotonic()
        with pytest.raises(KmsTimeout):
            await provider.unwrap(wrapped, context={})
        assert READ_SECONDS < time.monotonic() - began < GENEROUS


@pytest.mark.parametrize("answer", [dribble, dribble_the_head])
@pytest.mark.parametrize("kind", [aws, azure])
async def test_an_answer_that_does_not_end_ends_the_call(kind, answer):
    """The deadline is for the whole call."""
    async with kind(answer) as (inner, wrapped):
        provider = ResilientProvider(wrapped.kek.provider, inner, policy=RetryPolicy(deadline=3.0))
        began = time.monotonic()
        with pytest.raises(KmsTimeout):
            await provider.unwrap(wrapped, context={})
        assert time.monotonic() - began < GENEROUS


@pytest.mark.parametrize(
    ("kind", "most"), [(aws, aws_connections.MAX_ANSWER), (azure, azure_client.MAX_ANSWER)], ids=["aws", "azure"]
)
async def test_a_flood_is_cut_off(kind, most):
    """No more than the largest answer is kept, and the connection is closed."""
    sent[0] = 0
    async with kind(flood) as (provider, wrapped):
        with pytest.raises(KmsUnavailable):
            await provider.unwrap(wrapped, context={})
    assert sent[0] < 20 * most, "what the sockets of both sides hold comes on top"
