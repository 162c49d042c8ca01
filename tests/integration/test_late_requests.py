"""Requests that reach the cluster long after they were sent: no deleted run comes back, and no living run goes."""

from __future__ import annotations

import asyncio
from datetime import timedelta

import orjson
import pytest

from strongroom.storage import EVERY_NAMESPACE
from strongroom.visibility import Indexer
from tests.support.search_cell import record

pytestmark = pytest.mark.integration


def bulks(proxy, kind):
    """Return the bulk requests that a proxy saw, and that have an action of a kind."""
    return [asked for asked in proxy.seen if "_bulk" in asked.path and f'"{kind}"'.encode() in asked.body]


def without_tombstones(cell, client):
    """Make the cluster forget deletions at once, as it does by itself after 60 s or when a node starts."""
    client.request("PUT", f"/{cell.index.name}/_settings", {"index.gc_deletes": "1ms"})
    client.request("POST", f"/{cell.index.name}/_refresh")


def send_late(client, asked):
    """Execute a request that was held up."""
    return client.request("POST", asked.path, [orjson.loads(line) for line in asked.body.splitlines()])


async def test_a_bulk_that_was_held_up_brings_no_deleted_run_back(proxied_cell, elasticsearch):
    """Also after the cluster has forgotten its deletions, for as long as the database remembers them."""
    proxy, cell = proxied_cell
    proxy.seen.clear()
    await cell.write(record(1, customer="late"), version=2)
    await cell.settle()
    (late,) = bulks(proxy, "index")
    assert await cell.delete(record(1), 2)
    await cell.settle()
    assert await cell.count() == len(await cell.listed()) == 19
    assert await cell.index.count() == 19, "the mark of the deletion is not a document of a run"
    without_tombstones(cell, elasticsearch.client)
    for _ in range(2):
        answered = send_late(elasticsearch.client, late)
        await cell.index.refresh()
        assert await cell.count() == len(await cell.listed()) == await cell.index.count() == 19, answered
    found = await cell.strongroom.reconciler().run()
    assert (found.drift, found.equal) == (0, 19)
    (deletion,) = await cell.strongroom.outbox.old_deletes(older_than=timedelta(0), runs=10)
    await cell.index.forget([(deletion.key, deletion.version)])
    async with asyncio.timeout(
        60
    ):  # control: without the mark the late request brings it back once the cluster forgot the deletion
        while await cell.index.count() != 20:
            without_tombstones(cell, elasticsearch.client)
            send_late(elasticsearch.client, late)
            await cell.index.refresh()
    await cell.write(record(1, customer="again"), version=3)
    await cell.settle()
    assert [one.workflow_id for one in await cell.listed("Customer = 'again'")] == [record(1).workflow_id]
    assert await cell.count() == 20


async def test_a_deletion_is_forgotten_in_the_index_before_the_database(proxied_cell, elasticsearch):
    """After its time both have nothing of it; if the index fails, the database still remembers it."""
    _, cell = proxied_cell
    await cell.delete(record(1), 1)
    await cell.settle()
    indexer = Indexer(
        cell.strongroom.outbox, cell.index, deletes_kept=timedelta(0), clock=cell.strongroom.outbox.steady_clock(0)
    )

    async def remembered():
        async with cell.strongroom.database.connection(EVERY_NAMESPACE) as connection:
            return (await connection.fetchrow("SELECT count(*) AS n FROM visibility_deletes"))["n"]

    def marks():
        client = elasticsearch.client
        client.request("POST", f"/{cell.index.name}/_refresh")
        return client.request(
            "POST", f"/{cell.index.name}/_count", {"query": {"term": {"n": f"-{cell.namespace_id.hex}"}}}
        )["count"]

    assert (marks(), await remembered()) == (1, 1)
    await cell.strongroom.indexer.forget_deletes()
    assert (marks(), await remembered()) == (1, 1), "it is not a day old"
    await indexer.forget_deletes()
    assert (marks(), await remembered()) == (0, 0)


async def test_a_run_that_exists_again_keeps_its_document_when_its_deletion_is_forgotten(proxied_cell):
    """Also if it was created between the reading of old deletions and their removal from the index."""
    _, cell = proxied_cell
    outbox = cell.strongroom.outbox
    await cell.delete(record(1), 1)
    await cell.settle()
    early = await outbox.old_deletes(older_than=timedelta(0), runs=10)
    await cell.write(record(1), version=2)
    await cell.settle()
    await cell.index.forget([(each.key, each.version) for each in early])
    await outbox.forget_deletes(early)
    assert await cell.settle() == 1
    assert await cell.count() == 20
    await Indexer(outbox, cell.index, deletes_kept=timedelta(0), clock=outbox.steady_clock(0)).forget_deletes()
    assert await outbox.old_deletes(older_than=timedelta(0), runs=10) == []
    await cell.index.refresh()
    assert await cell.count() == 20


async def test_a_deletion_that_was_held_up_removes_no_newer_document(proxied_cell, elasticsearch):
    """A deletion without a known version is of the document that was there when it was sent."""
    proxy, cell = proxied_cell
    async with cell.strongroom.database.connection(EVERY_NAMESPACE) as connection:
        rows = await connection.fetch("DELETE FROM visibility_records RETURNING shard_id, namespace_id, id")
        some = [(row["shard_id"], cell.namespace_id, row["id"]) for row in rows]
    proxy.seen.clear()
    assert await cell.index.write([], [(key, None) for key in some]) == {}
    (late,) = bulks(proxy, "delete")
    await cell.index.refresh()
    assert await cell.index.count() == 0
    await cell.write(*(record(number) for number in range(20)), version=2)
    await cell.settle()
    without_tombstones(cell, elasticsearch.client)
    send_late(elasticsearch.client, late)
    await cell.index.refresh()
    assert await cell.count() == 20


async def test_a_shredded_namespace_leaves_no_marks(proxied_cell, elasticsearch):
    """The marks of its deleted runs go with its documents."""
    _, cell = proxied_cell
    await cell.delete(record(1), 1)
    await cell.settle()
    assert await cell.index.delete_namespace(cell.namespace_id) == 20
    client = elasticsearch.client
    client.request("POST", f"/{cell.index.name}/_refresh")
    assert (
        client.request("POST", f"/{cell.index.name}/_count", {"query": {"bool": {"must_not": {"term": {"n": "-"}}}}})[
            "count"
        ]
        == 0
    )
