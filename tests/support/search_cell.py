"""A cell whose searches use an index in Elasticsearch, with runs in it."""

from __future__ import annotations

from contextlib import asynccontextmanager
from dataclasses import replace

from strongroom.driver.config import ElasticsearchConfig, load_config
from strongroom.driver.strongroom import Strongroom
from strongroom.kms import KekRef
from strongroom.visibility import AttributeType, VisibilityRecord
from tests.support.faults.http_proxy import http_proxy

SECOND = 10**9
BASE = 1_795_000_000 * SECOND
TYPES = {"Customer": AttributeType.KEYWORD}


def record(number, *, status="Running", close_time=None, customer="c"):
    """Return a record; equal numbers give the same run."""
    return VisibilityRecord(
        workflow_id=f"order/{number:05}",
        run_id=f"run-{number:05}",
        workflow_type="ship",
        execution_status=status,
        task_queue="q",
        start_time=BASE + number,
        execution_time=BASE + number,
        close_time=close_time,
        search_attributes={"Customer": customer},
    )


class Cell:
    """A cell with a search index, and a namespace in it."""

    def __init__(self, strongroom, namespace_id):
        self.strongroom = strongroom
        self.namespace_id = namespace_id
        self.index = strongroom.search_index
        self.visibility = strongroom.visibility

    async def write(self, *records, version=1):
        """Record runs, without waiting for the index."""
        rows = [
            (await self.strongroom.shards.shard_of(self.namespace_id, one.workflow_id), version, one) for one in records
        ]
        await self.visibility.record_workflow_executions(self.namespace_id, rows, TYPES)

    async def delete(self, one, version):
        """Delete a run's record."""
        shard_id = await self.strongroom.shards.shard_of(self.namespace_id, one.workflow_id)
        return await self.visibility.delete_workflow_execution(
            self.namespace_id, shard_id=shard_id, workflow_id=one.workflow_id, run_id=one.run_id, version=version
        )

    async def settle(self):
        """Index all changes, and refresh the index."""
        written = await self.strongroom.indexer.drain()
        assert await self.strongroom.outbox.waiting() == 0
        await self.index.refresh()
        return written

    async def listed(self, query="", page_size=100):
        """Return the runs of all pages of a list."""
        found, token = [], None
        while True:
            page = await self.visibility.list_workflow_executions(
                self.namespace_id, query, TYPES, page_size=page_size, page_token=token
            )
            found += page.executions
            token = page.next_page_token
            if token is None:
                return found

    async def count(self, query=""):
        """Return the number of runs that match."""
        return (await self.visibility.count_workflow_executions(self.namespace_id, query, TYPES)).count


@asynccontextmanager
async def opened(config_path, elasticsearch, **changes):
    """Open a cell whose searches use an index for this test only."""
    cluster = ElasticsearchConfig(
        changes.pop("urls", elasticsearch.url), index=f"{elasticsearch.prefix}visibility", **changes, insecure=True
    )
    config = replace(load_config(config_path), elasticsearch=cluster)
    await Strongroom.init(config)
    async with Strongroom.open(config) as strongroom:
        yield strongroom


async def new_cell(strongroom):
    kek = KekRef.parse("local:first")
    await strongroom.create_kek(kek)
    namespace = await strongroom.namespaces.create("first", kek=kek, search_attributes={"Customer": "Keyword"})
    return Cell(strongroom, namespace.namespace_id)


class Through:
    """A node that is reached at another address."""

    def __init__(self, node, url):
        self._node, self.url = node, url

    def __getattr__(self, name):
        return getattr(self._node, name)


@asynccontextmanager
async def behind_proxy(config_path, elasticsearch):
    """Yield a proxy, and a cell with 20 indexed runs whose cluster is asked through it. Failed requests are not sent again."""
    async with http_proxy(elasticsearch.url) as proxy:
        through = replace(elasticsearch, node=Through(elasticsearch.node, proxy.url))
        async with opened(config_path, through) as strongroom:
            await strongroom.search_index.create()
            cell = await new_cell(strongroom)
            await cell.write(*(record(number) for number in range(20)))
            await cell.settle()
            strongroom.search_index.client.deadline = 0.0
            yield proxy, cell
            proxy.rule = proxy.change = None
