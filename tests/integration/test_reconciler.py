"""The search index compared with the records: each way in which it can differ is found, and made right."""

from __future__ import annotations

import asyncio
import json
import secrets
import tracemalloc
from base64 import urlsafe_b64encode
from contextlib import suppress

import pytest

from strongroom.driver.strongroom import Strongroom
from strongroom.storage import BEFORE_ALL, EVERY_NAMESPACE, Unavailable
from strongroom.visibility import Drift
from strongroom.visibility.backends.elasticsearch.documents import document_name, to_document
from strongroom.visibility.jobs.token_verifier import UnreadableRecord
from tests.support.fixtures.cell import initialised
from tests.support.fixtures.command_line import run_command
from tests.support.search_cell import TYPES, new_cell, opened, record

pytestmark = pytest.mark.integration

RUNS = 30
LAST = "(SELECT max(id::text)::bytea FROM visibility_records)"


@pytest.fixture
async def indexed_cell(config_path, elasticsearch):
    """A cell with some runs that the index knows of."""
    async with opened(config_path, elasticsearch) as strongroom:
        await strongroom.search_index.create()
        indexed_cell = await new_cell(strongroom)
        await indexed_cell.write(*(record(number) for number in range(RUNS)))
        await indexed_cell.settle()
        yield indexed_cell


class Vandal:
    """Changes an index behind the back of the code under test."""

    def __init__(self, cell, elasticsearch, rows):
        self.client, self.name, self.namespace_id, self.rows = (
            elasticsearch.client,
            cell.index.name,
            cell.namespace_id,
            rows,
        )

    def put(self, name, document, *, version=1, more=""):
        """Write a document under a name."""
        path = f"/{self.name}/_doc/{name}?version={version}&version_type=external_gte&refresh=true{more}"
        self.client.request("PUT", path, document)

    def edit(self, number, *, version=1, more="", **changes):
        """Write the document of a row with other fields."""
        row = self.rows[number]
        document = {**to_document(self.namespace_id, row), **changes}
        self.put(document_name(row["id"]), document, version=version, more=more)

    def delete(self, number):
        """Delete the document of a row."""
        self.client.request("DELETE", f"/{self.name}/_doc/{document_name(self.rows[number]['id'])}?refresh=true")


@pytest.fixture
async def vandal(indexed_cell, elasticsearch):
    """Knows the rows of the cell's runs."""
    async for _ in indexed_cell.strongroom.outbox.add_all():
        pass
    entries = await indexed_cell.strongroom.outbox.take(BEFORE_ALL, runs=RUNS, size=10**7)
    await indexed_cell.settle()
    return Vandal(indexed_cell, elasticsearch, [entry.record for entry in entries])


def of(vandal, number):
    """Return the document of a row."""
    return to_document(vandal.namespace_id, vandal.rows[number])


EDITS = {
    "deleted": (Drift.MISSING, lambda v: v.delete(3)),
    "sent elsewhere": (Drift.MISSING, lambda v: v.edit(3, more="&routing=elsewhere")),
    "of a newer version": (Drift.VERSION, lambda v: v.edit(3, version=99)),
    "another close bucket": (Drift.BUCKET, lambda v: v.edit(3, b1=5)),
    "another start bucket": (Drift.BUCKET, lambda v: v.edit(3, b2=5)),
    "another epoch": (Drift.BUCKET, lambda v: v.edit(3, k=2)),
    "another tie-break": (Drift.BUCKET, lambda v: v.edit(3, d=5)),
    "the record of another": (Drift.RECORD, lambda v: v.edit(3, s=of(v, 4)["s"])),
    "another namespace": (Drift.NAMESPACE, lambda v: v.edit(3, n=secrets.token_hex(16))),
    "without one token": (Drift.TOKENS, lambda v: v.edit(3, t=of(v, 3)["t"].rpartition(" ")[0])),
    "without tokens": (Drift.TOKENS, lambda v: v.edit(3, t="")),
}


