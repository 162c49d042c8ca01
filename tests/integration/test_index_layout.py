"""The index behind the alias: its shards, replicas and refresh interval, and every way in which a search could count runs twice."""

from __future__ import annotations

import asyncio
import json

import pytest

from strongroom.driver.index_status import read_index_status
from strongroom.storage.visibility_rows.builds import IndexBuilds
from strongroom.storage.visibility_rows.marks import IndexMarks
from strongroom.visibility import SearchIndexMismatch, SearchIndexUnavailable, SearchSnapshotExpired
from strongroom.visibility.backends.elasticsearch import IndexSettings
from tests.support.faults.http_proxy import Answer, http_proxy
from tests.support.fixtures.command_line import run_command
from tests.support.search_cell import Cell, new_cell, opened, record

pytestmark = pytest.mark.integration

GONE = Answer(404, b'{"error":{"type":"search_context_missing_exception"},"status":404}')
MISSING_SHARDS = Answer(503, b'{"error":{"type":"search_phase_execution_exception"},"status":503}')
SORTED = "ORDER BY Customer"


async def test_a_new_index_has_the_settings_that_it_was_given(config_path, elasticsearch):
    """And without any, a shard for the only node, and no replica that would be on no node."""
    async with opened(config_path, elasticsearch) as strongroom:
        index = strongroom.search_index
        await index.create()
        found = await index.check()
        nodes = (await index.health()).data_nodes
        assert (found.shards, found.replicas, found.refresh_interval) == (min(nodes, 8), min(nodes - 1, 1), "1000ms")
        await index.drop()
        await index.create(IndexSettings(shards=2, replicas=1, refresh_interval=0.5))
        found = await index.check()
        assert (found.shards, found.replicas, found.refresh_interval) == (2, 1, "500ms")
        await index.change(replicas=0)
        found = await index.check()
        assert (found.shards, found.replicas, found.refresh_interval) == (2, 0, "500ms")


async def test_an_alias_that_hides_documents_is_refused(small_cell, elasticsearch):
    """A filter or a routing of the alias would make every count too small."""
    alias, index = small_cell.index.name, (await small_cell.index.check()).index
    for hiding in ({"filter": {"term": {"n": "0"}}}, {"search_routing": "1"}):
        add = {"index": index, "alias": alias, "is_write_index": True, **hiding}
        elasticsearch.client.request("POST", "/_aliases", {"actions": [{"add": add}]})
        with pytest.raises(SearchIndexMismatch, match="hides documents"):
            await small_cell.index.check()


async def test_a_filter_that_is_set_later_is_noticed_by_searches(small_cell, elasticsearch):
    """It hides runs without changing the number of shards, so the alias is looked at again after a while."""
    alias, index = small_cell.index.name, (await small_cell.index.check()).index
    assert await small_cell.count() == 20
    add = {"index": index, "alias": alias, "is_write_index": True, "filter": {"range": {"b2": {"lt": 0}}}}
    elasticsearch.client.request("POST", "/_aliases", {"actions": [{"add": add}]})
    small_cell.index.client.seen_for = 0.0
    for ask in (small_cell.count, small_cell.listed):
        with pytest.raises(SearchIndexMismatch, match="hides documents"):
            await ask()


async def test_an_index_with_the_name_of_the_alias_is_refused(config_path, elasticsearch):
    """It belongs to another program, so it is neither searched nor built over."""
    async with opened(config_path, elasticsearch) as strongroom:
        meta = {"mappings": {"_meta": {"strongroom_version": 1}}}
        elasticsearch.client.request("PUT", f"/{strongroom.search_index.name}", meta)
        for call in (strongroom.search_index.check, strongroom.search_index.create):
            with pytest.raises(SearchIndexMismatch, match="must be an alias"):
                await call()


async def test_a_search_whose_snapshot_is_gone_begins_again(proxied_cell):
    """A node with a part of it ended, for example. The answer is complete, and says nothing of a missing index."""
    proxy, cell = proxied_cell
    expected = await cell.listed(SORTED)
    left = [2]

    def lose(asked):
        if b'"pit"' in asked.body and asked.method == "POST" and left[0]:
            left[0] -= 1
            return GONE
        return None

    proxy.rule, proxy.seen = lose, []
    assert await cell.listed(SORTED) == expected
    assert left == [0]
    assert sum("_pit" in asked.path and asked.method == "POST" for asked in proxy.seen) == 3
    left[0] = 10**6
    with pytest.raises(SearchIndexUnavailable, match="snapshot"):
        await cell.listed(SORTED)
    left[0] = 1
    found = await cell.strongroom.reconciler().run(repair=False)
    assert (found.drift, found.equal, left) == (0, 20, [0])


