"""Three nodes, of which one is killed: no answer is wrong, misses a run or repeats one."""

from __future__ import annotations

import asyncio
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass
from uuid import uuid4

import pytest

from strongroom.storage import ResourceExhausted, Unavailable
from strongroom.visibility import SearchIndexMismatch, SearchIndexUnavailable
from strongroom.visibility.backends.elasticsearch import ElasticsearchIndex, IndexSettings
from strongroom.visibility.backends.elasticsearch.addresses import check_addresses
from tests.support.elasticsearch_node.cluster import elasticsearch_cluster
from tests.support.search_cell import BASE, SECOND, Cell, new_cell, opened, record
from tests.support.services import or_skip

pytestmark = pytest.mark.integration

STILL = "Customer = 'still'"
PAGES = 2
"""Number of complete lists after a node was killed."""


@dataclass(frozen=True)
class Searched:
    """What a test's cell needs to know of the cluster."""

    url: list[str]
    prefix: str


@pytest.fixture(scope="module")
def three_nodes():
    """The cluster of this file. Each test leaves it with all nodes."""
    with or_skip(elasticsearch_cluster()) as found:
        yield found


@pytest.fixture
def three_addresses(three_nodes):
    """The addresses of all nodes, and a prefix for names."""
    yield Searched(three_nodes.urls, f"three-{uuid4().hex[:8]}-")
    three_nodes.start()


def closed(number):
    """A run that does not change any more. Three of them share a second."""
    return record(number, customer="still", close_time=BASE + number // 3 * SECOND, status="Completed")


async def test_a_killed_node_changes_no_answer(config_path, three_addresses, three_nodes):
    """While runs are written, changed and deleted, and lists are paged: each answer is complete, or an error that says to retry."""
    async with opened(config_path, three_addresses, timeout=20, deadline=60) as strongroom:
        index = strongroom.search_index
        await index.create()
        layout = await index.check()
        assert (layout.shards, layout.replicas) == (3, 1), "the defaults for three nodes"
        await asyncio.to_thread(three_nodes.wait_for, "green")
        cell = await new_cell(strongroom)
        still = [closed(number) for number in range(90)]
        await cell.write(*still)
        await cell.settle()
        expected = sorted((one.run_id for one in still), key=lambda run: run, reverse=True)
        indexing = asyncio.create_task(strongroom.indexer.run())
        moving = asyncio.create_task(_move(cell))
        killed, failed = asyncio.Event(), Counter()
        paging = [
            asyncio.create_task(_page(cell, query, sorted(expected), killed, failed))
            for query in (f"{STILL} ORDER BY Customer", STILL, f"{STILL} ORDER BY StartTime")
        ]
        counting = asyncio.create_task(_count(cell, len(expected), killed, failed))
        await asyncio.sleep(1)
        assert not failed, "no answer fails while all nodes are up"
        await asyncio.to_thread(three_nodes.nodes[1].kill)
        killed.set()
        async with asyncio.timeout(240):
            await asyncio.gather(*paging, counting)
        moving.cancel()
        with suppress(asyncio.CancelledError):
            await moving
        await asyncio.to_thread(three_nodes.start)
        async with asyncio.timeout(120):
            while await strongroom.outbox.waiting():  # noqa: ASYNC110 - there is no notification
                await asyncio.sleep(0.1)
        indexing.cancel()
        with suppress(asyncio.CancelledError):
            await indexing
        found = await strongroom.reconciler().run(repair=False)
        assert (found.drift, found.records) == (0, found.equal), "every document is as its record says"
        assert await cell.count() == found.records


async def _move(cell):
    """Write, change and delete runs until the task is cancelled."""
    number = 10_000
    while True:
        await cell.write(*(record(number + offset, customer="moving") for offset in range(10)))
        await cell.write(*(record(number + offset, customer="moved") for offset in range(5)), version=2)
        await cell.delete(record(number + 9, customer="moving"), 3)
        number += 10
        await asyncio.sleep(0.05)


async def _page(cell, query, expected, killed, failed):
    """Page through a list again and again. Each complete list has each run once."""
    complete = 0
    while complete < PAGES:
        after = killed.is_set()
        try:
            found = await cell.listed(query, page_size=17)
        except Unavailable:
            failed["list"] += 1
            continue
        assert sorted(one.run_id for one in found) == expected
        complete += after


async def _count(cell, expected, killed, failed):
    """Count again and again: by the index, and by opened documents."""
    complete = 0
    while complete < PAGES:
        after = killed.is_set()
        try:
            assert await cell.count(STILL) == expected
            assert (await cell.count(f"{STILL} AND StartTime > '2026-11-01T00:00:00.000000001Z'")) == expected
        except Unavailable:
            failed["count"] += 1
            continue
        complete += after


async def test_answers_of_a_part_of_the_shards_are_refused(config_path, three_addresses, three_nodes):
    """Without replicas a killed node takes a shard with it. Lists and counts fail then, and writes wait, until it is back."""
    async with opened(config_path, three_addresses, timeout=20, deadline=60) as strongroom:
        await strongroom.search_index.create(IndexSettings(shards=3, replicas=0))
        cell = await new_cell(strongroom)
        await cell.write(*(closed(number) for number in range(60)))
        await cell.settle()
        assert await cell.count() == 60
        async with opened(config_path, three_addresses, timeout=2) as impatient:
            impatient.search_index.client.deadline = 0.1
            hasty = Cell(impatient, cell.namespace_id)
            await asyncio.to_thread(three_nodes.nodes[2].kill)
            for _ in range(2):
                for ask in (hasty.count, hasty.listed):
                    with pytest.raises(SearchIndexUnavailable):
                        await ask(STILL)
            await cell.write(*(closed(number) for number in range(60, 90)))
            with pytest.raises((Unavailable, ResourceExhausted)):
                await impatient.indexer.drain()
        assert 0 < await strongroom.outbox.waiting() <= 30
        await asyncio.to_thread(three_nodes.start)
        await cell.settle()
        assert await cell.count() == len(await cell.listed(STILL)) == 90


async def test_addresses_of_two_clusters_are_refused(config_path, three_addresses, elasticsearch):
    """A document would be written to one cluster and searched in the other. One cluster with a dead address is well."""
    async with opened(config_path, three_addresses) as strongroom:
        index = strongroom.search_index
        await index.create()
        with pytest.raises(SearchIndexMismatch, match="different clusters"):
            await _checked([three_addresses.url[0], elasticsearch.url], index.name)
        async with ElasticsearchIndex(elasticsearch.url, name=index.name, insecure=True) as other:
            await other.create()
            with pytest.raises(SearchIndexMismatch, match="address 3"):
                await _checked([*three_addresses.url[:2], elasticsearch.url], index.name)
            await other.drop()
        await _checked([*three_addresses.url, "http://127.0.0.1:1"], index.name)


async def _checked(urls, name):
    async with ElasticsearchIndex(urls, name=name, insecure=True) as index:
        await check_addresses(index.client)