@pytest.mark.parametrize("edit", EDITS)
async def test_a_document_that_differs_is_found_and_made_right(indexed_cell, vandal, edit):
    """Looking changes nothing, a repair makes it right, and then there is nothing to find."""
    drift, spoil = EDITS[edit]
    healthy = await indexed_cell.listed()
    spoil(vandal)
    reconciler = indexed_cell.strongroom.reconciler()
    for _ in range(2):
        looked = await reconciler.run(repair=False)
        elsewhere = int(edit == "sent elsewhere")  # nobody's document is there, and another one that is nobody's
        assert (dict(looked.found), looked.orphans, looked.left) == ({drift: 1}, elsewhere, 1 + elsewhere), looked
        assert (looked.records, looked.equal) == (RUNS, RUNS - 1)
    repaired = await reconciler.run()
    assert (dict(repaired.found), dict(repaired.repaired), repaired.left) == ({drift: 1}, {drift: 1}, 0)
    assert str(repaired) == f"{RUNS} of {RUNS} documents match their records"
    after = await reconciler.run(repair=False)
    assert (after.drift, after.equal) == (0, RUNS)
    assert await indexed_cell.listed() == healthy
    assert await indexed_cell.count("Customer = 'c'") == RUNS


ORPHANS = {
    "of nobody": lambda v: v.put(urlsafe_b64encode(secrets.token_bytes(16))[:-2].decode(), of(v, 3)),
    "under no name of ours": lambda v: v.put("x", of(v, 3)),
    "of no namespace": lambda v: v.put(
        urlsafe_b64encode(secrets.token_bytes(16))[:-2].decode(), {**of(v, 3), "n": secrets.token_hex(16)}
    ),
}


@pytest.mark.parametrize("kind", ORPHANS)
async def test_a_document_without_a_record_is_found_and_removed(indexed_cell, vandal, kind):
    """Whatever its name, and whichever namespace it says."""
    ORPHANS[kind](vandal)
    reconciler = indexed_cell.strongroom.reconciler()
    assert (await reconciler.run(repair=False)).orphans == 1
    repaired = await reconciler.run()
    assert (repaired.orphans, repaired.removed, repaired.left) == (1, 1, 0)
    assert (await reconciler.run()).drift == 0
    assert await indexed_cell.index.count() == RUNS == len(await indexed_cell.listed())


async def test_a_record_that_went_unheard_takes_its_document_along(indexed_cell):
    """Deleted by a person who bypassed the outbox: the document is an orphan."""
    async with indexed_cell.strongroom.database.connection(EVERY_NAMESPACE) as connection:
        await connection.execute(f"DELETE FROM visibility_records WHERE id = {LAST}")  # noqa: S608
    repaired = await indexed_cell.strongroom.reconciler().run()
    assert (repaired.orphans, repaired.removed, repaired.equal) == (1, 1, RUNS - 1)


TOKEN_EDITS = {
    "one taken out": "t = t[2:]",
    "all taken out": "t = '{}'",
    "one added": "t = t || 7::bigint",
    "those of another": "(t, h_workflow, h_run) = "
    "(SELECT o.t, o.h_workflow, o.h_run FROM visibility_records AS o WHERE o.id <> r.id LIMIT 1)",
    "a column emptied": "h_type = NULL",
    "a column filled": "h_division = 7",
    "a column changed": "h_status = h_status + 1",
    "a column's token in the token set": "t = array_append(t, h_queue), h_queue = NULL",
    "two columns exchanged": "h_type = h_queue, h_queue = h_type",
}


@pytest.mark.parametrize("edit", TOKEN_EDITS)
async def test_edited_tokens_of_a_record_are_found_and_made_right(indexed_cell, edit):
    """Nothing authenticates them, so they are made again from the sealed record and compared; the index gets the repair."""
    change = f"UPDATE visibility_records AS r SET {TOKEN_EDITS[edit]} WHERE id = {LAST}"  # noqa: S608
    async with indexed_cell.strongroom.database.connection(EVERY_NAMESPACE) as connection:
        await connection.execute(change)
    audit = indexed_cell.strongroom.token_verifier()
    for repair in (False, True):
        found = await audit.run(indexed_cell.namespace_id, TYPES, repair=repair)
        assert (found.records, found.wrong, found.repaired, found.unreadable) == (RUNS, 1, int(repair), 0)
    assert (await audit.run(indexed_cell.namespace_id, TYPES)).wrong == 0
    assert await indexed_cell.strongroom.outbox.waiting() == 1
    await indexed_cell.settle()
    assert (await indexed_cell.strongroom.reconciler().run(repair=False)).drift == 0


