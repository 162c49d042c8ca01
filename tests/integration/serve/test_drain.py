from __future__ import annotations

import asyncio
import os
import signal
from contextlib import asynccontextmanager

import pytest

from strongroom.driver.config import load_config
from tests.support.faults.cell_behind_proxy import proxied_database
from tests.support.serve.bench import SECONDS, wait_until
from tests.support.serve.client import CallError, Client

pytestmark = pytest.mark.integration

HEALTH = 'health = "127.0.0.1:0"\n'


@asynccontextmanager
async def behind_proxy(bench, name, section):
    """Start a server of the cell whose database is behind a proxy. Yield the server and the proxy."""
    async with proxied_database(load_config(bench.folder / "strongroom.toml").dsn) as (proxy, dsn):
        running = bench.server(name, section, environment={"STRONGROOM_DSN": dsn})
        server = await asyncio.to_thread(running.__enter__)  # the proxy runs in the event loop of this test
        try:
            yield server, proxy
        finally:
            proxy.release()
            await asyncio.to_thread(running.__exit__, None, None, None)


async def calling(server, proxy):
    """Return a client, and the future of a call that waits for an answer of the database."""
    proxy.held = b"FROM shards WHERE shard_id"
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
    async with behind_proxy(serve_bench, "drained", HEALTH) as (server, proxy):
        client, answer = await calling(server, proxy)
        server.process.send_signal(signal.SIGTERM)
        async with asyncio.timeout(SECONDS):
            await client.goaway.wait()
        assert not answer.done()
        assert server.process.poll() is None
        with pytest.raises(FileNotFoundError):
            server.connect()
        proxy.release()
        assert (await ended(answer)).kinds[0] == "NotFound"  # the store's own answer: the shard does not exist
        assert await asyncio.to_thread(server.ended) == 0
        await client.aclose()


async def test_the_drain_has_an_end(serve_bench):
    """A call that does not end within the drain time is given up, and the server ends with 0."""
    async with behind_proxy(serve_bench, "bounded", f"{HEALTH}drain_seconds = 0.5\n") as (server, proxy):
        client, answer = await calling(server, proxy)
        server.process.send_signal(signal.SIGTERM)
        assert await asyncio.to_thread(server.ended) == 0
        error = await ended(answer)
        assert error.kinds[0] == "Timeout"
        assert error.may_have_been_committed
        await client.aclose()


async def test_one_worker_is_renewed_by_sigterm(serve_bench):
    """SIGTERM to a worker: it answers its calls and ends, and the next one accepts on the same socket. No crash is logged."""
    async with behind_proxy(serve_bench, "renewed", f"{HEALTH}workers = 2\n") as (server, proxy):
        (first, _) = await asyncio.to_thread(server.workers)
        client, answer = await calling(server, proxy)
        os.kill(first, signal.SIGTERM)
        async with asyncio.timeout(SECONDS):
            await client.goaway.wait()
        proxy.release()
        assert (await ended(answer)).kinds[0] == "NotFound"
        await client.aclose()
        again = await Client.open(server.socket, history_shards=serve_bench.shards)
        assert (await asyncio.to_thread(server.workers))[0] != first
        assert again.welcome["shard_count"] == serve_bench.shards
        await again.aclose()
        with pytest.raises(CallError, match=r"numHistoryShards 512 and the cell has 4 shards"):
            await Client.open(server.socket, history_shards=512)
        assert "worker 0 ended in order; it is started again" in server.text
        assert "worker 0 ended: " not in server.text
