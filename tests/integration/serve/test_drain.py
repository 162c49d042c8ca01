from __future__ import annotations

import asyncio
import os
import signal
from contextlib import asynccontextmanager

import asyncpg
import pytest

from strongroom.driver.config import load_config
from tests.support.serve.bench import SECONDS, wait_until
from tests.support.serve.client import CallError, Client

pytestmark = pytest.mark.integration

HEALTH = 'health = "127.0.0.1:0"\n'


@asynccontextmanager
async def locked_shards(bench):
    """Hold a lock, so that calls on shards wait."""
    connection = await asyncpg.connect(load_config(bench.folder / "strongroom.toml").dsn)
    try:
        async with connection.transaction():
            await connection.execute("LOCK TABLE strongroom.shards IN ACCESS EXCLUSIVE MODE")
            yield
    finally:
        await connection.close()


async def calling(server):
    """Return a client, and the future of a call that waits for the lock."""
    client = await Client.open(server.socket)
    _, answer = client.start("shards.get_or_create_shard", shard_id=1, create=None)
    await asyncio.to_thread(wait_until, lambda: server.health()[1]["workers"][0]["in_flight"] == 1, "no call in flight")
    return client, answer


async def ended(future):
    """Wait for an answer, and return its error."""
    async with asyncio.timeout(SECONDS):
        with pytest.raises(CallError) as caught:
            await future
    return caught.value


async def test_calls_in_flight_are_answered_after_sigterm(serve_bench):
    """SIGTERM: the client gets GOAWAY, then the answers of its calls, and only then the server ends, with 0."""
    with serve_bench.server("drained", HEALTH) as server:
        async with locked_shards(serve_bench):
            client, answer = await calling(server)
            server.process.send_signal(signal.SIGTERM)
            async with asyncio.timeout(SECONDS):
                await client.goaway.wait()
            assert not answer.done()
            assert server.process.poll() is None
            with pytest.raises(FileNotFoundError):
                server.connect()
        assert (await ended(answer)).kinds[0] == "NotFound"  # the store's own answer: the shard does not exist
        assert await asyncio.to_thread(server.ended) == 0
        await client.aclose()


async def test_the_drain_has_an_end(serve_bench):
    """A call that does not end within the drain time is given up, and the server ends with 0."""
    with serve_bench.server("bounded", f"{HEALTH}drain_seconds = 0.5\n") as server:
        async with locked_shards(serve_bench):
            client, answer = await calling(server)
            server.process.send_signal(signal.SIGTERM)
            assert await asyncio.to_thread(server.ended) == 0
            error = await ended(answer)
            assert error.kinds[0] == "Timeout"
            assert error.may_have_been_committed
        await client.aclose()


async def test_one_worker_is_renewed_by_sigterm(serve_bench, shared_server):
    """SIGTERM to a worker: it answers its calls and ends, and the next one accepts on the same socket. No crash is logged."""
    first = shared_server.workers()[0]
    async with locked_shards(serve_bench):
        client, answer = await calling(shared_server)
        os.kill(first, signal.SIGTERM)
        async with asyncio.timeout(SECONDS):
            await client.goaway.wait()
    assert (await ended(answer)).kinds[0] == "NotFound"
    await client.aclose()
    again = await Client.open(shared_server.socket, history_shards=serve_bench.shards)
    assert shared_server.workers()[0] != first
    assert again.welcome["shard_count"] == serve_bench.shards
    await again.aclose()
    with pytest.raises(CallError, match=r"numHistoryShards 512 and the cell has 4 shards"):
        await Client.open(shared_server.socket, history_shards=512)
    assert "worker 0 ended in order; it is started again" in shared_server.text
    assert "worker 0 ended: " not in shared_server.text
