"""A database or a search index that was restored from an older backup is noticed, and reconciled completely."""

from __future__ import annotations

import pytest

from strongroom.driver.cli import index_build as index_commands
from strongroom.driver.index_status import read_index_status
from strongroom.storage import EVERY_NAMESPACE
from strongroom.storage.visibility_rows.builds import IndexBuilds
from strongroom.storage.visibility_rows.marks import IndexMarks
from strongroom.visibility import Indexer, compare_marks
from strongroom.visibility.backends.elasticsearch.writing import writer_mark
from tests.support.search_cell import new_cell, opened, record

pytestmark = pytest.mark.integration

TABLES = ("search_index_writers", "visibility_records", "visibility_outbox", "visibility_deletes")


@pytest.fixture
async def restorable_cell(config_path, elasticsearch):
    """A cell with 20 indexed runs."""
    async with opened(config_path, elasticsearch) as strongroom:
        await strongroom.search_index.create()
        restorable_cell = await new_cell(strongroom)
        await restorable_cell.write(*(record(number) for number in range(20)))
        await restorable_cell.settle()
        yield restorable_cell


async def run(restorable_cell, statement):
    """Run a statement in the database."""
    async with restorable_cell.strongroom.database.connection(EVERY_NAMESPACE) as connection:
        await connection.execute(statement)


async def backup(restorable_cell):
    """Copy the tables that a restore brings back."""
    for table in TABLES:
        await run(restorable_cell, f"CREATE TABLE copy_of_{table} AS TABLE {table}")


async def restore(restorable_cell):
    """Bring the tables back to the moment of the backup."""
    for table in TABLES:
        await run(restorable_cell, f"DELETE FROM {table}")  # noqa: S608 - a name of this test
        await run(restorable_cell, f"INSERT INTO {table} SELECT * FROM copy_of_{table}")  # noqa: S608 - a name of this test


async def status(restorable_cell):
    """Return what `index status` says about restored copies."""
    database = restorable_cell.strongroom.database
    found = await read_index_status(
        restorable_cell.index, restorable_cell.strongroom.outbox, IndexMarks(database), IndexBuilds(database)
    )
    return found.restored


async def agree(restorable_cell):
    """Check that the index has exactly the documents of the records, and that nothing is reported."""
    await restorable_cell.index.refresh()
    assert await status(restorable_cell) is None
    found = await restorable_cell.strongroom.reconciler().run(repair=False)
    assert (found.drift, found.records) == (0, await restorable_cell.index.count())


@pytest.mark.parametrize("goes_on", [False, True])
async def test_an_older_database_is_noticed_and_its_index_repaired(restorable_cell, goes_on):
    """Also after the restored database has written more than was lost, by the same process and by others."""
    assert await status(restorable_cell) is None
    await backup(restorable_cell)
    await restorable_cell.write(*(record(number) for number in range(20, 30)))  # runs that will not exist
    await restorable_cell.write(*(record(number, customer="newer") for number in range(5)), version=9)
    await restorable_cell.delete(record(10), 5)
    await restorable_cell.settle()
    assert await status(restorable_cell) is None
    await restore(restorable_cell)
    if goes_on:
        others = [
            Indexer(
                restorable_cell.strongroom.outbox,
                restorable_cell.index,
                marks=IndexMarks(restorable_cell.strongroom.database),
            )
            for _ in "ab"
        ]
        for number in range(30, 39):
            await restorable_cell.write(record(number))
            for indexer in (others[number % 2], restorable_cell.strongroom.indexer):
                await indexer.drain()
                await restorable_cell.write(record(number, customer="again"), version=2)
        await restorable_cell.strongroom.indexer.drain()
    expected = 29 if goes_on else 20
    said = await status(restorable_cell)
    assert said is not None
    assert said.startswith("the database is older than the search index")
    found = await restorable_cell.strongroom.reconciler().run()
    assert (found.orphans, found.removed, found.left, found.records) == (10, 10, 0, expected)
    assert await restorable_cell.count() == len(await restorable_cell.listed()) == expected
    assert await restorable_cell.count("Customer = 'newer'") == 0
    await agree(restorable_cell)
    await restorable_cell.write(record(50))
    await restorable_cell.settle()
    await agree(restorable_cell)