async def test_a_record_that_does_not_open_is_counted_and_left_alone(indexed_cell):
    """It is named as such, the others are looked at, and nothing of it is changed."""
    async with indexed_cell.strongroom.database.connection(EVERY_NAMESPACE) as connection:
        await connection.execute(f"UPDATE visibility_records SET b2 = b2 + 1 WHERE id = {LAST}")  # noqa: S608
        before = await connection.fetch("SELECT * FROM visibility_records ORDER BY id")
        found = await indexed_cell.strongroom.token_verifier().run(indexed_cell.namespace_id, TYPES)
        assert await connection.fetch("SELECT * FROM visibility_records ORDER BY id") == before
        key = await connection.fetchrow(f"SELECT shard_id, id FROM visibility_records WHERE id = {LAST}")  # noqa: S608
    assert (found.records, found.wrong, found.unreadable, found.left) == (RUNS, 0, 1, 1)
    assert found.named == [UnreadableRecord(key["shard_id"], key["id"].hex())]


async def test_the_command_names_the_first_records_that_do_not_open(config_path):
    """A person and a program get the shard and the key of the first 20, and no id of a tenant. Control: none is named before."""
    config = await initialised(config_path)
    async with Strongroom.open(config) as strongroom:
        cell = await new_cell(strongroom)
        await cell.write(*(record(number) for number in range(RUNS)))
        folder, command = config_path.parent, ("index", "reconcile", "--check")
        healthy = await asyncio.to_thread(run_command, folder, *command, "--json")
        assert json.loads(healthy.stdout)["tokens"][0]["tally"]["named"] == []
        async with strongroom.database.connection(EVERY_NAMESPACE) as connection:
            await connection.execute("UPDATE visibility_records SET b2 = b2 + 1")
            rows = await connection.fetch("SELECT shard_id, id FROM visibility_records")
    keys = {(row["shard_id"], row["id"].hex()) for row in rows}
    tally = json.loads((await asyncio.to_thread(run_command, folder, *command, "--json")).stdout)["tokens"][0]["tally"]
    named = {(each["shard_id"], each["id"]) for each in tally["named"]}
    assert (tally["unreadable"], len(tally["named"]), named <= keys) == (RUNS, 20, True)
    shown = await asyncio.to_thread(run_command, folder, *command)
    assert shown.returncode == 1
    assert all(f"\n    run {key}, shard {shard}\n" in shown.stdout for shard, key in named)
    assert f"\n    and {RUNS - 20} more\n" in shown.stdout
    assert "order/" not in shown.stdout + shown.stderr


async def test_a_healthy_index_has_nothing_to_find(indexed_cell):
    """Control: no difference is made up, also if the index does not have some yet."""
    found = await indexed_cell.strongroom.reconciler().run(repair=False)
    assert (found.records, found.equal, found.drift, found.changing) == (RUNS, RUNS, 0, 0)
    assert [(each.namespace_id, each.records, each.equal) for each in found.namespaces] == [
        (indexed_cell.namespace_id, RUNS, RUNS)
    ]
    await indexed_cell.write(record(1, customer="new"), version=2)
    found = await indexed_cell.strongroom.reconciler().run(repair=False)
    assert (found.equal, found.drift, found.changing) == (RUNS - 1, 0, 1)


async def test_a_token_that_was_added_goes_when_all_is_written_anew(indexed_cell, vandal):
    """It can't be seen, as tokens can't be read back; it skews a count until the documents are rewritten."""
    vandal.edit(3, t=" ".join(sorted([*of(vandal, 3)["t"].split(), "AAAAAAAAAAA"])))
    assert (await indexed_cell.strongroom.reconciler().run()).drift == 0
    path = f"/{indexed_cell.index.name}/_count"
    query = {"query": {"term": {"t": "AAAAAAAAAAA"}}}
    assert vandal.client.request("POST", path, query)["count"] == 1, "control: it is there"
    assert (await indexed_cell.strongroom.reconciler().run(rewrite=True)).rewritten == RUNS
    await indexed_cell.index.refresh()
    assert vandal.client.request("POST", path, query)["count"] == 0


