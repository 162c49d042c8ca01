"""A firewall drops idle connections to a Transit engine without a sign: one call fails in time, and the next one works."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from contextlib import suppress
from unittest.mock import patch

import httpx
import pytest

from strongroom.kms import KmsTimeout
from strongroom.kms.providers.transit import client as transit_client
from strongroom.kms.providers.transit.client import CONNECTIONS, TransitClient

BODY = b'{"sealed": false, "version": "2.0"}'
ANSWER = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%b" % (len(BODY), BODY)

SHORT = 0.5
"""Timeout of a dead connection, in seconds."""


class Network:
    """A server that keeps connections alive, behind something that swallows all bytes of the older ones.

    Attributes:
        opened: The number of connections so far.
        dead_before: The connections with a lower or equal number are dead.
        together: The number of first requests that are answered together.
    """

    def __init__(self):
        self.opened = self.dead_before = 0
        self.together = asyncio.Barrier(CONNECTIONS)

    async def serve(self, reader, writer):
        """Answer the requests of a connection until it is dead."""
        self.opened += 1
        number, is_first = self.opened, True
        with suppress(ConnectionError, asyncio.IncompleteReadError):
            while True:
                await reader.readuntil(b"\r\n\r\n")
                if is_first and number <= CONNECTIONS:
                    await self.together.wait()
                is_first = False
                if number > self.dead_before:
                    writer.write(ANSWER)
                    await writer.drain()
        writer.close()


@pytest.fixture
async def network():
    """The network, with a client whose connections are all open."""
    network = Network()
    server = await asyncio.start_server(network.serve, "127.0.0.1", 0)
    address = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    with patch.multiple(transit_client, CONNECT_SECONDS=60.0, READ_SECONDS=60.0):
        client = TransitClient("vault", address, token=lambda: "s.token", namespace=None, tls=None, insecure=True)
        assert await asyncio.gather(*(client.version() for _ in range(CONNECTIONS))) == ["2.0"] * CONNECTIONS
        assert network.opened == CONNECTIONS
        client._pool.client.timeout = httpx.Timeout(SHORT)  # of the connections that die; new ones get the long timeout
        network.client = client
        yield network
        await client.aclose()
    server.close()


async def test_one_call_notices_that_all_connections_are_dead(network):
    """Otherwise each of the sixteen would cost a call its timeout, and the circuit breaker would open."""
    network.dead_before = network.opened
    with pytest.raises(KmsTimeout):
        await network.client.version()
    for _ in range(3):
        assert await network.client.version() == "2.0"
    assert network.opened == CONNECTIONS + 1, "the new connection is kept"


async def test_calls_at_the_same_time_renew_the_connections_once(network):
    """Calls that wait for dead connections together all fail, typed, and the next ones share new connections."""
    network.dead_before = network.opened
    ended = await asyncio.gather(*(network.client.version() for _ in range(4)), return_exceptions=True)
    assert {type(each) for each in ended} == {KmsTimeout}
    assert await asyncio.gather(*(network.client.version() for _ in range(4))) == ["2.0"] * 4
    assert network.opened <= CONNECTIONS + 4


def test_a_service_waits_one_second_for_a_connection_and_two_for_an_answer():
    """The timeouts are 1 s for a connection and 2 s for an answer. Only the tests use others."""
    script = "from strongroom.kms.providers.transit import client as c; print(c.CONNECT_SECONDS, c.READ_SECONDS)"
    lines = subprocess.run([sys.executable, "-c", script], check=True, capture_output=True, text=True).stdout
    assert lines.split() == ["1.0", "2.0"]
