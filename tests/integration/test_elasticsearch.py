from __future__ import annotations

import asyncio
import random
import tracemalloc
from contextlib import suppress
from functools import partial
from inspect import isawaitable
from uuid import uuid4

import pytest

from strongroom.driver.strongroom import Strongroom
from strongroom.kms import IntegrityError, KekRef, rotate_data_key
from strongroom.storage import EVERY_NAMESPACE, Database, Unavailable
from strongroom.storage.visibility_rows import notification
from strongroom.visibility import Indexer, SearchIndexMismatch
from strongroom.visibility.backends.elasticsearch import ElasticsearchIndex
from strongroom.visibility.backends.elasticsearch.documents import document_name
from tests.support.counts import seconds_of
from tests.support.fixtures.command_line import run_command
from tests.support.search_cell import BASE, SECOND, TYPES, Cell, new_cell, opened, record

pytestmark = pytest.mark.integration

GONE = seconds_of("GONE")
"""Seconds for which a cluster is away; set it to 60 for a whole minute."""


async def until(condition):
    """Wait for something without a notification; the condition may be awaitable."""
    async with asyncio.timeout(120):
        while not (await found if isawaitable(found := condition()) else found):  # noqa: ASYNC110 - see above
            await asyncio.sleep(0.05)


@pytest.fixture
async def empty_index_cell(config_path, elasticsearch):
    """A cell whose index is there and empty."""
    async with opened(config_path, elasticsearch) as strongroom:
        await strongroom.search_index.create()
        yield await new_cell(strongroom)


async def test_what_is_written_is_found_when_the_indexer_was_there(empty_index_cell):
    """Changes that follow each other become one document: the newest."""
    await empty_index_cell.write(record(1))
    assert await empty_index_cell.listed() == []
    await empty_index_cell.write(record(1, status="Completed", close_time=BASE + 5 * SECOND), version=2)
    assert await empty_index_cell.settle() == 1
    assert [one.execution_status for one in await empty_index_cell.listed()] == ["Completed"]
    assert await empty_index_cell.settle() == 0


async def test_an_older_version_changes_nothing_in_the_index(empty_index_cell):
    """Also when it reaches the cluster last, from an indexer that was held up."""
    await empty_index_cell.write(record(1))
    (entry,) = await empty_index_cell.strongroom.outbox.take((-(2**31), uuid4(), b""), runs=10, size=10**6)
    await empty_index_cell.write(record(1, customer="new"), version=2)
    await empty_index_cell.settle()
    assert await empty_index_cell.index.write([(empty_index_cell.namespace_id, entry.record)]) == {}
    await empty_index_cell.strongroom.outbox.done([entry])
    await empty_index_cell.index.refresh()
    assert [one.search_attributes["Customer"] for one in await empty_index_cell.listed()] == ["new"]


async def test_a_change_while_it_is_sent_stays_to_be_sent(empty_index_cell):
    """An indexer takes nothing off the list but what it has read."""
    await empty_index_cell.write(record(1))
    (entry,) = await empty_index_cell.strongroom.outbox.take((-(2**31), uuid4(), b""), runs=10, size=10**6)
    await empty_index_cell.write(record(1, customer="new"), version=2)
    await empty_index_cell.strongroom.outbox.done([entry])
    assert await empty_index_cell.strongroom.outbox.waiting() == 1


async def test_a_deleted_run_is_gone_and_no_late_write_brings_it_back(empty_index_cell):
    """In the index and in the database; a newer version than the deleted one is another matter."""
    await empty_index_cell.write(record(1), record(2), version=3)
    await empty_index_cell.settle()
    assert await empty_index_cell.delete(record(1), 2) is False
    assert await empty_index_cell.delete(record(1), 3) is True
    await empty_index_cell.write(record(1), version=3)
    await empty_index_cell.settle()
    assert await empty_index_cell.listed() == [record(2)]
    await empty_index_cell.write(record(1), version=4)
    await empty_index_cell.settle()
    assert await empty_index_cell.count() == 2


async def test_pages_over_chunks_and_equal_seconds_are_whole_and_in_order(empty_index_cell):
    """More runs in one second than a chunk has, read in pages of any size: each once, in the order of lists."""
    runs = [record(number) for number in range(450)]
    random.Random(1).shuffle(runs)  # noqa: S311 - a test's order
    await empty_index_cell.write(*runs)
    await empty_index_cell.settle()
    expected = sorted(runs, key=lambda one: one.start_time, reverse=True)
    for page_size in (7, 200, 1000):
        assert await empty_index_cell.listed(page_size=page_size) == expected
    assert await empty_index_cell.count("WorkflowId STARTS_WITH 'order/000'") == 100


