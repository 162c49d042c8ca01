from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from contextlib import suppress

import msgspec
import pytest

from strongroom.driver.config import ConfigError, ServeConfig
from strongroom.driver.serve.connection import ConnectionLimits
from tests.support.serve.client import CALL, HELLO, CallError, Client, call_message, frame
from tests.support.serve.running import serving

pytestmark = pytest.mark.integration

NOBODY = 65_534
AS_ANOTHER_USER = """
import os, socket, struct, sys
os.setuid(int(sys.argv[2]))
connected = socket.socket(socket.AF_UNIX)
connected.connect(sys.argv[1])
connected.sendall(bytes.fromhex(sys.argv[3]))
answer = connected.makefile("rb")
length, kind, _, _ = struct.unpack(">IBBI", answer.read(10))
print(kind, answer.read(length - 6).hex())
"""


async def test_a_client_is_welcomed(served_cell, running):
    """WELCOME has what the client compares and what it needs to route calls."""
    client = await Client.open(running.path, history_shards=served_cell.config.cell.shard_count)
    assert client.welcome == {
        "protocol": 1,
        "product": "0.1.0",
        "schema": 1,
        "cell_id": served_cell.config.cell.cell_id.bytes,
        "shard_count": 16384,
        "worker": 0,
        "workers": 1,
        "max_in_flight": 256,
    }
    await client.aclose()


async def test_a_client_that_does_not_know_the_shards_is_welcomed(running):
    """A visibility store has no numHistoryShards, and takes the number from WELCOME."""
    client = await Client.open(running.path, history_shards=0)
    assert client.welcome["shard_count"] == 16384
    await client.aclose()


@pytest.mark.parametrize("shards", [1, 512, 16383, 16385, -1])
async def test_another_number_of_shards_is_refused(running, shards):
    """With another number, runs would be looked up in other shards than they were written to. The message has both numbers."""
    with pytest.raises(CallError, match=rf"numHistoryShards {shards} .* 16384 shards") as refused:
        await Client.open(running.path, history_shards=shards)
    assert refused.value.kinds == ["ShardCountMismatch"]


@pytest.mark.parametrize("protocol", [0, 2, -1])
async def test_another_version_of_the_protocol_is_refused(running, protocol):
    """The message has both versions."""
    with pytest.raises(CallError, match=rf"version {protocol} of the protocol and the server version 1") as refused:
        await Client.open(running.path, protocol=protocol)
    assert refused.value.kinds == ["ProtocolMismatch"]


@pytest.mark.parametrize(
    "data",
    [
        b"GET / HTTP/1.1\r\nHost: strongroom\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        (2**30).to_bytes(4, "big") + bytes(100),
        frame(HELLO, 0, b"\xc1"),
        frame(HELLO, 0, b""),
        frame(HELLO, 0, b"\xdd\xff\xff\xff\xff"),
        frame(HELLO, 0, b"\x91" * 60_000),
        frame(HELLO, 0, msgspec.msgpack.encode({"protocol": "one"})),
        frame(CALL, 1, call_message("shards.get_or_create_shard", {"shard_id": 1})),
        frame(99, 0, b""),
    ],
)
async def test_a_first_message_that_is_no_hello_ends_the_connection(running, serve_client, data):
    """The connection is closed without an answer, it is counted, and other connections go on."""
    errors = running.server.counts.protocol_errors
    reader, writer = await asyncio.open_unix_connection(running.path)
    writer.write(data)
    async with asyncio.timeout(60):
        with suppress(ConnectionResetError):
            assert await reader.read() == b""
    writer.close()
    assert running.server.counts.protocol_errors == errors + 1
    await _works(serve_client)


async def test_a_silent_connection_is_closed(served_cell):
    """A connection without a HELLO does not stay."""
    async with serving(served_cell, limits=ConnectionLimits(handshake=0.1)) as running:
        reader, writer = await asyncio.open_unix_connection(running.path)
        async with asyncio.timeout(60):
            assert await reader.read() == b""
        writer.close()


async def test_a_welcomed_connection_may_be_silent(served_cell):
    """The time limit is for the handshake only."""
    async with serving(served_cell, limits=ConnectionLimits(handshake=60.0)) as running:
        client = await Client.open(running.path)
        (connection,) = running.server._connections
        assert connection._handshake.cancelled()
        await _works(client)
        await client.aclose()


async def test_more_connections_than_the_limit_are_refused(served_cell):
    """A connection over the limit gets the reason, and has a place when another one ends."""
    async with serving(served_cell, limits=ConnectionLimits(connections=2)) as running:
        first, second = await Client.open(running.path), await Client.open(running.path)
        with pytest.raises(CallError, match="2 connections") as refused:
            await Client.open(running.path)
        assert refused.value.kinds == ["TooManyConnections"]
        await first.aclose()
        async with asyncio.timeout(60):
            while running.server.counts.connections > 1:  # noqa: ASYNC110 - the server has no event for this
                await asyncio.sleep(0.01)
        third = await Client.open(running.path)
        await asyncio.gather(_works(second), _works(third))
        await asyncio.gather(second.aclose(), third.aclose())


@pytest.mark.skipif(os.getuid() != 0, reason="only root can start a process of another user")
async def test_a_peer_of_another_user_is_refused(running):
    """The user is the one that the kernel recorded, so a client can't claim another one. The message has the number."""
    answer = await _as_another_user(running.path)
    assert answer == {
        "kind": "PeerNotAllowed",
        "message": f"user id {NOBODY} may not call this server; run the Temporal server as the server's user, or add the user to "
        "[serve] users",
    }


@pytest.mark.skipif(os.getuid() != 0, reason="only root can start a process of another user")
@pytest.mark.parametrize("user", ["nobody", str(NOBODY)])
async def test_a_user_of_the_configuration_is_welcomed(served_cell, user):
    """A user can be named, or given by number."""
    async with serving(served_cell, ServeConfig(users=frozenset({user}))) as running:
        answer = await _as_another_user(running.path)
    assert answer["shard_count"] == 16384


async def test_an_unknown_user_in_the_configuration_is_refused(served_cell):
    """A misspelt user does not silently stay out."""
    with pytest.raises(ConfigError, match="no user no-such-user"):
        async with serving(served_cell, ServeConfig(users=frozenset({"no-such-user"}))):
            pass


async def _as_another_user(path):
    """Shake hands in a process of the user nobody, and return the answer."""
    hello = frame(HELLO, 0, msgspec.msgpack.encode({"protocol": 1}))
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-I", "-c", AS_ANOTHER_USER, str(path), str(NOBODY), hello.hex(), stdout=subprocess.PIPE
    )
    async with asyncio.timeout(60):
        output, _ = await process.communicate()
    _, message = output.decode().split()
    return msgspec.msgpack.decode(bytes.fromhex(message))


async def _works(client):
    """Make a call."""
    with pytest.raises(CallError) as answered:
        await client.call("shards.get_or_create_shard", shard_id=16384)
    assert answered.value.kinds[0] == "NotFound"
