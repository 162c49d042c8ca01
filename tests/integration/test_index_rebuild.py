"""`index build --shards N`: a new index takes the place of the present one, while services write and search."""

from __future__ import annotations

import asyncio
import json
from contextlib import contextmanager, suppress

import pytest

from strongroom.driver.cli import index_build
from strongroom.driver.index_rebuild import index_rebuild
from strongroom.driver.index_status import read_index_status
from strongroom.driver.strongroom import Strongroom
from strongroom.storage.visibility_rows.builds import IndexBuilds
from strongroom.storage.visibility_rows.marks import IndexMarks
from strongroom.visibility import SearchIndexMismatch
from strongroom.visibility.backends.elasticsearch import IndexSettings
from strongroom.visibility.backends.elasticsearch.administration import move_alias
from strongroom.visibility.backends.elasticsearch.documents import document_name
from strongroom.visibility.jobs import rebuild as jobs_rebuild
from tests.support.faults.http_proxy import Answer
from tests.support.fixtures.command_line import run_command
from tests.support.search_cell import BASE, Cell, new_cell, opened, record

pytestmark = pytest.mark.integration

RUNS = 700
TWO, FOUR = IndexSettings(shards=2), IndexSettings(shards=4)


@pytest.fixture
async def full_cell(config_path, elasticsearch):
    """A cell with more indexed runs than a chunk of a build has."""
    async with opened(config_path, elasticsearch) as strongroom:
        await strongroom.search_index.create(IndexSettings(shards=1))
        found = await new_cell(strongroom)
        for first in range(0, RUNS, 350):
            await found.write(*(record(number) for number in range(first, first + 350)))
        await found.settle()
        yield found


async def status(cell):
    """Return the status of the index."""
    database = cell.strongroom.database
    return await read_index_status(cell.index, cell.strongroom.outbox, IndexMarks(database), IndexBuilds(database))


async def test_a_build_next_to_the_index_loses_nothing(full_cell):
    """Another process writes, changes and deletes runs, and counts and lists go on. In the end both agree in everything."""
    async with Strongroom.open(full_cell.strongroom.config) as other:
        service = Cell(other, full_cell.namespace_id)
        indexing = asyncio.create_task(other.indexer.run())
        wrong, written = [], [RUNS]

        async def write():
            while True:
                number = written[0]
                await service.write(*(record(number + offset, customer="during") for offset in range(20)))
                await service.write(*(record(number - offset, customer="changed") for offset in range(5)), version=9)
                await service.delete(record(number - 50), 99)
                written[0] += 20
                await asyncio.sleep(0.02)

        async def search():
            while True:
                found = await service.count(f"StartTime <= {BASE + 499} AND Customer = 'c'")
                listed = await service.listed("WorkflowId STARTS_WITH 'order/000'", page_size=30)
                if found != 500 or len({one.run_id for one in listed}) != 100:
                    wrong.append((found, len(listed)))

        tasks = [asyncio.create_task(write()), asyncio.create_task(search())]
        done = await index_rebuild(full_cell.strongroom, grace=1.0).run(TWO)
        assert not any(task.done() for task in tasks), "neither failed"
        await asyncio.sleep(0.5)
        for task in tasks:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task
        async with asyncio.timeout(120):
            while await other.outbox.waiting():  # noqa: ASYNC110 - there is no notification
                await asyncio.sleep(0.05)
        indexing.cancel()
        with suppress(asyncio.CancelledError):
            await indexing
    assert wrong == []
    assert done.before.endswith("-000001")
    assert done.after.endswith("-000002")
    assert done.written >= RUNS
    found = await full_cell.strongroom.reconciler().run(repair=False)
    assert (found.drift, found.equal) == (0, found.records)
    shown = await status(full_cell)
    assert (shown.layout.shards, shown.layout.index, shown.building, shown.restored) == (2, done.after, None, None)
    assert shown.documents == found.records


