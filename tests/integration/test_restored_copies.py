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
from tests.support.search_cell import record

pytestmark = pytest.mark.integration

TABLES = ("search_index_writers", "visibility_records", "visibility_outbox", "visibility_deletes")


async def run(small_cell, statement):
    """Run a statement in the database."""
    async with small_cell.strongroom.database.connection(EVERY_NAMESPACE) as connection:
        await connection.execute(statement)


async def backup(small_cell):
    """Copy the tables that a restore brings back."""
    for table in TABLES:
        await run(small_cell, f"CREATE TABLE copy_of_{table} AS TABLE {table}")


async def restore(small_cell):
    """Bring the tables back to the moment of the backup."""
    for table in TABLES:
        await run(small_cell, f"DELETE FROM {table}")  # noqa: S608 - a name of this test
        await run(small_cell, f"INSERT INTO {table} SELECT * FROM copy_of_{table}")  # noqa: S608 - a name of this test


async def status(small_cell):
    """Return what `index status` says about restored copies."""
    database = small_cell.strongroom.database
    found = await read_index_status(
        small_cell.index, small_cell.strongroom.outbox, IndexMarks(database), IndexBuilds(database)
    )
    return found.restored


async def agree(small_cell):
    """Check that the index has exactly the documents of the records, and that nothing is reported."""
    await small_cell.index.refresh()
    assert await status(small_cell) is None
    found = await small_cell.strongroom.reconciler().run(repair=False)
    assert (found.drift, found.records) == (0, await small_cell.index.count())


@pytest.mark.parametrize("goes_on", [False, True])
async def test_an_older_database_is_noticed_and_its_index_repaired(small_cell, goes_on):
    """Also after the restored database has written more than was lost, by the same process and by others."""
    assert await status(small_cell) is None
    await backup(small_cell)
    await small_cell.write(*(record(number) for number in range(20, 30)))  # runs that will not exist
    await small_cell.write(*(record(number, customer="newer") for number in range(5)), version=9)
    await small_cell.delete(record(10), 5)
    await small_cell.settle()
    assert await status(small_cell) is None
    await restore(small_cell)
    if goes_on:
        others = [
            Indexer(
                small_cell.strongroom.outbox,
                small_cell.index,
                marks=IndexMarks(small_cell.strongroom.database),
            )
            for _ in "ab"
        ]
        for number in range(30, 39):
            await small_cell.write(record(number))
            for indexer in (others[number % 2], small_cell.strongroom.indexer):
                await indexer.drain()
                await small_cell.write(record(number, customer="again"), version=2)
        await small_cell.strongroom.indexer.drain()
    expected = 29 if goes_on else 20
    said = await status(small_cell)
    assert said is not None
    assert said.startswith("the database is older than the search index")
    found = await small_cell.strongroom.reconciler().run()
    assert (found.orphans, found.removed, found.left, found.records) == (10, 10, 0, expected)
    assert await small_cell.count() == len(await small_cell.listed()) == expected
    assert await small_cell.count("Customer = 'newer'") == 0
    await agree(small_cell)
    await small_cell.write(record(50))
    await small_cell.settle()
    await agree(small_cell)


async def test_an_older_index_is_noticed_and_repaired(small_cell, elasticsearch):
    """Documents that were written after its snapshot are gone: the marks that came with them are gone too."""
    client = elasticsearch.client
    path = f"/{small_cell.index.name}/_search?version=true&size=100"
    before = {hit["_id"]: hit["_version"] for hit in client.request("POST", path, {})["hits"]["hits"]}
    await small_cell.write(*(record(number) for number in range(20, 30)))
    await small_cell.settle()
    after = client.request("POST", path, {"query": {"match_all": {}}})["hits"]["hits"]
    for hit in after:
        if before.get(hit["_id"]) != hit["_version"]:
            client.request("DELETE", f"/{small_cell.index.name}/_doc/{hit['_id']}")
    await small_cell.index.refresh()
    assert await small_cell.count() == 20
    said = await status(small_cell)
    assert said is not None
    assert said.startswith("the search index is older than the database")
    assert (await small_cell.strongroom.reconciler().run()).left == 0
    assert await small_cell.count() == 30
    await agree(small_cell)


async def test_a_comparison_or_an_incomplete_repair_keeps_the_warning(small_cell):
    """`index reconcile --check` changes nothing, so it must not hide the finding."""
    await backup(small_cell)
    await small_cell.write(record(20))
    await small_cell.settle()
    await restore(small_cell)
    await small_cell.strongroom.reconciler().run(repair=False)
    assert await status(small_cell) is not None
    marks = IndexMarks(small_cell.strongroom.database)
    assert (await compare_marks(marks, small_cell.index)).foreign == 1


async def test_a_bulk_without_documents_takes_its_mark_along(small_cell):
    """A row that can't be encoded leaves no document to send; the mark that is confirmed reaches the index all the same."""
    await small_cell.write(record(20))
    await run(
        small_cell,
        "UPDATE visibility_records SET t = ARRAY[NULL]::bigint[] WHERE version = 1 AND id IN (SELECT id FROM visibility_outbox)",
    )
    await small_cell.strongroom.indexer.drain()
    assert await status(small_cell) is None


async def test_a_new_index_is_no_restored_one_while_services_write(small_cell, monkeypatch):
    """A bulk write that is on its way when `index build --rebuild` makes the index brings a mark that the database knows."""
    strongroom, marks = small_cell.strongroom, IndexMarks(small_cell.strongroom.database)
    on_its_way = (await marks.advance()).mark
    monkeypatch.setattr(index_commands, "with_cell", lambda _path, run, *_: made.append(run))
    made = []
    index_commands.build.callback.__wrapped__(None, rebuild=True, shards=1, replicas=0)
    await made[0](strongroom)
    await small_cell.index.write([], mark=on_its_way)
    assert await status(small_cell) is None
    await marks.confirm(on_its_way)
    assert await status(small_cell) is None
    await agree(small_cell)


async def test_the_marks_of_many_processes_are_all_read(small_cell):
    """A search of Elasticsearch returns 10,000 documents at most. Each start of a process adds a mark, so there can be more."""
    await run(
        small_cell,
        "INSERT INTO search_index_writers (writer, number, written) SELECT gen_random_uuid(), 1, 1 FROM generate_series(1, 10100)",
    )
    marks = [(writer, 1) for writer in await IndexMarks(small_cell.strongroom.database).all()]
    index = small_cell.index
    for start in range(0, len(marks), 5000):
        await index.client.bulk([writer_mark(*each) for each in marks[start : start + 5000]])
    assert len(await index.marks()) == len(marks) > 10_000
    assert await status(small_cell) is None