async def test_a_snapshot_that_is_gone_is_told_from_a_missing_index(small_cell, elasticsearch):
    """A node answers so for a point in time that it does not know: after its restart, or after the end of the point in time."""
    client, body = small_cell.index.client, {"query": {"match_all": {}}, "size": 1}
    async with client.snapshot() as snapshot:
        await client.search(body, snapshot=snapshot)
        elasticsearch.client.request("DELETE", "/_pit", {"id": snapshot})
        with pytest.raises(SearchSnapshotExpired):
            await client.search(body, snapshot=snapshot)
    async with client.snapshot() as snapshot:
        elasticsearch.client.request("DELETE", f"/{(await small_cell.index.check()).index}")
        with pytest.raises(SearchSnapshotExpired):
            await client.search(body, snapshot=snapshot)


async def test_a_snapshot_with_a_part_on_a_killed_node_is_not_asked_again(proxied_cell):
    """The cluster answers 503 for it until it ends. The search begins again at once with another snapshot."""
    proxy, cell = proxied_cell
    expected = await cell.listed(SORTED)
    cell.index.client.deadline = 60.0
    lost = []

    def lose(asked):
        if asked.method != "POST" or b'"pit"' not in asked.body:
            return None
        snapshot = json.loads(asked.body)["pit"]["id"]
        lost[:] = lost or [snapshot]
        return MISSING_SHARDS if snapshot in lost else None

    proxy.rule = lose
    assert await cell.listed(SORTED) == expected
    assert len(lost) == 1


async def test_a_request_that_timed_out_is_sent_again(config_path, elasticsearch):
    """By default the deadline is longer than a timeout. So one slow answer is not the end of a search."""
    async with http_proxy(elasticsearch.url) as proxy, opened(config_path, elasticsearch) as strongroom:
        await strongroom.search_index.create()
        cell = await new_cell(strongroom)
        await cell.write(record(1))
        await cell.settle()
        stuck = [1]

        async def slow(_asked):
            if stuck[0]:
                stuck[0] = 0
                await asyncio.sleep(60)

        async with opened(config_path, elasticsearch, timeout=4, urls=proxy.url) as hasty:
            proxy.rule = slow
            assert await Cell(hasty, cell.namespace_id).count() == 1
        assert stuck == [0]


async def test_one_of_several_addresses_is_enough(config_path, elasticsearch):
    """Nothing listens at the first one, and the last is a gateway with a path, which limits the rate at times."""
    async with http_proxy(elasticsearch.url) as proxy:
        answers = [Answer(status, b"<html>", "text/html", product=False) for status in (429, 502, 503, 504)]
        paths = []

        def gateway(asked):
            paths.append(asked.path)
            return answers.pop() if answers and len(paths) % 3 == 0 else None

        proxy.rule, proxy.prefix = gateway, "/search/v1"
        urls = ["http://127.0.0.1:1", f"{proxy.url}/search/v1"]
        async with opened(config_path, elasticsearch, urls=urls) as strongroom:
            await strongroom.search_index.create()
            cell = await new_cell(strongroom)
            await cell.write(*(record(number) for number in range(20)))
            await cell.settle()
            for _ in range(10):
                assert await cell.count() == len(await cell.listed()) == 20
        assert not answers
        assert all(path.startswith("/search/v1/") for path in paths)


async def test_the_status_shows_the_index(small_cell, config_path, elasticsearch):
    """For a person and as JSON, from the command and from Python."""
    database = small_cell.strongroom.database
    found = await read_index_status(
        small_cell.index, small_cell.strongroom.outbox, IndexMarks(database), IndexBuilds(database)
    )
    assert (found.documents, dict(found.epochs), found.waiting) == (20, {1: 20}, 0)
    assert found.size > 0
    section = f'\n[elasticsearch]\nurl = ["{elasticsearch.url}"]\ninsecure = true\nindex = "{small_cell.index.name}"\n'
    config_path.write_text(config_path.read_text() + section)
    shown = await asyncio.to_thread(run_command, config_path.parent, "index", "status", "--json")
    status = json.loads(shown.stdout)
    assert (status["health"], status["shards"], status["epochs"], status["building"]) == ("green", 1, {"1": 20}, None)
    assert status["name"] == f"{small_cell.index.name}-v1-000001"
    assert status["bytes"] > 0
    text = await asyncio.to_thread(run_command, config_path.parent, "index", "status")
    assert "1 shard, 0 replicas of each, refreshed every 1000ms" in text.stdout
