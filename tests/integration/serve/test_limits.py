from __future__ import annotations

import asyncio
from contextlib import suppress

import msgspec
import pytest

from strongroom.driver.config import ServeConfig
from strongroom.driver.serve.connection import ConnectionLimits
from tests.support.fixtures.executions import blob
from tests.support.serve.client import (
    ANSWER,
    CALL,
    ERROR,
    HELLO,
    PING,
    PONG,
    CallError,
    Client,
    call_message,
    frame,
    frames,
)
from tests.support.serve.running import serving

pytestmark = pytest.mark.integration


async def test_calls_over_the_limit_are_refused(served_cell, remote_workflow):
    """A connection has a limited number of calls in flight. One more is refused at once, and the others are answered."""
    async with serving(served_cell, ServeConfig(max_in_flight=4)) as running:
        client = await Client.open(running.path)
        answers = [client.start("shards.get_or_create_shard", shard_id=remote_workflow.shard_id)[1] for _ in range(10)]
        outcomes = await asyncio.wait_for(asyncio.gather(*answers, return_exceptions=True), 60)
        assert client.welcome["max_in_flight"] == 4
        assert [isinstance(outcome, bytes) for outcome in outcomes] == [True] * 4 + [False] * 6
        refused = outcomes[-1]
        assert refused.kinds == ["ResourceExhausted", "StorageError", "StrongroomError"]
        assert (refused.retryable, refused.may_have_been_committed) == (True, False)
        assert running.server.counts.refused == 6
        assert running.server.counts.in_flight == 0
        assert await client.call("shards.get_or_create_shard", shard_id=remote_workflow.shard_id)
        await client.aclose()


async def test_a_large_answer_does_not_delay_small_ones(serve_client, remote_workflow):
    """A small answer that is ready while a large one is written arrives first."""
    large = await remote_workflow.create(
        remote_workflow.snapshot(activity_infos={number: blob(4 * 2**20) for number in range(4)})
    )
    arguments = {
        "namespace_id": remote_workflow.namespace_id,
        "workflow_id": remote_workflow.workflow_id,
        "shard_id": remote_workflow.shard_id,
    }
    serve_client.order.clear()
    first, large_answer = serve_client.start("executions.get_workflow_execution", run_id=large.run_id, **arguments)
    small = [serve_client.start("executions.get_current_execution", **arguments) for _ in range(5)]
    await asyncio.wait_for(asyncio.gather(large_answer, *(answer for _, answer in small)), 60)
    assert serve_client.order[-1] == first


async def test_a_large_request_does_not_delay_small_ones(serve_client, remote_workflow):
    """A small call between the parts of a large one is answered before the large one is complete."""
    message = call_message("shards.get_or_create_shard", {"shard_id": 16384, "create": None, "x": bytes(2**20)})
    parts = frames(CALL, 800, message)
    large = serve_client.expect(800)
    serve_client.writer.write(b"".join(parts[:-1]))
    assert await serve_client.call("shards.get_or_create_shard", shard_id=remote_workflow.shard_id)
    assert not large.done()
    serve_client.writer.write(parts[-1])
    with pytest.raises(CallError, match="unknown field `x`"):
        await asyncio.wait_for(large, 60)


async def test_a_client_that_does_not_read_is_not_read(served_cell):
    """A client that sends and never reads fills its own buffers only: the server stops reading from it, and others are served."""
    limits = ConnectionLimits(buffered=2**16, queued=2**17)
    async with serving(served_cell, limits=limits) as running:
        _, writer = await asyncio.open_unix_connection(running.path, limit=2**16)
        writer.write(frame(HELLO, 0, msgspec.msgpack.encode({"protocol": 1})))
        pings = frame(PING, 0, b"") * 10_000
        async with asyncio.timeout(60):
            while writer.transport.get_write_buffer_size() < 2**20:
                writer.write(pings)
                await asyncio.sleep(0)
            assert running.server.counts.queued > 2**17
            other = await Client.open(running.path)
            with pytest.raises(CallError, match="shard 16384 does not exist yet"):
                await other.call("shards.get_or_create_shard", shard_id=16384)
        assert running.server.counts.queued < 2**21
        writer.transport.abort()
        await other.aclose()


