"""Documents that the cluster refuses: they are set aside by name, all others are delivered, and they are sent again later."""

from __future__ import annotations

import asyncio
from datetime import timedelta

import orjson
import pytest

from strongroom.storage import EVERY_NAMESPACE, ResourceExhausted
from strongroom.visibility import Indexer, SearchIndexAnswerError, SearchIndexMismatch
from strongroom.visibility.backends.elasticsearch.documents import document_name
from tests.support.faults.http_proxy import Answer
from tests.support.search_cell import record

pytestmark = pytest.mark.integration

BAD = 25
MANY = orjson.dumps(
    {"error": {"type": "circuit_breaking_exception", "reason": "[parent] Data too large"}, "status": 429}
)
REFUSALS = {
    "413 of nginx": Answer(413, b"<html>413 Request Entity Too Large</html>", "text/html", product=False),
    "413": Answer(413),
    "429 of the circuit breaker": Answer(429, MANY),
    "400": Answer(400),
    "403 of a firewall": Answer(403, b"<html>blocked</html>", "text/html", product=False),
    "200 of a firewall": Answer(200, b"<html>blocked</html>", "text/html", product=False),
    "500": Answer(500),
    "reset": Answer(413, b"<html>" * 100, "text/html", product=False, cut=True),
}


async def name_of(cell, number):
    """Return the names of a run's document: in the index, and in the database."""
    waiting = [entry for entry in await everything(cell) if entry.record is not None]
    return document_name(waiting[number].key[2]), waiting[number].key


async def everything(cell):
    """Return all entries of the outbox that are due."""
    return await cell.strongroom.outbox.take((-(2**31), cell.namespace_id, b""), runs=1000, size=2**30)


def refusing(name, answer):
    """Refuse bulk requests that contain a document."""
    return lambda asked: answer if "_bulk" in asked.path and name.encode() in asked.body else None


@pytest.fixture
async def cell_with_changes(proxied_cell):
    """A cell with 40 runs that wait for the indexer; the proxy, and the name and key of one of them."""
    proxy, cell = proxied_cell
    await cell.write(*(record(number) for number in range(20, 60)))
    name, key = await name_of(cell, BAD)
    return proxy, cell, name, key


async def again(cell):
    """Send all runs, as `index build` does, and check that all arrive."""
    async for _ in cell.strongroom.outbox.add_all():
        pass
    assert await cell.settle() == 60
    assert await cell.count() == 60


async def test_one_refused_document_keeps_no_other_out(cell_with_changes):
    """All others are delivered in the same sweep; the refused one is known by its key, and delivered when nobody refuses it."""
    proxy, cell, name, key = cell_with_changes
    outbox, indexer = cell.strongroom.outbox, cell.strongroom.indexer
    for number, (kind, answer) in enumerate(REFUSALS.items(), start=1):
        proxy.rule = refusing(name, answer)
        assert await indexer.drain() == (39 if number == 1 else 59), kind
        (refused,) = await outbox.refused(limit=10)
        assert (refused.key, refused.refusals, bool(refused.reason)) == (key, 1, True), kind
        counts = await outbox.counts()
        assert (counts.waiting, counts.refused, indexer.state.refused) == (1, 1, number), kind
        requests = len(proxy.seen)
        assert await indexer.drain() == 0, "it is not sent before its time"
        assert len(proxy.seen) == requests
        await cell.index.refresh()
        assert await cell.count() == len(await cell.listed()) == (59 if number == 1 else 60), kind
        proxy.rule = None
        await again(cell)
        await cell.write(*(record(each) for each in range(60)), version=1 + number)


def documents(asked):
    """Return the number of documents of runs in a bulk request."""
    return asked.body.count(b'"_id"') - asked.body.count(b'"_id":"writer-')


async def test_each_refusal_doubles_the_time_until_the_document_is_sent_again(cell_with_changes):
    """From 30 s up to an hour, by the database's clock; then it is sent alone, so that it delays nobody."""
    proxy, cell, name, key = cell_with_changes
    proxy.rule = refusing(name, REFUSALS["413"])
    outbox = cell.strongroom.outbox
    await cell.strongroom.indexer.drain()
    waits = []
    for _ in range(10):
        async with cell.strongroom.database.connection(EVERY_NAMESPACE) as connection:
            row = await connection.fetchrow("SELECT refusals, retry_at - now() AS wait FROM visibility_outbox")
            waits.append((row["refusals"], row["wait"]))
            await connection.execute("UPDATE visibility_outbox SET retry_at = now()")
        await cell.write(record(100 + len(waits)))
        proxy.seen.clear()
        assert await cell.strongroom.indexer.drain() == 1
        assert [documents(asked) for asked in proxy.seen if name.encode() in asked.body] == [
            1,
        ]
    expected = [min(timedelta(seconds=30 * 2**number), timedelta(hours=1)) for number in range(10)]
    for (refusals, wait), number, longest in zip(waits, range(1, 11), expected, strict=True):
        assert refusals == number
        assert longest - timedelta(minutes=1) < wait <= longest
    assert (await outbox.refused(limit=1))[0].key == key


