"""The visibility store of Temporal's server over the bridge, on both search indexes.

The tests are in Go (`temporal/visibility`): Temporal's own suite, the behaviours of its SQL and Elasticsearch stores, and a comparison
with its SQL store by random filters.
"""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager, suppress

import pytest

from strongroom.kms import KekRef
from tests.support.search_cell import opened
from tests.support.serve.running import serving
from tests.support.temporal.go import built_tests, run_tests

CELL_TESTS = "^TestCell"


@pytest.fixture(scope="session")
def visibility_tests():
    """The program of the Go tests."""
    return built_tests("visibility")


async def _check(strongroom, program):
    await strongroom.create_kek(KekRef.parse("local:visibility"))
    async with serving(strongroom) as running:
        environment = {
            "STRONGROOM_SOCKET": str(running.path),
            "STRONGROOM_SHARDS": str(strongroom.config.cell.shard_count),
            "STRONGROOM_KEK": "local:visibility",
        }
        await run_tests(program, environment, "-test.run", CELL_TESTS)


@asynccontextmanager
async def _indexing(strongroom):
    """Copy every change to Elasticsearch, and make it visible at once."""

    async def index():
        while True:
            await strongroom.indexer.drain()
            await strongroom.search_index.refresh()
            await asyncio.sleep(0.02)

    task = asyncio.create_task(index())
    try:
        yield
        assert not task.done(), task.result()
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


async def test_the_visibility_store_on_postgresql(strongroom, visibility_tests):
    """Temporal's suite passes, and answers equal those of Temporal's SQL store."""
    await _check(strongroom, visibility_tests)


async def test_the_visibility_store_on_elasticsearch(config_path, elasticsearch, visibility_tests):
    """The same holds if Elasticsearch answers the searches."""
    async with opened(config_path, elasticsearch) as strongroom:
        await strongroom.search_index.create()
        async with _indexing(strongroom):
            await _check(strongroom, visibility_tests)