async def test_the_index_is_rebuilt_from_the_database_alone(empty_index_cell):
    """Dropped with all its documents; runs that change during the build have their newest record in the end."""
    await empty_index_cell.write(*(record(number) for number in range(50)))
    await empty_index_cell.settle()
    await empty_index_cell.index.drop()
    with pytest.raises(SearchIndexMismatch, match="index build"):
        await empty_index_cell.listed()
    await empty_index_cell.write(record(1), version=2)
    with pytest.raises(SearchIndexMismatch):
        await empty_index_cell.strongroom.indexer.drain()
    assert await empty_index_cell.strongroom.outbox.waiting() == 1, "and no index came about by being written to"
    assert await empty_index_cell.index.create() is True
    assert await empty_index_cell.index.create() is False
    assert [queued async for queued in empty_index_cell.strongroom.outbox.add_all()] == [50]
    await empty_index_cell.write(record(7, customer="new"), version=2)
    assert await empty_index_cell.settle() == 50
    assert [one.workflow_id for one in await empty_index_cell.listed("Customer = 'new'")] == ["order/00007"]


async def test_an_index_of_another_version_is_refused(empty_index_cell, elasticsearch):
    """And one that is not ours; nothing is written to it."""
    elasticsearch.client.request(
        "PUT", f"/{empty_index_cell.index.name}/_mapping", {"_meta": {"strongroom_version": 99}}
    )
    with pytest.raises(SearchIndexMismatch, match="version"):
        await empty_index_cell.index.check()
    with pytest.raises(SearchIndexMismatch, match="version"):
        await empty_index_cell.index.create()


@pytest.mark.parametrize("field", ["b1", "b2", "k", "s", "other"])
async def test_an_edited_document_is_refused(empty_index_cell, field):
    """A bucket, an epoch or a blob that was changed or swapped is noticed as soon as the document is opened."""
    await empty_index_cell.write(record(1), record(2))
    (first, second) = await empty_index_cell.strongroom.outbox.take((-(2**31), uuid4(), b""), runs=10, size=10**6)
    await empty_index_cell.settle()
    row, other = dict(first.record), dict(second.record)
    if field == "s":
        row["s"] = row["s"][:-1] + bytes([row["s"][-1] ^ 1])
    elif field == "other":
        row["s"] = other["s"]
    else:
        row[field] += 1
    await empty_index_cell.index.write([(empty_index_cell.namespace_id, row)])
    await empty_index_cell.index.refresh()
    with pytest.raises(IntegrityError):
        await empty_index_cell.listed()


async def test_edited_tokens_never_give_a_wrong_run(empty_index_cell):
    """A token that was added makes a candidate, which is opened and dropped."""
    await empty_index_cell.write(record(1, customer="a"), record(2, customer="b"))
    first, second = await empty_index_cell.strongroom.outbox.take((-(2**31), uuid4(), b""), runs=10, size=10**6)
    await empty_index_cell.settle()
    both = sorted({*first.record["t"], *second.record["t"]})
    await empty_index_cell.index.write([(empty_index_cell.namespace_id, {**first.record, "t": both})])
    await empty_index_cell.index.refresh()
    assert [one.search_attributes["Customer"] for one in await empty_index_cell.listed("Customer = 'a'")] == ["a"]
    assert [one.search_attributes["Customer"] for one in await empty_index_cell.listed("Customer = 'b'")] == ["b"]


async def test_namespaces_do_not_see_each_other_and_go_alone(empty_index_cell):
    """A namespace's documents are deleted without a key, and nobody else's."""
    await empty_index_cell.write(record(1), record(2))
    kek = KekRef.parse("local:second")
    await empty_index_cell.strongroom.create_kek(kek)
    namespace = await empty_index_cell.strongroom.namespaces.create(
        "second", kek=kek, search_attributes={"Customer": "Keyword"}
    )
    other = Cell(empty_index_cell.strongroom, namespace.namespace_id)
    await other.write(record(1))
    await empty_index_cell.settle()
    assert (await empty_index_cell.count(), await other.count()) == (2, 1)
    assert await empty_index_cell.index.delete_namespace(empty_index_cell.namespace_id) == 2
    assert (await empty_index_cell.count(), await other.count()) == (0, 1)


