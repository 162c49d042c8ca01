"""A cell on a Citus cluster whose searches use an index in Elasticsearch."""

from __future__ import annotations

from dataclasses import replace

import pytest

from strongroom.driver.config import ElasticsearchConfig, load_config
from strongroom.driver.index_rebuild import index_rebuild
from strongroom.visibility.backends.elasticsearch import IndexSettings
from tests.support.citus import distribute
from tests.support.copied_cells import initialised_cell
from tests.support.deaf import opened_deaf
from tests.support.fixtures.driver_role import as_driver
from tests.support.search_cell import TYPES, new_cell, record

pytestmark = pytest.mark.integration

RUNS, REMOVED = 60, 7


@pytest.fixture
async def searched_cell(citus_databases, elasticsearch, tmp_path):
    """A distributed cell that connects as services do, with an index for this test."""
    async with citus_databases.database() as dsn:
        path = await initialised_cell(tmp_path, dsn)
        await distribute(dsn)
        path.write_text(path.read_text().replace("# distributed = true", "distributed = true"))
        cluster = ElasticsearchConfig(elasticsearch.url, index=f"{elasticsearch.prefix}visibility", insecure=True)
        config = replace(load_config(path), dsn=await as_driver(dsn), elasticsearch=cluster)
        async with opened_deaf(config) as strongroom:
            await strongroom.search_index.create(IndexSettings(shards=1))
            yield await new_cell(strongroom)


async def agree(cell, expected):
    """The index has exactly these runs, and does not differ from the records."""
    await cell.settle()
    assert sorted(run.run_id for run in await cell.listed()) == sorted(run.run_id for run in expected)
    assert await cell.count("Customer = 'c'") == sum(run.search_attributes["Customer"] == "c" for run in expected)
    found = await cell.strongroom.reconciler().run(repair=False)
    assert (found.drift, found.equal) == (0, len(expected))


async def test_the_index_follows_changes_builds_and_rotations(searched_cell):
    """Runs of many shards are indexed, changed, deleted, built into a new index, and get new tokens. Nothing differs after a step."""
    cell = searched_cell
    runs = [record(number) for number in range(RUNS)]
    await cell.write(*runs)
    await agree(cell, runs)
    changed = [record(number, customer="changed") for number in range(20)]
    await cell.write(*changed, version=2)
    runs = [*changed, *runs[20:]]
    await agree(cell, runs)
    for run in runs[-5:]:
        await cell.delete(run, 3)
    runs = runs[:-5]
    await agree(cell, runs)
    done = await index_rebuild(cell.strongroom, grace=0.1).run(IndexSettings(shards=2))
    assert done.written >= len(runs)
    await agree(cell, runs)
    await cell.strongroom.index_rotation(wait=0).rotate(cell.namespace_id, TYPES)
    await agree(cell, runs)


async def test_documents_that_are_missing_are_written_again(searched_cell, elasticsearch):
    """A comparison finds each of them, and a repair writes it. The index then agrees with the records."""
    cell = searched_cell
    runs = [record(number) for number in range(RUNS)]
    await cell.write(*runs)
    await agree(cell, runs)
    index, client = cell.index.name, elasticsearch.client
    for hit in client.request("POST", f"/{index}/_search", {"size": REMOVED})["hits"]["hits"]:
        client.request("DELETE", f"/{hit['_index']}/_doc/{hit['_id']}?refresh=true")
    found = await cell.strongroom.reconciler().run(repair=False)
    assert (found.drift, found.equal) == (REMOVED, RUNS - REMOVED)
    await cell.strongroom.reconciler().run()
    await agree(cell, runs)
