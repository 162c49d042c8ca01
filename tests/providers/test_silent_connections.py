"""All kept connections to a KMS die without a sign: one call notices it, and succeeds on a new connection within its deadline."""

from __future__ import annotations

import asyncio
import base64
import json
import re
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from unittest.mock import patch
from urllib.parse import urlsplit

import pytest

from strongroom.kms import KekRef, ResilientProvider, RetryPolicy, Wrapped
from strongroom.kms.providers.aws import client as aws_client
from strongroom.kms.transport.keepalive import IDLE_SECONDS
from strongroom.kms.transport.tls import client_context
from tests.support.faults.tcp_silence import tcp_silence
from tests.support.kms import azure_server, fix_aws
from tests.support.kms.fix_azure import TOKEN, StaticCredential, modules
from tests.support.kms.gcp_kit import gcp_provider, gcp_server
from tests.support.kms.own_ca import make_ca

POLICY = RetryPolicy(deadline=60.0, attempts=3)
KEPT = 8
"""Connections that die together, more than the attempts of a call."""
SECONDS = 4.0
"""Timeout of an answer. The servers share a busy machine with the tests."""
TWICE = 2
ARN = "arn:aws:kms:eu-west-1:123456789012:key/1234abcd-12ab-34cd-56ef-1234567890ab"
SMALLEST_FIREWALL = 240
"""Seconds after which the most impatient of the common load balancers forgets a connection."""


async def answer_decrypt(reader, writer):
    """Answer each request as AWS KMS does. The server of moto keeps no connection open, so it can't be used here."""
    with suppress(asyncio.IncompleteReadError, ConnectionError):
        while True:
            head = await reader.readuntil(b"\r\n\r\n")
            await reader.readexactly(int(re.search(rb"content-length: (\d+)", head, re.IGNORECASE)[1]))
            root = base64.b64encode(bytes(32)).decode()
            body = json.dumps({"KeyId": ARN, "Plaintext": root, "EncryptionAlgorithm": "SYMMETRIC_DEFAULT"}).encode()
            writer.write(
                b"HTTP/1.1 200 OK\r\nContent-Type: application/x-amz-json-1.1\r\nContent-Length: %d\r\n\r\n%b"
                % (len(body), body)
            )
    writer.close()


@asynccontextmanager
async def aws():
    """Yield the AWS KMS provider, a wrapped root, and the silent proxy."""
    server = await asyncio.start_server(answer_decrypt, "127.0.0.1", 0)
    with patch.object(aws_client, "_READ_SECONDS", SECONDS):
        async with tcp_silence(server.sockets[0].getsockname()[1]) as proxy:
            provider = fix_aws.provider_at(f"http://127.0.0.1:{proxy.port}")
            yield provider, Wrapped(KekRef("aws-kms", ARN), "1", b"wrapped"), proxy
            await provider.aclose()
    server.close()


@asynccontextmanager
async def azure():
    """Yield the Key Vault provider and its silent proxy."""
    await azure_server.prepare("RSA-OAEP-256")
    with TemporaryDirectory() as folder:
        ca = make_ca(Path(folder), "localhost")
        server = azure_server.AzureServer(token=TOKEN)
        async with (
            azure_server.served(server, ca.server_context()),
            tcp_silence(urlsplit(server.url).port) as proxy,
        ):
            provider = modules()[1](
                "azure-keyvault",
                f"https://localhost:{proxy.port}",
                credential=StaticCredential(),
                tls=client_context(ca_certs=ca.authority),
                connect_seconds=30.0,
                read_seconds=SECONDS,
            )
            kek = await provider.create_kek("first")
            yield provider, (await provider.generate_data_key(kek, context={})).wrapped, proxy
            await provider.aclose()


@asynccontextmanager
async def gcp():
    """Yield the Cloud KMS provider and its silent proxy."""
    async with gcp_server() as server, tcp_silence(server.port) as proxy:
        provider = gcp_provider(server, endpoint=f"http://127.0.0.1:{proxy.port}", deadline=SECONDS)
        kek = await provider.create_kek("first")
        yield provider, (await provider.generate_data_key(kek, context={})).wrapped, proxy
        await provider.aclose()


@pytest.mark.parametrize("kind", [aws, azure, gcp])
async def test_a_call_on_dead_connections_succeeds_on_a_new_one(kind):
    """It waits for one dead connection at most. Each further dead one would cost it another timeout, and so its deadline."""
    events = Events()
    async with kind() as (inner, wrapped, proxy):
        provider = ResilientProvider(wrapped.kek.provider, inner, policy=POLICY, key_events=events)
        roots = await asyncio.gather(*(provider.unwrap(wrapped, context={}) for _ in range(KEPT)))
        before = proxy.opened
        proxy.silence()
        events.outcomes.clear()
        root = await provider.unwrap(wrapped, context={})
        assert {each.reveal() for each in roots} == {root.reveal()}
        assert len(events.outcomes) == TWICE, "the other dead connections are not tried"
        assert proxy.opened == before + 1


class Events:
    """Records the outcome of each attempt."""

    def __init__(self):
        self.outcomes = []

    async def record(self, event):
        """Record an event."""
        self.outcomes.append(event.outcome)


def test_an_unused_connection_is_closed_before_a_firewall_forgets_it():
    """Firewalls and load balancers forget a connection after four minutes or more."""
    assert IDLE_SECONDS < SMALLEST_FIREWALL / 2