@pytest.mark.parametrize(
    "data",
    [
        (2**30).to_bytes(4, "big"),
        frame(CALL, 0, call_message("shards.get_or_create_shard", {"shard_id": 1})),
        frame(ANSWER, 1, b"\xc0"),
        frame(ERROR, 1, b"\xc0"),
        frame(HELLO, 0, msgspec.msgpack.encode({"protocol": 1})),
        frame(PING, 0, b"content"),
        b"\x00\x00\x00\x06\x04\x80\x00\x00\x00\x01",
    ],
)
async def test_one_bad_connection_does_not_affect_others(running, serve_client, remote_workflow, data):
    """A peer that breaks the protocol loses its connection. A call that another one has in flight is answered."""
    bad = await Client.open(running.path)
    _, answer = serve_client.start("shards.get_or_create_shard", shard_id=remote_workflow.shard_id)
    bad.writer.write(data)
    await asyncio.wait_for(bad.closed.wait(), 60)
    assert await asyncio.wait_for(answer, 60)
    await bad.aclose()


async def test_an_id_in_use_is_a_protocol_error(running):
    """Two calls with one id could not be distinguished, so that one would get the other's answer."""
    bad = await Client.open(running.path)
    call = frame(CALL, 7, call_message("shards.get_or_create_shard", {"shard_id": 1}))
    bad.expect(7)
    bad.writer.write(call + call)
    await asyncio.wait_for(bad.closed.wait(), 60)
    await bad.aclose()


@pytest.mark.parametrize(
    "message",
    [
        b"",
        b"\xc1",
        b"\x94",
        b"\xdd\xff\xff\xff\xff",
        b"\x94\xa1x\x00\xa0\xdf\xff\xff\xff\xff",
        b"\x91" * 60_000,
        msgspec.msgpack.encode(["shards.get_or_create_shard", -1, "", {"shard_id": 1}])[:-3],
        msgspec.msgpack.encode(["shards.get_or_create_shard", 2**64 - 1, "", {}]),
        msgspec.msgpack.encode(["shards.get_or_create_shard", -5, "", {"shard_id": 16384}]),
        msgspec.msgpack.encode({"operation": "shards.get_or_create_shard"}),
        msgspec.msgpack.encode([1, 2, 3, 4]),
        msgspec.msgpack.encode(["shards.get_or_create_shard", 0, "", [1]]),
    ],
)
async def test_a_malformed_call_is_answered(serve_client, message):
    """A frame that is well-formed, with content that is not, gets an error, and the connection goes on."""
    answer = serve_client.expect(600)
    serve_client.writer.write(frame(CALL, 600, message))
    with pytest.raises(CallError) as refused:
        await asyncio.wait_for(answer, 60)
    assert refused.value.kinds[0] in ("InvalidPersistenceRequest", "NotFound")
    serve_client.ponged.clear()
    serve_client.writer.write(frame(PING, 0, b""))
    await asyncio.wait_for(serve_client.ponged.wait(), 60)
    assert PONG


async def test_a_broken_connection_ends_its_calls(served_cell, remote_workflow):
    """Calls of a client that is gone are cancelled, so that they take no place."""
    async with serving(served_cell) as running:
        client = await Client.open(running.path)
        for _ in range(20):
            client.start("shards.get_or_create_shard", shard_id=remote_workflow.shard_id)
        client.writer.transport.abort()
        with suppress(ConnectionError):
            await client.aclose()
        async with asyncio.timeout(60):
            while running.server.counts.connections or running.server.counts.in_flight:  # noqa: ASYNC110 - no event for this
                await asyncio.sleep(0.01)
        assert running.server.counts.queued == 0
