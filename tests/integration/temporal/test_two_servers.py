"""Two Temporal servers on one cell, each with its own `strongroom serve`: a rolling restart under load loses nothing."""

from __future__ import annotations

import asyncio
import logging
import re
from contextlib import ExitStack
from dataclasses import replace

import httpx
import pytest

from examples.temporal.chaos_load import Load, check
from examples.temporal.run import scene
from examples.temporal.scene import until
from examples.temporal.sealed import sealed_cell
from examples.temporal.server import TemporalServer

SHARDS = 16
"""So many that the ring gives some to each of two servers."""


@pytest.fixture
def two_servers(temporal_binary, tmp_path):
    """Yield the cell twice, with the process that serves it for each server, and the servers."""
    with ExitStack() as stack:
        first = sealed_cell(stack, tmp_path / "cell", shards=SHARDS, workers=2)
        second = replace(first, name="second")
        stack.callback(second.stop)
        servers = []
        for number, cell in enumerate((first, second)):
            cell.serve()
            server = TemporalServer(temporal_binary, tmp_path, cell.datastores(), name=f"server-{number}")
            stack.callback(server.stop)
            server.start()
            servers.append((cell, server))
        yield servers


def owned(server):
    """Return how many shards a server owns, by its metrics."""
    found = re.findall(r"^numshards_gauge\S* (\S+)$", httpx.get(server.metrics).text, re.MULTILINE)
    return int(sum(map(float, found)))


async def own(numbers, *servers):
    """Wait until the servers own the shards in a way."""

    async def is_so() -> bool:
        return numbers(*[await asyncio.to_thread(owned, server) for server in servers])

    await until(is_so, "the distribution of the shards")


def divided(*numbers):
    """Return whether each server owns some of the shards, and together they own all."""
    return sum(numbers) == SHARDS and all(numbers)


async def test_a_rolling_restart_loses_nothing(two_servers, caplog):
    """Each server and each `serve` is restarted while workflows run. All end as without, and the list equals the truth.

    Each server owns shards before and after. The control: one server alone owns all of them.
    """
    caplog.set_level(logging.CRITICAL)
    (first, one), (second, two) = two_servers
    await own(divided, one, two)
    load = Load(least=16, at_once=8)
    async with scene(one.address, "rolling", "rolling", config=first.config) as the_scene:
        running = asyncio.create_task(load.run(the_scene))
        for stop, start in (
            (two.stop, two.start),
            (second.stop, second.serve),
            (one.stop, one.start),
            (first.stop, first.serve),
        ):
            await asyncio.to_thread(stop)
            await asyncio.to_thread(start)
            enough = len(load.results) + 3

            async def went_on(enough=enough):
                return len(load.results) >= enough

            await until(went_on, "the end of three more workflows")
            # A server that starts listens before it is ready, and ends if its `serve` is then stopped.
            await own(divided, one, two)
        load.enough.set()
        await running
        assert len(load.expected) >= load.least
        assert await check(the_scene, load) == []
        load.results.popitem()
        assert len(await check(the_scene, load)) == 1
        await own(divided, one, two)
        await asyncio.to_thread(two.stop)
        await own(lambda number: number == SHARDS, one)