async def test_writers_meanwhile_are_no_difference(indexed_cell):
    """Runs that change, come and go during a comparison are not taken for drift, and none is lost by a repair."""
    done = asyncio.Event()

    async def write():
        version = 1
        while not done.is_set():
            version += 1
            await indexed_cell.write(
                *(record(number, customer=f"v{version}") for number in range(0, RUNS, 3)), version=version
            )
            await indexed_cell.delete(record(1000 + version), version)
            await indexed_cell.write(record(2000 + version))
            indexed_cell.strongroom.indexer.wake()
            await asyncio.sleep(0.01)
        return version

    indexing = asyncio.create_task(indexed_cell.strongroom.indexer.run())
    writing = asyncio.create_task(write())
    for repair in (False, True, False, True):
        found = await indexed_cell.strongroom.reconciler().run(repair=repair, chunk=7)
        assert found.drift == 0, found
    done.set()
    version = await writing
    indexing.cancel()
    with suppress(asyncio.CancelledError):
        await indexing
    await indexed_cell.settle()
    assert (await indexed_cell.strongroom.reconciler().run(repair=False)).drift == 0
    assert await indexed_cell.count(f"Customer = 'v{version}'") == len(range(0, RUNS, 3))
    assert await indexed_cell.count() == RUNS + version - 1


async def test_one_that_was_broken_off_is_run_again(indexed_cell, vandal):
    """At each chunk of the way: what was repaired stays so, and the next run finds the rest."""
    for number in range(0, RUNS, 2):
        vandal.edit(number, b2=number)

    class BrokenOffError(Exception):
        """Stands for the end of a process."""

    calls = 0

    def end(_what, _count):
        nonlocal calls
        calls += 1
        if calls == 3:
            raise BrokenOffError

    with pytest.raises(BrokenOffError):
        await indexed_cell.strongroom.reconciler().run(chunk=5, progress=end)
    rest = await indexed_cell.strongroom.reconciler().run(chunk=5)
    assert 0 < rest.found[Drift.BUCKET] < RUNS // 2
    assert (rest.left, rest.equal) == (0, RUNS)


async def test_memory_does_not_grow_with_the_index(indexed_cell):
    """Two thousand runs in chunks of fifty take hardly more than six hundred did."""
    peaks = []
    for last in (600, 2000):
        await indexed_cell.write(*(record(number) for number in range(last)))
        await indexed_cell.settle()
        tracemalloc.start()
        assert (await indexed_cell.strongroom.reconciler().run(chunk=50)).equal == last
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] < 1.5 * peaks[0] + 2**20, peaks


async def test_a_cluster_that_is_away_is_an_error_and_no_difference(config_path, elasticsearch_to_kill):
    """Nothing is reported as missing because nobody answered."""
    async with opened(config_path, elasticsearch_to_kill, timeout=60.0) as strongroom:
        await strongroom.search_index.create()
        cell = await new_cell(strongroom)
        await cell.write(record(1))
        await cell.settle()
        elasticsearch_to_kill.kill()
        strongroom.search_index.client.deadline = 0.5  # so that the test need not wait
        with pytest.raises(Unavailable):
            await strongroom.reconciler().run(repair=False)


async def test_the_command_reports_and_repairs(indexed_cell, vandal, config_path, elasticsearch):
    """`index reconcile --check` ends with 1 and changes nothing, `index reconcile` with 0; the report counts both."""
    section = f'\n[elasticsearch]\nurl = "{elasticsearch.url}"\ninsecure = true\nindex = "{indexed_cell.index.name}"\n'
    config_path.write_text(config_path.read_text() + section)
    vandal.delete(3)
    vandal.put("x", of(vandal, 4))

    async def command(*arguments):
        return await asyncio.to_thread(run_command, config_path.parent, "index", "reconcile", *arguments)

    checked = await command("--check")
    assert checked.returncode == 1, checked
    assert f"{RUNS - 1} of {RUNS} documents match their records\n2 differences left" in checked.stdout
    repaired = await command()
    assert repaired.returncode == 0, repaired
    assert "1 documents missing, 1 of them repaired" in repaired.stdout
    assert "1 documents without a record, 1 of them removed" in repaired.stdout
    assert (await command("--check")).returncode == 0
    assert f"{RUNS} documents written again" in (await command("--rewrite")).stdout
    assert (await command("--rewrite", "--check")).returncode == 2