async def test_a_refused_run_that_changes_is_sent_at_once(cell_with_changes):
    """Its new version may be smaller; a deletion of it reaches the index too."""
    proxy, cell, name, _ = cell_with_changes
    proxy.rule = refusing(name, REFUSALS["413"])
    await cell.strongroom.indexer.drain()
    proxy.rule = None
    await cell.write(*(record(number, customer="small") for number in range(20, 60)), version=2)
    assert await cell.settle() == 40
    assert await cell.count("Customer = 'small'") == 40


async def test_several_refused_documents(cell_with_changes):
    """A few are set aside each; a cluster that refuses all of them has another fault, and nothing is set aside."""
    proxy, cell, _, _ = cell_with_changes
    names = [document_name(entry.key[2]).encode() for entry in await everything(cell)]
    proxy.rule = lambda asked: Answer(413) if any(name in asked.body for name in names) else None
    with pytest.raises(SearchIndexMismatch, match="413"):
        await cell.strongroom.indexer.drain()
    assert await cell.strongroom.outbox.refused(limit=10) == []
    del names[5:]
    assert await cell.strongroom.indexer.drain() == 35
    assert len(await cell.strongroom.outbox.refused(limit=10)) == 5


async def test_a_cluster_that_refuses_everything_is_asked_once_more_and_not_by_halves(cell_with_changes):
    """An overloaded cluster gets one small request more, and no storm; nothing is set aside."""
    proxy, cell, _, _ = cell_with_changes
    proxy.seen.clear()
    proxy.rule = lambda _: Answer(429, MANY)
    with pytest.raises(ResourceExhausted):
        await cell.strongroom.indexer.drain()
    assert len(proxy.seen) == 2
    assert await cell.strongroom.outbox.refused(limit=10) == []


async def test_a_row_that_cant_be_encoded_is_set_aside(cell_with_changes):
    """The row was edited: the other documents are delivered."""
    _, cell, _, key = cell_with_changes
    async with cell.strongroom.database.connection(EVERY_NAMESPACE) as connection:
        await connection.execute("UPDATE visibility_records SET t = ARRAY[NULL, 1]::bigint[] WHERE id = $1", key[2])
    assert await cell.strongroom.indexer.drain() == 39
    (refused,) = await cell.strongroom.outbox.refused(limit=10)
    assert refused.key == key
    assert "encoded" in refused.reason


def with_item(name, **item):
    """Change the cluster's answer for one document of a bulk request."""

    def change(asked, body):
        if "_bulk" not in asked.path:
            return body
        answer = orjson.loads(body)
        for result in answer["items"]:
            (each,) = result.values()
            if each["_id"] == name:
                each.clear()
                each.update({"_index": "i", "_id": name, **item})
                answer["errors"] = True
        return orjson.dumps(answer)

    return change


ITEMS = {
    "400": ({"status": 400, "error": {"type": "mapper_parsing_exception", "reason": "secret"}}, "refused"),
    "413": ({"status": 413, "error": {"type": "x_content_e_o_f_exception"}}, "refused"),
    "400 of another shape": ({"status": 400, "error": "Bad <b>secret</b>"}, "refused"),
    "429": ({"status": 429, "error": {"type": "es_rejected_execution_exception"}}, "waits"),
    "500": ({"status": 500, "error": {"type": "null_pointer_exception"}}, "waits"),
    "503": ({"status": 503, "error": {"type": "unavailable_shards_exception"}}, "waits"),
    "409 of a writer": ({"status": 409, "error": {"type": "something_else"}}, "waits"),
    "409 of a version": ({"status": 409, "error": {"type": "version_conflict_engine_exception"}}, "done"),
    "403 of a block": ({"status": 403, "error": {"type": "cluster_block_exception"}}, "refused"),
    "404": ({"status": 404, "error": {"type": "index_not_found_exception"}}, "refused"),
    "no status": ({"error": {"type": "mapper_parsing_exception"}}, "refused"),
    "a status that is text": ({"status": "201"}, "refused"),
}


async def test_each_result_of_an_action_has_its_meaning(cell_with_changes):
    """Only an accepted document leaves the outbox; a document that is at fault is set aside, and an overloaded index is not."""
    proxy, cell, name, key = cell_with_changes
    await again(cell)
    for number, (kind, (item, meaning)) in enumerate(ITEMS.items(), start=2):
        await cell.write(*(record(each) for each in range(60)), version=number)
        proxy.change = with_item(name, **item)
        assert await cell.strongroom.indexer.sweep() == (60 if meaning == "done" else 59), kind
        refused = await cell.strongroom.outbox.refused(limit=10)
        assert [each.key for each in refused] == ([key] if meaning == "refused" else []), kind
        assert "secret" not in str(refused)
        assert await cell.strongroom.outbox.waiting() == (0 if meaning == "done" else 1), kind
        proxy.change = None
        await again(cell)