async def test_an_interrupted_build_goes_on(full_cell, elasticsearch):
    """It was killed in the middle. What changed meanwhile is in the new index, and the records are not all read again."""
    rebuild = index_rebuild(full_cell.strongroom, grace=0.0)
    running = asyncio.create_task(rebuild.run(TWO, progress=lambda _, count: count >= 500 and running.cancel()))
    with suppress(asyncio.CancelledError):
        await running
    shown = await status(full_cell)
    assert shown.building == f"{full_cell.index.name}-v1-000002"
    assert shown.layout.shards == 1
    builds = IndexBuilds(full_cell.strongroom.database)
    await builds.progress((await builds.current()).build, (await _keys(full_cell))[499])
    await full_cell.write(record(3, customer="later"), record(RUNS, customer="later"), version=5)
    await full_cell.delete(record(7), 9)
    await full_cell.settle()
    done = await rebuild.run(TWO)
    assert done.resumed
    assert RUNS - 501 <= done.written <= RUNS - 499, (
        "one run was added and one deleted, each before or after the position"
    )
    assert await full_cell.count() == RUNS
    assert await full_cell.count("Customer = 'later'") == 2
    assert (await full_cell.strongroom.reconciler().run(repair=False)).drift == 0
    (index,) = elasticsearch.client.request("GET", f"/{full_cell.index.name}-v1-*")
    assert index == done.after


async def _keys(cell):
    """Return the keys of all records, in order."""
    async with cell.strongroom.database.connection(cell.namespace_id) as connection:
        rows = await connection.fetch(
            "SELECT shard_id, namespace_id, id FROM visibility_records ORDER BY shard_id, namespace_id, id"
        )
    return [(row["shard_id"], cell.namespace_id, row["id"]) for row in rows]


async def test_a_build_that_was_stopped_leaves_nothing(small_cell, elasticsearch):
    """Its index is deleted, and indexers no longer write to it."""
    rebuild = index_rebuild(small_cell.strongroom, grace=0.0)
    await _interrupted(rebuild, TWO)
    assert len(_indices(small_cell, elasticsearch)) == 2
    assert await rebuild.stop()
    assert not await rebuild.stop()
    await small_cell.write(record(1, customer="new"), version=2)
    await small_cell.settle()
    assert await small_cell.count("Customer = 'new'") == 1
    (index,) = _indices(small_cell, elasticsearch)
    assert index.endswith("-000001")


async def test_a_build_without_its_index_ends_by_itself(small_cell, elasticsearch):
    """A person deleted the new index. Indexers go on with the present one, and the next build makes another."""
    builds = IndexBuilds(small_cell.strongroom.database)
    rebuild = index_rebuild(small_cell.strongroom, grace=0.0)
    await _interrupted(rebuild, TWO)
    elasticsearch.client.request("DELETE", f"/{(await builds.current()).target}")
    await small_cell.write(record(1, customer="new"), version=2)
    await small_cell.settle()
    assert await builds.current() is None
    assert await small_cell.count("Customer = 'new'") == 1
    assert not (await rebuild.run(TWO)).resumed
    assert await small_cell.count("Customer = 'new'") == 1


async def test_a_build_that_was_killed_after_the_move_is_ended_by_the_next_run(small_cell, elasticsearch):
    """The old index was kept for searches that had begun. The next run deletes it, and builds nothing again."""
    running = asyncio.create_task(index_rebuild(small_cell.strongroom, grace=600.0).run(TWO))
    await _moved(small_cell, "-000002")
    running.cancel()
    with suppress(asyncio.CancelledError):
        await running
    assert len(_indices(small_cell, elasticsearch)) == 2
    done = await index_rebuild(small_cell.strongroom, grace=0.0).run(TWO)
    assert (done.after[-7:], done.written, done.resumed) == ("-000002", 0, True)
    assert _indices(small_cell, elasticsearch) == [done.after]
    assert (await status(small_cell)).building is None
    assert await small_cell.count() == 20


