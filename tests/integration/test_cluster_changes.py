"""Changes of an Elasticsearch index whose answer is lost, late or wrong: the state of the cluster counts, and it is read back."""

from __future__ import annotations

import asyncio
import json
import re
from contextlib import asynccontextmanager

import pytest

from strongroom.visibility import SearchIndexMismatch, SearchIndexUnavailable
from strongroom.visibility.backends.elasticsearch import ElasticsearchIndex, IndexSettings
from strongroom.visibility.backends.elasticsearch.administration import delete_index, move_alias, new_index
from tests.support.faults.http_proxy import Answer, http_proxy

pytestmark = pytest.mark.integration

ONE = IndexSettings(shards=1, replicas=0)


def changed_index(elasticsearch, url, **times):
    """Return the index of this file's tests, not yet opened."""
    return ElasticsearchIndex(url, name=f"{elasticsearch.prefix}changed", insecure=True, **times)


@asynccontextmanager
async def directly(elasticsearch):
    """Open the index without a proxy, for calls that meet no fault. Their timeouts only end a test that hangs."""
    async with changed_index(elasticsearch, elasticsearch.url, timeout=30.0, deadline=120.0) as index:
        yield index


@asynccontextmanager
async def behind(elasticsearch, **times):
    """Open the index behind a proxy. A call whose answer is lost waits for `timeout`, and a call that fails for `deadline`."""
    async with (
        http_proxy(elasticsearch.url) as proxy,
        changed_index(elasticsearch, proxy.url, **{"timeout": 30.0, "deadline": 120.0, **times}) as index,
    ):
        yield proxy, index


async def first_index(index):
    """Create the index; return nothing of it."""
    await index.create(ONE)


async def second_index(index):
    """Create a second index, as a build does."""
    assert await new_index(index.client, ONE, aliases={}) == f"{index.name}-v1-000002"


async def moved(index):
    """Move the alias to the second index."""
    await move_alias(index.client, await index.client.find(), f"{index.name}-v1-000002")


async def deleted(index):
    """Delete the second index."""
    await delete_index(index.client, f"{index.name}-v1-000002")


async def changed(index):
    """Change two settings."""
    await index.change(replicas=1, refresh_interval=7.0)


async def remembering_less(index):
    """Lower a setting for a while."""
    async with index.accepting_older_versions():
        pass


CHANGES = {
    "create": (first_index, "PUT", "-v1-000001$", []),
    "build": (second_index, "PUT", "-v1-000002$", [first_index]),
    "move": (moved, "POST", "/_aliases$", [first_index, second_index]),
    "delete": (deleted, "DELETE", "-v1-000002$", [first_index, second_index]),
    "settings": (changed, "PUT", "/_settings$", [first_index]),
    "deletions": (remembering_less, "PUT", "/_settings$", [first_index]),
}


def state(elasticsearch, index):
    """Return the alias and the settings of all indices, read directly."""
    found = elasticsearch.client.request("GET", f"/{index.name}-*?expand_wildcards=all&flat_settings=true")
    shown = ("index.number_of_replicas", "index.refresh_interval", "index.gc_deletes", "index.number_of_shards")
    return {
        name: (index.name in each["aliases"], {key: each["settings"].get(key) for key in shown})
        for name, each in found.items()
    }


async def expected(elasticsearch, before, change):
    """Return the state after a change that met no fault, under another name."""
    async with directly(elasticsearch) as index:
        for each in before:
            await each(index)
        unchanged = state(elasticsearch, index)
        await change(index)
        after = state(elasticsearch, index)
        await index.drop()
        assert state(elasticsearch, index) == {}
        return unchanged, after


@pytest.mark.parametrize("name", CHANGES)
async def test_a_change_whose_answer_does_not_come_is_carried_out_and_read_back(elasticsearch, name):
    """The first request reaches the cluster, and its answer is late or an error. The change has its effect, and no error is raised."""
    change, method, path, before = CHANGES[name]
    _, wanted = await expected(elasticsearch, before, change)
    for fault in ("late", "502"):
        lost = []
        async with directly(elasticsearch) as patient, behind(elasticsearch, timeout=1.0) as (proxy, index):
            for each in before:
                await each(patient)

            async def lose(asked, fault=fault, lost=lost):
                bare, _, parameters = asked.path.partition("?")
                if asked.method != method or not re.search(path, bare) or lost:
                    return None
                lost.append(parameters)
                body = asked.body or None
                await asyncio.to_thread(raw, elasticsearch, asked.method, asked.path, body)
                if fault == "late":
                    await asyncio.sleep(30)
                return Answer(502, b"<html>", "text/html", product=False)

            proxy.rule = lose
            await change(index)
            assert len(lost) == 1
            assert state(elasticsearch, index) == wanted, fault
            for limit in ("master_timeout=800ms", "timeout=800ms"):
                assert limit in lost[0], "the server gives up before the client"
            await patient.drop()