async def test_lists_open_across_a_rotation_of_the_data_key(empty_index_cell):
    """Documents sealed before and after it."""
    await empty_index_cell.write(record(1))
    await rotate_data_key(empty_index_cell.strongroom.keyring, empty_index_cell.namespace_id)
    await empty_index_cell.write(record(2))
    await empty_index_cell.settle()
    assert await empty_index_cell.count("WorkflowType = 'ship'") == len(await empty_index_cell.listed()) == 2


async def test_no_run_is_skipped_or_repeated_while_others_are_written(empty_index_cell):
    """Pages of a list that others write between: each run that did not change comes once, in order."""
    still = [record(number, close_time=BASE + number // 3 * SECOND, status="Completed") for number in range(120)]
    await empty_index_cell.write(*still)
    await empty_index_cell.settle()
    found, token, number = [], None, 1000
    while True:
        page = await empty_index_cell.visibility.list_workflow_executions(
            empty_index_cell.namespace_id, "", TYPES, page_size=13, page_token=token
        )
        found += [one for one in page.executions if one.execution_status == "Completed"]
        token = page.next_page_token
        if token is None:
            break
        await empty_index_cell.write(*(record(number + offset) for offset in range(5)))
        number += 5
        await empty_index_cell.settle()
    key = lambda one: (one.close_time, one.start_time, one.run_id)  # noqa: E731
    assert found == sorted(still, key=key, reverse=True)


async def test_a_cluster_that_is_gone_for_a_while_is_caught_up_with(config_path, elasticsearch_to_kill):
    """Killed in the middle of bulks: writes and deletes go on, searches say that they can't be answered, everything converges."""
    node = elasticsearch_to_kill
    async with opened(config_path, node, timeout=30.0, deadline=31.0) as strongroom:
        await strongroom.search_index.create()
        cell = await new_cell(strongroom)
        running = asyncio.create_task(strongroom.indexer.run())
        for first in range(0, 2000, 100):
            await cell.write(*(record(number) for number in range(first, first + 100)))
            if first == 800:
                node.kill()
                strongroom.search_index.client.deadline = 0.5  # so that the test need not wait
            strongroom.indexer.wake()
        with pytest.raises(Unavailable):
            await cell.listed()
        await cell.write(*(record(number, customer="new") for number in range(100)), version=2)
        for number in range(100, 150):
            await cell.delete(record(number), 2)
        await until(lambda: strongroom.indexer.state.failures > 0)
        assert strongroom.indexer.state.last_error is not None
        await asyncio.sleep(GONE)
        await asyncio.to_thread(node.start)
        strongroom.search_index.client.deadline = 60.0  # a node that has begun can be slow
        async with asyncio.timeout(240):
            while await strongroom.outbox.waiting():  # noqa: ASYNC110 - there is no notification
                await asyncio.sleep(0.1)
        running.cancel()
        with suppress(asyncio.CancelledError):
            await running
        await strongroom.search_index.refresh()
        assert await cell.count() == len(await cell.listed(page_size=1000)) == 1950
        assert await cell.count("Customer = 'new'") == 100
        found = await strongroom.reconciler().run(repair=False)
        assert (found.drift, found.equal) == (0, 1950), "each document is as its record says, and there is no other"


async def test_an_indexer_is_woken_by_the_writes_of_another_process(config_path, elasticsearch, monkeypatch):
    """NOTIFY wakes it long before the next poll, also after the connection was lost, and less often than once per write."""
    listen, begun, heard = Database.listen, [], []

    async def noted(database, channel, notified, *, listening):
        def begins():
            begun.append(channel)
            listening()

        await listen(database, channel, notified, listening=begins)

    monkeypatch.setattr(Database, "listen", noted)
    monkeypatch.setattr(notification, "PAUSE", 1.0)  # so that slow writes share a notification too
    async with opened(config_path, elasticsearch) as writer, Strongroom.open(writer.config) as other:
        await writer.search_index.create()
        cell = await new_cell(writer)
        indexer = Indexer(other.outbox, other.search_index, pause=(0.0, 3600.0), reconnect_interval=0.1)
        listening = [
            asyncio.create_task(indexer.run()),
            asyncio.create_task(other.outbox.listen(lambda: heard.append(1))),
        ]
        for first, listeners in ((0, 2), (1000, 3)):
            await until(lambda listeners=listeners: begun.count(notification.CHANNEL) == listeners)
            await asyncio.gather(*(cell.write(record(number)) for number in range(first, first + 50)))
            await until(partial(nothing_waits, other))
            if not first:
                await until(lambda: len(heard) > 1)  # the first one is for the begin of listening
                assert len(heard) < 50
                async with other.database.connection(EVERY_NAMESPACE) as connection:
                    await connection.fetch(f"SELECT pg_terminate_backend(pid) {LISTENERS}")
                await until(listening[1].done)
        await writer.search_index.refresh()
        assert await cell.count() == 100
        for task in listening:
            task.cancel()
        await asyncio.gather(*listening, return_exceptions=True)


LISTENERS = (
    "FROM pg_stat_activity WHERE (query LIKE '%LISTEN %' OR query LIKE 'NOTIFY strongroom_echo_%') "
    "AND pid <> pg_backend_pid() AND datname = current_database()"
)


async def nothing_waits(strongroom):
    """Whether the index has everything."""
    return not await strongroom.outbox.waiting()


async def test_the_commands_build_and_show_the_index(empty_index_cell, config_path, elasticsearch):
    """`index build` from PostgreSQL alone, `index status`, and a clear word where no index is configured."""
    await empty_index_cell.write(*(record(number) for number in range(30)))
    await empty_index_cell.settle()

    def run(*arguments):
        return run_command(config_path.parent, *arguments)

    refused = await asyncio.to_thread(run, "index", "build")
    assert (refused.returncode, refused.stderr.count("\n")) == (2, 1)
    assert "[elasticsearch]" in refused.stderr
    index_name = empty_index_cell.index.name
    config_path.write_text(
        f'{config_path.read_text()}\n[elasticsearch]\nurl = "{elasticsearch.url}"\ninsecure = true\nindex = "{index_name}"\n'
    )
    await empty_index_cell.index.drop()
    missing = await asyncio.to_thread(run, "index", "status")
    assert missing.returncode == 2
    assert "index build" in missing.stderr
    ill = await asyncio.to_thread(run, "doctor")
    assert (ill.returncode, ill.stdout.count("WRONG")) == (1, 1), ill
    built = await asyncio.to_thread(run, "index", "build", "--rebuild")
    assert built.returncode == 0, built
    assert "30 documents written, 0 left" in built.stdout
    shown = await asyncio.to_thread(run, "index", "status")
    assert "30 documents; 0 runs" in shown.stdout
    well = await asyncio.to_thread(run, "doctor")
    assert well.returncode == 0
    assert "30 documents" in well.stdout
    assert len(await empty_index_cell.listed()) == 30


async def test_a_cluster_that_is_not_there_is_said():
    """In one error, without the request, which holds tokens."""
    async with ElasticsearchIndex("http://127.0.0.1:1", deadline=0.0, insecure=True) as index:
        for call in (index.refresh, index.create, index.drop, index.check, index.count):
            with pytest.raises(Unavailable, match="can't be reached") as raised:
                await call()
            assert raised.value.__context__ is None


def test_a_document_name_is_an_id_and_back():
    """22 characters of base64, which Elasticsearch stores as 17 bytes."""
    assert len(document_name(bytes(16))) == 22


async def peak(work):
    """Return how much memory was taken at once."""
    tracemalloc.start()
    try:
        await work
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


async def pages(cell, page_size):
    """Go through all pages, and keep none; return how many runs they had."""
    count, token = 0, None
    while True:
        page = await cell.visibility.list_workflow_executions(
            cell.namespace_id, "", TYPES, page_size=page_size, page_token=token
        )
        count, token = count + len(page.executions), page.next_page_token
        if token is None:
            return count


async def test_memory_of_indexer_and_list_does_not_grow_with_the_number_of_runs(empty_index_cell):
    """Indexing and listing two thousand runs takes hardly more memory than five hundred."""
    indexer = Indexer(empty_index_cell.strongroom.outbox, empty_index_cell.index, batch=(50, 2**20))
    indexing, listing = [], []
    for version, last in enumerate((500, 2000), start=1):
        runs = [record(number)._replace(start_time=BASE + number * SECOND) for number in range(last)]
        for piece in range(0, last, 250):
            await empty_index_cell.write(*runs[piece : piece + 250], version=version)
        del runs
        indexing.append(await peak(indexer.drain()))
        await empty_index_cell.index.refresh()
        assert await pages(empty_index_cell, 50) == last
        listing.append(await peak(pages(empty_index_cell, 50)))
    assert indexing[1] < 1.5 * indexing[0] + 2**20, indexing
    assert listing[1] < 1.5 * listing[0] + 2**19, listing