async def test_a_build_may_begin_while_the_last_one_keeps_its_old_index(small_cell, elasticsearch):
    """The end of the first build deletes what it replaced, and not the index of the second. Indexers go on."""
    first = asyncio.create_task(index_rebuild(small_cell.strongroom, grace=3.0).run(TWO))
    await _moved(small_cell, "-000002")
    second = index_rebuild(small_cell.strongroom, grace=0.0)
    await _interrupted(second, FOUR)
    await first
    await small_cell.write(record(20))
    await small_cell.settle()
    done = await second.run(FOUR)
    assert (done.before[-7:], done.after[-7:], done.resumed) == ("-000002", "-000003", True)
    assert _indices(small_cell, elasticsearch) == [done.after]
    assert await small_cell.count() == 21


async def test_a_run_that_was_seen_stays_visible(small_cell):
    """The new index is refreshed when it takes the place, whatever its refresh interval is."""
    rebuild = index_rebuild(small_cell.strongroom, grace=0.0)
    copy = rebuild._copy_marks

    async def write_before(target):
        await small_cell.write(record(20))
        await small_cell.settle()
        assert await small_cell.count() == 21
        await copy(target)

    rebuild._copy_marks = write_before
    await rebuild.run(IndexSettings(shards=2, refresh_interval=3600.0))
    assert await small_cell.count() == 21


async def test_the_command_continues_the_build_that_was_interrupted(config_path, elasticsearch, small_cell):
    """It keeps the number of shards that the build was begun with, also if the configuration has another one."""
    await _interrupted(index_rebuild(small_cell.strongroom, grace=0.0), TWO)
    build = _command(config_path, elasticsearch, small_cell.index, "shards = 1")
    changed = await build("--replicas", "1")
    assert (changed.returncode, "1 replica of each" in changed.stdout) == (0, True)
    shown = await status(small_cell)
    assert (shown.layout.shards, shown.layout.replicas) == (1, 1)
    assert shown.building == f"{small_cell.index.name}-v1-000002"
    continued = await build()
    assert continued.returncode == 0, continued.stderr
    layout = await small_cell.index.check()
    assert (layout.index, layout.shards, layout.replicas) == (shown.building, 2, 1)
    assert await small_cell.count() == 20


def _command(config_path, elasticsearch, index, *lines):
    """Return a function that runs `strongroom index build` on an index."""
    section = (
        f'url = "{elasticsearch.url}"',
        "insecure = true",
        f'index = "{index.name}"',
        "timeout_seconds = 5",
        *lines,
    )
    config_path.write_text(
        "\n".join((config_path.read_text(), "[elasticsearch]", *section, "deadline_seconds = 6", ""))
    )

    async def build(*options):
        return await asyncio.to_thread(run_command, config_path.parent, "index", "build", *options)

    return build


async def test_a_build_that_another_one_replaced_does_not_move_the_alias(small_cell):
    """Names of indices are used again. The other build's index has no run yet, and must not answer searches."""
    first, second = (index_rebuild(small_cell.strongroom, grace=0.0) for _ in range(2))
    copy = first._copy_marks

    async def replaced(target):
        await copy(target)
        assert await second.stop()
        await _interrupted(second, FOUR)

    first._copy_marks = replaced
    with pytest.raises(SearchIndexMismatch, match="another process ended"):
        await first.run(TWO)
    shown = await status(small_cell)
    assert (shown.layout.index[-7:], shown.building[-7:]) == ("-000001", "-000002")
    assert await small_cell.count() == 20
    assert (await second.run(FOUR)).resumed
    assert await small_cell.count() == 20


async def test_a_build_whose_alias_moves_is_not_stopped(small_cell, elasticsearch, monkeypatch):
    """Another process stops it in this moment. What is written then is in the index that stays."""
    first, second = (index_rebuild(small_cell.strongroom, grace=0.0) for _ in range(2))
    stopped = []

    async def stopping(*arguments):
        monkeypatch.setattr(jobs_rebuild, "move_alias", move_alias)
        stopped.append(await second.stop())
        await small_cell.write(record(1, customer="moving"), version=2)
        await small_cell.settle()
        await move_alias(*arguments)

    monkeypatch.setattr(jobs_rebuild, "move_alias", stopping)
    done = await first.run(TWO)
    assert stopped == [False]
    assert _indices(small_cell, elasticsearch) == [done.after]
    assert (await small_cell.strongroom.reconciler().run(repair=False)).drift == 0
    assert await small_cell.count("Customer = 'moving'") == 1
    assert (await status(small_cell)).building is None