async def test_an_older_index_is_noticed_and_repaired(restorable_cell, elasticsearch):
    """Documents that were written after its snapshot are gone: the marks that came with them are gone too."""
    client = elasticsearch.client
    path = f"/{restorable_cell.index.name}/_search?version=true&size=100"
    before = {hit["_id"]: hit["_version"] for hit in client.request("POST", path, {})["hits"]["hits"]}
    await restorable_cell.write(*(record(number) for number in range(20, 30)))
    await restorable_cell.settle()
    after = client.request("POST", path, {"query": {"match_all": {}}})["hits"]["hits"]
    for hit in after:
        if before.get(hit["_id"]) != hit["_version"]:
            client.request("DELETE", f"/{restorable_cell.index.name}/_doc/{hit['_id']}")
    await restorable_cell.index.refresh()
    assert await restorable_cell.count() == 20
    said = await status(restorable_cell)
    assert said is not None
    assert said.startswith("the search index is older than the database")
    assert (await restorable_cell.strongroom.reconciler().run()).left == 0
    assert await restorable_cell.count() == 30
    await agree(restorable_cell)


async def test_a_comparison_or_an_incomplete_repair_keeps_the_warning(restorable_cell):
    """`index reconcile --check` changes nothing, so it must not hide the finding."""
    await backup(restorable_cell)
    await restorable_cell.write(record(20))
    await restorable_cell.settle()
    await restore(restorable_cell)
    await restorable_cell.strongroom.reconciler().run(repair=False)
    assert await status(restorable_cell) is not None
    marks = IndexMarks(restorable_cell.strongroom.database)
    assert (await compare_marks(marks, restorable_cell.index)).foreign == 1


async def test_a_bulk_without_documents_takes_its_mark_along(restorable_cell):
    """A row that can't be encoded leaves no document to send; the mark that is confirmed reaches the index all the same."""
    await restorable_cell.write(record(20))
    await run(
        restorable_cell,
        "UPDATE visibility_records SET t = ARRAY[NULL]::bigint[] WHERE version = 1 AND id IN (SELECT id FROM visibility_outbox)",
    )
    await restorable_cell.strongroom.indexer.drain()
    assert await status(restorable_cell) is None


async def test_a_new_index_is_no_restored_one_while_services_write(restorable_cell, monkeypatch):
    """A bulk write that is on its way when `index build --rebuild` makes the index brings a mark that the database knows."""
    strongroom, marks = restorable_cell.strongroom, IndexMarks(restorable_cell.strongroom.database)
    on_its_way = (await marks.advance()).mark
    monkeypatch.setattr(index_commands, "with_cell", lambda _path, run, *_: made.append(run))
    made = []
    index_commands.build.callback.__wrapped__(None, rebuild=True, shards=1, replicas=0)
    await made[0](strongroom)
    await restorable_cell.index.write([], mark=on_its_way)
    assert await status(restorable_cell) is None
    await marks.confirm(on_its_way)
    assert await status(restorable_cell) is None
    await agree(restorable_cell)


async def test_the_marks_of_many_processes_are_all_read(restorable_cell):
    """A search of Elasticsearch returns 10,000 documents at most. Each start of a process adds a mark, so there can be more."""
    await run(
        restorable_cell,
        "INSERT INTO search_index_writers (writer, number, written) SELECT gen_random_uuid(), 1, 1 FROM generate_series(1, 10100)",
    )
    marks = [(writer, 1) for writer in await IndexMarks(restorable_cell.strongroom.database).all()]
    index = restorable_cell.index
    for start in range(0, len(marks), 5000):
        await index.client.bulk([writer_mark(*each) for each in marks[start : start + 5000]])
    assert len(await index.marks()) == len(marks) > 10_000
    assert await status(restorable_cell) is None
