"""A snapshot of the index, as docs/how-to/elasticsearch.md describes it: restored, noticed as older, and brought up to date."""

from __future__ import annotations

import pytest

from strongroom.driver.index_status import read_index_status
from strongroom.storage.visibility_rows.builds import IndexBuilds
from strongroom.storage.visibility_rows.marks import IndexMarks
from tests.support.elasticsearch_node.node import ExternalNode
from tests.support.search_cell import new_cell, opened, record

pytestmark = pytest.mark.integration


async def test_a_restored_snapshot_is_noticed_and_brought_up_to_date(config_path, elasticsearch):
    """Runs that were written, changed or deleted after the snapshot are right again after `index reconcile`."""
    if isinstance(elasticsearch.node, ExternalNode):
        pytest.skip("a node that the tests did not start has no folder for snapshots")
    client, repository = elasticsearch.client, f"/_snapshot/{elasticsearch.prefix}backup"
    client.request("PUT", repository, {"type": "fs", "settings": {"location": elasticsearch.prefix}})
    async with opened(config_path, elasticsearch) as strongroom:
        index, database = strongroom.search_index, strongroom.database
        await index.create()
        cell = await new_cell(strongroom)
        await cell.write(*(record(number) for number in range(30)))
        await cell.settle()
        whole = {"include_global_state": False}
        client.request("PUT", f"{repository}/1?wait_for_completion=true", {"indices": index.name, **whole})
        await cell.write(*(record(number, customer="after") for number in range(25, 40)), version=2)
        await cell.delete(record(3), 9)
        await cell.settle()

        async def said():
            status = await read_index_status(index, strongroom.outbox, IndexMarks(database), IndexBuilds(database))
            return status.restored

        assert await said() is None
        name = (await index.check()).index
        client.request("DELETE", f"/{name}")
        only = {"indices": f"{index.name}-v1-*", "include_aliases": True, **whole}
        client.request("POST", f"{repository}/1/_restore?wait_for_completion=true", only)
        assert (await index.check()).index == name
        assert (await said()).startswith("the search index is older than the database")
        found = await strongroom.reconciler().run()
        assert (found.left, found.drift) == (0, 16), "15 runs of later versions, and the deleted one"
        assert await said() is None
        assert await cell.count() == len(await cell.listed()) == 39
        assert await cell.count("Customer = 'after'") == 15
        await cell.write(record(50, customer="after"))
        await cell.settle()
        assert await cell.count("Customer = 'after'") == 16
    client.request("DELETE", f"{repository}/1")
    client.request("DELETE", repository)