async def test_a_build_of_another_cell_is_left_alone(small_cell, elasticsearch):
    """A database was restored from a backup that was made during a build of another cell on the same cluster."""
    other = f"{elasticsearch.prefix}production-v1-000002"
    elasticsearch.client.request("PUT", f"/{other}", {"aliases": {f"{other}-own": {}}})
    await IndexBuilds(small_cell.strongroom.database).begin(other)
    await small_cell.write(record(20))
    await small_cell.settle()
    elasticsearch.client.request("POST", f"/{other}/_refresh")
    assert elasticsearch.client.request("GET", f"/{other}/_count")["count"] == 0
    assert (await status(small_cell)).building is None
    done = await index_rebuild(small_cell.strongroom, grace=0.0).run(TWO)
    assert not done.resumed
    assert await small_cell.count() == 21
    elasticsearch.client.request("GET", f"/{other}")


async def test_a_slow_builder_does_not_replace_what_a_fast_one_wrote(small_cell):
    """Two commands continue the same build. The slow one has read rows before a change that kept their versions."""
    slow, fast = (index_rebuild(small_cell.strongroom, grace=0.0) for _ in range(2))
    write = slow._write

    async def late(target, rows, deleted=()):
        slow._write = write
        await fast.run(TWO)
        changed = [(row["namespace_id"], {**row, "k": row["k"] + 1}) for row in rows]
        assert await small_cell.index.write(changed) == {}
        await write(target, rows, deleted)

    slow._write = late
    done = await slow.run(TWO)
    assert done.after[-7:] == "-000002"
    await small_cell.index.refresh()
    assert await small_cell.index.all_epochs() == {2: 20}


async def _interrupted(rebuild, settings):
    """Begin a build, and cancel it after its first chunk."""
    running = asyncio.create_task(rebuild.run(settings, progress=lambda *_: running.cancel()))
    with suppress(asyncio.CancelledError):
        await running


async def _moved(cell, number):
    """Wait until the alias leads to the index with a number."""
    async with asyncio.timeout(120):
        while not (await cell.index.check()).index.endswith(number):  # noqa: ASYNC110 - there is no notification
            await asyncio.sleep(0.05)


def _indices(cell, elasticsearch):
    """Return the names of all indices of a cell."""
    return sorted(elasticsearch.client.request("GET", f"/{cell.index.name}-v1-*"))


async def test_a_run_that_the_new_index_refuses_keeps_the_present_one(proxied_cell):
    """The new index would answer searches without a run that they find now."""
    proxy, cell = proxied_cell
    name = document_name((await _keys(cell))[7][2])

    def refuse(asked, content):
        if "-own/_bulk" not in asked.path:
            return content
        answer = json.loads(content)
        for item in answer["items"]:
            for result in item.values():
                if result["_id"] == name:
                    answer["errors"] = True
                    result |= {"status": 400, "error": {"type": "document_parsing_exception"}}
        return json.dumps(answer).encode()

    proxy.change = refuse
    with pytest.raises(SearchIndexMismatch, match="refuses the documents of 1 runs"):
        await index_rebuild(cell.strongroom, grace=0.0).run(TWO)
    layout = await cell.index.check()
    assert (layout.index[-7:], layout.shards) == ("-000001", 1)
    assert await cell.count() == 20
    proxy.change = None
    await index_rebuild(cell.strongroom, grace=0.0).run(TWO)
    assert (await cell.index.check()).shards == 2
    assert await cell.count() == 20


class Killed(BaseException):
    """The end of a command in the middle."""