def edited(edit):
    """Change the cluster's answer to bulk requests of documents."""

    def change(asked, body):
        if "_bulk" not in asked.path or b"probe" in asked.body:
            return body
        answer = orjson.loads(body)
        edit(answer)
        return orjson.dumps(answer)

    return change


DAMAGED = {
    "fewer items": lambda answer: answer["items"].pop(),
    "more items": lambda answer: answer["items"].append(answer["items"][0]),
    "no items": lambda answer: answer.pop("items"),
    "items of another kind": lambda answer: answer.update(items={}),
    "no errors": lambda answer: answer.pop("errors"),
    "errors of another kind": lambda answer: answer.update(errors="no"),
    "an error without errors": lambda answer: answer["items"][0]["index"].update(error={"type": "x"}),
    "another action": lambda answer: answer["items"].__setitem__(0, {"delete": answer["items"][0]["index"]}),
    "two actions": lambda answer: answer["items"][0].update(delete={}),
    "another name": lambda answer: answer["items"][0]["index"].update(_id="x"),
}


async def test_a_damaged_answer_is_not_taken_for_a_delivery(cell_with_changes):
    """Number, order, kinds and names of the results are compared with what was sent."""
    proxy, cell, _, _ = cell_with_changes
    for kind, edit in DAMAGED.items():
        proxy.change = edited(edit)
        with pytest.raises(SearchIndexAnswerError):
            await cell.strongroom.indexer.sweep()
        assert await cell.strongroom.outbox.waiting() == 40, kind
    proxy.change = edited(lambda answer: answer["items"].reverse())
    assert await cell.strongroom.indexer.sweep() == 40, "sent again one by one, so that there is no order"
    await cell.index.refresh()
    assert await cell.count() == 60


async def until(condition):
    """Wait for a condition."""
    async with asyncio.timeout(60):
        while not await condition():  # noqa: ASYNC110 - a condition of the database
            await asyncio.sleep(0.02)


async def test_a_running_indexer_outlives_every_exception(proxied_cell, monkeypatch):
    """It counts the exception, names it, and delivers when the fault has passed."""
    proxy, cell = proxied_cell
    for number, kind in enumerate(("an unexpected exception", "a cancelled part", "an answer of another server")):
        await outlives(kind, 20 + number, proxy, cell, monkeypatch)


async def outlives(kind, number, proxy, cell, monkeypatch):
    """Run an indexer into a fault, and end the fault."""
    indexer = Indexer(cell.strongroom.outbox, cell.index, retry_wait=(0.01, 0.02), pause=(0.0, 0.05))
    failing = True
    written = cell.index.write

    async def write(rows, deleted=(), *, mark=None):
        if failing:
            raise {"an unexpected exception": KeyError("secret"), "a cancelled part": asyncio.CancelledError()}[kind]
        return await written(rows, deleted, mark=mark)

    if kind == "an answer of another server":
        proxy.rule = lambda _: Answer(200, b"<html>", "text/html")
    else:
        monkeypatch.setattr(cell.index, "write", write)
    await cell.write(record(number))
    running = asyncio.create_task(indexer.run())
    try:

        async def failed():
            return indexer.state.failures > 3

        await until(failed)
        assert not running.done()
        assert indexer.draining.failures > 3
        assert "secret" not in str(indexer.state.last_error)
        failing, proxy.rule = False, None

        async def delivered():
            return await cell.strongroom.outbox.waiting() == 0

        await until(delivered)

        async def healthy():
            return indexer.state.last_error is None

        await until(healthy)
    finally:
        running.cancel()
        await asyncio.wait([running])
        monkeypatch.undo()


async def test_a_failure_does_not_make_the_indexer_deaf(proxied_cell):
    """After a failure it waits for 30 s at most, but a notification ends the wait."""
    proxy, cell = proxied_cell
    indexer = Indexer(cell.strongroom.outbox, cell.index, retry_wait=(3600.0, 3600.0), pause=(0.0, 0.05))
    proxy.rule = lambda _: Answer(503)
    await cell.write(record(20))
    running = asyncio.create_task(indexer.run())
    try:

        async def failed():
            return indexer.state.failures == 1

        await until(failed)
        proxy.rule = None
        await cell.write(record(21))  # notifies

        async def delivered():
            return await cell.strongroom.outbox.waiting() == 0

        await until(delivered)
    finally:
        running.cancel()
        await asyncio.wait([running])