@pytest.mark.parametrize("name", CHANGES)
@pytest.mark.parametrize("fault", ["silent", "confirmed", "refused"])
async def test_a_change_without_effect_is_an_error(elasticsearch, name, fault):
    """The cluster never gets it, or a proxy confirms it, or it is refused. The error says so, and what to do."""
    change, method, path, before = CHANGES[name]
    unchanged, _ = await expected(elasticsearch, before, change)
    times = {"silent": {"timeout": 1.0, "deadline": 3.0}, "confirmed": {"deadline": 3.0}, "refused": {}}[fault]
    async with directly(elasticsearch) as patient, behind(elasticsearch, **times) as (proxy, index):
        for each in before:
            await each(patient)

        async def answer(asked):
            if asked.method != method or not re.search(path, asked.path.partition("?")[0]):
                return None
            if fault == "silent":
                await asyncio.sleep(30)
            if fault == "refused":
                return Answer(403, b'{"error":{"type":"security_exception"},"status":403}')
            return Answer(200, b'{"acknowledged":true,"shards_acknowledged":true}')

        proxy.rule = answer
        if fault == "refused":
            with pytest.raises(SearchIndexMismatch):
                await change(index)
        else:
            with pytest.raises(SearchIndexUnavailable, match=r"did not take effect within 3 s.*index status"):
                await change(index)
        assert state(elasticsearch, index) == unchanged
        await change(patient)
        await patient.drop()


async def test_an_index_that_another_process_created_is_not_taken_for_ones_own(elasticsearch):
    """Two processes create an index of the same name at the same time. One of them gets its name."""
    async with directly(elasticsearch) as index:
        await index.create(ONE)
        for _ in range(3):
            made = await asyncio.gather(*(new_index(index.client, ONE, aliases={}) for _ in range(3)))
            names = [name for name in made if name is not None]
            assert len(names) == len(set(names)) >= 1
        await index.drop()


async def test_a_change_that_another_process_replaces_is_no_error(elasticsearch):
    """The cluster confirms a change, and shows the value of a newer change. The control is a confirmed change that is not shown."""
    async with behind(elasticsearch) as (proxy, index):
        await index.create(ONE)
        (name,) = state(elasticsearch, index)
        newer = "9s"

        async def replace(asked):
            if asked.method != "PUT":
                return None
            await asyncio.to_thread(raw, elasticsearch, asked.method, asked.path, asked.body)
            body = json.dumps({"index.refresh_interval": newer})
            await asyncio.to_thread(raw, elasticsearch, "PUT", f"/{name}/_settings", body)
            return Answer(200, b'{"acknowledged":true}')

        proxy.rule = replace
        await index.change(refresh_interval=7.0)
        assert state(elasticsearch, index)[name][1]["index.refresh_interval"] == "9s"
        index.client.deadline = 5.0
        with pytest.raises(SearchIndexUnavailable, match="another process or a proxy"):
            await index.change(refresh_interval=7.0)
        index.client.deadline = 120.0
        proxy.rule = None
        await index.drop()


@pytest.mark.parametrize(("own", "after"), [(None, None), ("5m", "5m")])
async def test_deletions_are_remembered_again_if_lowering_the_setting_is_interrupted(elasticsearch, own, after):
    """The cluster carries out the change, and its caller is cancelled. Otherwise a late write brings a deleted run back."""
    async with behind(elasticsearch) as (proxy, index):
        await index.create(ONE)
        (name,) = state(elasticsearch, index)
        raw(elasticsearch, "PUT", f"/{name}/_settings", json.dumps({"index.gc_deletes": own}))
        lowered = asyncio.Event()

        async def lower(asked):
            if asked.method != "PUT" or lowered.is_set():
                return
            await asyncio.to_thread(raw, elasticsearch, asked.method, asked.path, asked.body)
            lowered.set()
            await asyncio.sleep(30)

        proxy.rule = lower
        repair = asyncio.create_task(remembering_less(index))
        await lowered.wait()
        assert state(elasticsearch, index)[name][1]["index.gc_deletes"] != own
        repair.cancel()
        with pytest.raises(asyncio.CancelledError):
            await repair
        assert state(elasticsearch, index)[name][1]["index.gc_deletes"] == after
        proxy.rule = None
        await index.drop()


async def test_an_operators_time_survives_a_repair_that_was_killed(elasticsearch):
    """A killed repair restores nothing. The next one finds the former value in the lowered one."""
    async with directly(elasticsearch) as index:
        await index.create(ONE)
        (name,) = state(elasticsearch, index)
        raw(elasticsearch, "PUT", f"/{name}/_settings", '{"index.gc_deletes": "5m"}')
        killed = index.accepting_older_versions()
        await killed.__aenter__()
        assert state(elasticsearch, index)[name][1]["index.gc_deletes"] == "1000300nanos"
        await remembering_less(index)
        assert state(elasticsearch, index)[name][1]["index.gc_deletes"] == "300s"
        # Otherwise the garbage collector does it in the middle of another test.
        await killed.__aexit__(None, None, None)
        await index.drop()


def raw(elasticsearch, method, path, body):
    """Send a request as the proxy received it."""
    elasticsearch.client.request(method, path, None if body is None else json.loads(body))