@contextmanager
def killing(*_arguments):
    """Kill a command when it shows how far it has come."""

    def kill(*_progress):
        raise Killed

    yield kill


@pytest.mark.parametrize("rebuild", [False, True])
async def test_no_search_is_answered_before_the_first_build_is_complete(
    config_path, elasticsearch, monkeypatch, rebuild
):
    """The command was killed in the middle. Searches fail, changed runs wait, and the next command completes the index."""
    async with opened(config_path, elasticsearch) as strongroom:
        cell = await new_cell(strongroom)
        await cell.write(*(record(number) for number in range(20)))
        if rebuild:
            await strongroom.search_index.create()
            await cell.settle()
            assert await cell.count() == 20
        monkeypatch.setattr(index_build, "busy", killing)
        monkeypatch.setattr(index_build, "with_cell", lambda _path, run, *_: runs.append(run))
        runs = []
        index_build.build.callback.__wrapped__(None, rebuild=rebuild, shards=2, replicas=0)
        with pytest.raises(Killed):
            await runs[0](strongroom)
        for ask in (cell.count, cell.listed):
            with pytest.raises(SearchIndexMismatch, match="index build"):
                await ask()
        await cell.write(record(1, customer="during"), version=2)
        await cell.write(record(20))
        await cell.delete(record(2), 3)
        with pytest.raises(SearchIndexMismatch, match="index build"):
            await strongroom.indexer.drain()
        done = await _command(config_path, elasticsearch, cell.index, "shards = 1")()
        assert (done.returncode, "made" in done.stdout) == (0, True), done.stderr
        await cell.settle()
        assert await cell.count() == len(await cell.listed()) == 20
        assert await cell.count("Customer = 'during'") == 1
        shown = await status(cell)
        assert (shown.layout.shards, shown.building, shown.restored) == (2, None, None)
        assert _indices(cell, elasticsearch) == [shown.layout.index]
        assert (await strongroom.reconciler().run(repair=False)).drift == 0


async def test_a_lost_answer_of_the_cluster_does_not_end_a_build(proxied_cell, elasticsearch):
    """The creation of the index and the move of the alias were executed. The same request again is refused, and the state counts."""
    proxy, cell = proxied_cell
    cell.index.client.deadline = 60.0
    lost = []

    def lose(asked):
        if (asked.method, asked.path.split("?")[0]) not in (
            ("PUT", f"/{cell.index.name}-v1-000002"),
            ("POST", "/_aliases"),
        ) or asked.path in lost:
            return None
        lost.append(asked.path)
        elasticsearch.client.request(asked.method, asked.path, json.loads(asked.body))
        return Answer(503)

    proxy.rule = lose
    done = await index_rebuild(cell.strongroom, grace=0.0).run(TWO)
    assert len(lost) == 2
    assert (await cell.index.check()).index == done.after == f"{cell.index.name}-v1-000002"
    assert _indices(cell, elasticsearch) == [done.after]
    assert await cell.count() == 20


async def test_the_command_replaces_the_index(config_path, elasticsearch):
    """It names both indices. The same number of shards again is refused, and replicas change the present index."""
    async with opened(config_path, elasticsearch) as strongroom:
        index = strongroom.search_index
        await index.create(IndexSettings(shards=1, replicas=0))
        cell = await new_cell(strongroom)
        await cell.write(*(record(number) for number in range(20)))
        await cell.settle()
        build = _command(config_path, elasticsearch, index)
        first = build("--shards", "2", "--replicas", "0"), build("--shards", "2", "--replicas", "0")
        for done in await asyncio.gather(*first):
            assert done.returncode == 0 or "another build" in done.stderr, "two at once: one, or both as one"
        again = await build("--shards", "2")
        assert (again.returncode, "has 2 shards already" in again.stderr) == (2, True)
        changed = await build("--replicas", "1")
        assert (changed.returncode, "1 replica of each" in changed.stdout) == (0, True)
        layout = await index.check()
        assert (layout.shards, layout.replicas) == (2, 1)
        assert await cell.count() == len(await cell.listed()) == 20
