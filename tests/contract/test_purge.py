from __future__ import annotations

import asyncio
from collections import Counter
from datetime import timedelta
from uuid import UUID, uuid4

import pytest

from strongroom.kms import KekRef, destroy_data_keys
from strongroom.storage import (
    ConditionFailed,
    Database,
    InvalidPersistenceRequest,
    SchemaMismatch,
    purge_namespace,
)
from strongroom.storage.namespaces.purge import PURGED_TABLES
from tests.support.fixtures.contract import new_namespace
from tests.support.fixtures.raw_rows import execute, fetch
from tests.support.shredding import shred

pytestmark = pytest.mark.integration

PURGED = {table.name: table.partition_column for table in PURGED_TABLES}
KEPT = {"data_keys", "registry_heads", "namespaces", "shreddings", "shredded_keks", "erasure_certificates"}
"""Tables with a namespace that a purge keeps: the key registry, the namespaces, and the shreddings with their certificates."""
VALUES = {
    "smallint": "1",
    "integer": "{number}",
    "bigint": "{number}",
    "timestamp with time zone": "now()",
    "uuid": "gen_random_uuid()",
    "boolean": "false",
    "text": "'name ' || {number}",
    "bytea": "decode(lpad(to_hex({number}), 32, '0'), 'hex')",
    "bigint[]": "'{{}}'",
}


async def columns(cell):
    """Return each table's columns with their types, the key's columns first and in order."""
    rows = await fetch(
        cell,
        """
        SELECT c.relname AS table, a.attname AS column, format_type(a.atttypid, NULL) AS type,
            array_position(i.indkey::smallint[], a.attnum) AS place
        FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid LEFT JOIN pg_index i ON i.indrelid = c.oid AND i.indisprimary
        WHERE c.relnamespace = 'strongroom'::regnamespace AND c.relkind IN ('r', 'p') AND a.attnum > 0 AND NOT a.attisdropped
        ORDER BY 1, 4 NULLS LAST
        """,
    )
    tables = {}
    for row in rows:
        tables.setdefault(row["table"], {})[row["column"]] = row["type"]
    return tables


async def fill(cell, table, namespace_id, rows, *, lead=None, first=1):
    """Insert rows of a namespace into a table, each in another partition unless one is given."""
    values = {
        column: VALUES[kind].format(number=f"({first} + number)")
        for column, kind in (await columns(cell))[table].items()
    }
    values["namespace_id"] = "$1"
    if lead is not None:
        values[PURGED[table]] = str(lead)
    statement = f"INSERT INTO {table} ({', '.join(values)}) SELECT {', '.join(values.values())} FROM generate_series(1, $2) AS number"  # noqa: S608
    assert await execute(cell, statement, namespace_id, rows) == f"INSERT 0 {rows}"


async def count(cell, namespace_id):
    """Return how many rows a namespace has in each table that is purged."""
    counted = {}
    for table in PURGED:
        [row] = await fetch(cell, f"SELECT count(*) AS rows FROM {table} WHERE namespace_id = $1", namespace_id)  # noqa: S608
        counted[table] = row["rows"]
    return counted


async def dead_namespace(cell):
    """Return the id of a namespace whose keys are destroyed, and whose rows are not deleted."""
    namespace_id = await new_namespace(cell)
    await destroy_data_keys(cell.keyring, namespace_id)
    return namespace_id


async def test_every_table_with_a_namespace_is_purged(own_cell):
    """A table with a namespace that is neither purged nor kept fails here, and so does one with another first key column."""
    tables = await columns(own_cell)
    with_namespace = {table for table, names in tables.items() if "namespace_id" in names}
    assert with_namespace - KEPT == set(PURGED)
    assert {table: next(iter(tables[table])) for table in PURGED} == PURGED
    await execute(own_cell, "CREATE TABLE notes (namespace_id uuid PRIMARY KEY)")
    added = {table for table, names in (await columns(own_cell)).items() if "namespace_id" in names}
    assert added - KEPT - set(PURGED) == {"notes"}


@pytest.mark.parametrize("distributed", [False, True])
async def test_all_rows_of_a_namespace_go_and_no_others(own_cell, distributed):
    """On one server and on a cluster, all rows of every table are deleted, and the result has their number by table."""
    await execute(own_cell, "UPDATE cell SET distributed = $1", distributed)
    gone, stays = await dead_namespace(own_cell), await new_namespace(own_cell)
    rows = {table: 3 + number for number, table in enumerate(PURGED)}
    for table, number in rows.items():
        await fill(own_cell, table, stays, 5)
        await fill(own_cell, table, gone, number, first=100)
    assert await count(own_cell, gone) == rows
    assert dict(await purge_namespace(own_cell.database, own_cell.journal.journal, gone)) == rows
    assert set((await count(own_cell, gone)).values()) == {0}
    assert set((await count(own_cell, stays)).values()) == {5}
    assert dict(await purge_namespace(own_cell.database, own_cell.journal.journal, gone)) == {}


@pytest.mark.parametrize("table", PURGED)
@pytest.mark.parametrize("chunk", [1, 7, 10, 1000])
async def test_chunks_of_any_size_find_all_rows(cell, table, chunk):
    """With many rows in one partition and few in many, no row is left at the border of a chunk."""
    gone = await dead_namespace(cell)
    first = gone.int % 10**6 * 1000  # the cell is shared by the session, so the test uses its own numbers
    await fill(cell, table, gone, 20, lead=first, first=first)
    await fill(cell, table, gone, 10, first=first + 100)
    assert dict(await purge_namespace(cell.database, cell.journal.journal, gone, chunk=chunk)) == {table: 30}
    assert (await count(cell, gone))[table] == 0


async def test_a_key_with_more_first_columns_than_one_statement_looks_into(own_cell):
    """There is no gap between the windows of partitions, or at the ends of the column's range."""
    gone = await dead_namespace(own_cell)
    await fill(own_cell, "history_tree", await new_namespace(own_cell), 500)
    await fill(own_cell, "history_tree", gone, 3000, first=200)
    for lead in (-(2**31), -1, 0, 2**31 - 1):
        await fill(own_cell, "history_tree", gone, 1, lead=lead)
    assert dict(await purge_namespace(own_cell.database, own_cell.journal.journal, gone)) == {"history_tree": 3004}


async def test_progress_is_told_for_each_chunk_and_each_table(own_cell):
    """A table's count rises to the number of its deleted rows, and a table without rows is reported once."""
    gone, told = await dead_namespace(own_cell), []
    await fill(own_cell, "tasks", gone, 25, lead=1)
    await fill(own_cell, "history_tasks", gone, 25, lead=1)
    await purge_namespace(
        own_cell.database, own_cell.journal.journal, gone, progress=lambda *seen: told.append(seen), chunk=10
    )
    for table in ("tasks", "history_tasks"):
        counts = [rows for name, rows in told if name == table]
        assert counts == sorted(counts)
        assert {10, 20, 25} <= set(counts)
    assert {name for name, _ in told} == set(PURGED)
    assert Counter(name for name, _ in told)["executions"] == 1


async def test_a_purge_that_breaks_off_keeps_what_it_did_and_goes_on(own_cell):
    """Each chunk is committed by itself, and two concurrent runs finish an interrupted purge."""
    gone = await dead_namespace(own_cell)
    for table in ("executions", "tasks", "build_id_to_task_queue"):
        await fill(own_cell, table, gone, 40)

    def stop(table, rows):
        if table == "tasks" and rows >= 20:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        await purge_namespace(own_cell.database, own_cell.journal.journal, gone, progress=stop, chunk=10)
    left = await count(own_cell, gone)
    assert (left["executions"], left["tasks"], left["build_id_to_task_queue"]) == (0, 20, 40)
    both = await asyncio.gather(
        *(purge_namespace(own_cell.database, own_cell.journal.journal, gone, chunk=5) for _ in range(2))
    )
    assert sum(sum(each.values()) for each in both) == 60
    assert set((await count(own_cell, gone)).values()) == {0}


NOTE_DELETION = """
CREATE FUNCTION note_deletion() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER SET search_path = strongroom AS $$
BEGIN
    INSERT INTO deletions VALUES (pg_current_xact_id());
    RETURN OLD;
END $$
"""


async def test_a_chunk_is_short_and_locks_little(own_cell):
    """No transaction of a purge deletes more rows than a chunk has, so it holds few locks and meets no time limit."""
    gone = await dead_namespace(own_cell)
    await fill(own_cell, "tasks", gone, 60, lead=1)
    await execute(own_cell, "CREATE TABLE deletions (transaction xid8)")
    await execute(own_cell, NOTE_DELETION)
    await execute(own_cell, "CREATE TRIGGER note BEFORE DELETE ON tasks FOR EACH ROW EXECUTE FUNCTION note_deletion()")
    assert dict(await purge_namespace(own_cell.database, own_cell.journal.journal, gone, chunk=10)) == {"tasks": 60}
    by_transaction = await fetch(own_cell, "SELECT count(*) AS rows FROM deletions GROUP BY transaction")
    assert [row["rows"] for row in by_transaction] == [10] * 6


async def scanned(cell, *, until):
    """Return the counts of scans of `history_tree` once a condition holds. Sessions report their scans when they end."""
    query = "SELECT idx_scan, seq_tup_read FROM pg_stat_user_tables WHERE relname = 'history_tree'"
    async with asyncio.timeout(60):
        while True:
            [found] = await fetch(cell, query)
            if until(found):
                return found
            await asyncio.sleep(0.05)


async def test_a_small_namespace_in_a_large_table_is_found_by_the_key(own_cell):
    """No statement reads the whole table, so each keeps a short time limit. The control reads it."""
    if own_cell.config.cell.distributed:
        pytest.skip("the scans of a distributed table are counted by shard, on its node")
    gone, rows = await dead_namespace(own_cell), 100_000
    await fill(own_cell, "history_tree", await new_namespace(own_cell), rows)
    await fill(own_cell, "history_tree", gone, 30, first=50_000)
    [before] = await fetch(own_cell, "SELECT idx_scan FROM pg_stat_user_tables WHERE relname = 'history_tree'")
    database = Database(own_cell.config.dsn, insecure=True)
    try:
        assert dict(await purge_namespace(database, own_cell.journal.journal, gone)) == {"history_tree": 30}
    finally:
        await database.aclose()
    after = await scanned(own_cell, until=lambda found: found["idx_scan"] > before["idx_scan"])
    assert after["seq_tup_read"] < rows
    await fetch(own_cell, "SELECT count(data) FROM history_tree")
    await scanned(own_cell, until=lambda found: found["seq_tup_read"] >= after["seq_tup_read"] + rows)


async def test_no_key_is_needed(own_cell):
    """A purge runs without a keyring, even if the namespace's KEK and row are deleted."""
    gone = await dead_namespace(own_cell)
    await fill(own_cell, "executions", gone, 3)
    await execute(own_cell, "DELETE FROM namespaces WHERE namespace_id = $1", gone)
    await execute(own_cell, "DELETE FROM data_keys WHERE namespace_id = $1", gone)
    own_cell.config.kms["local"].keyring.unlink()
    assert dict(await purge_namespace(own_cell.database, own_cell.journal.journal, gone)) == {"executions": 3}


async def test_a_living_namespace_is_not_purged(own_cell):
    """A namespace with keys that are not destroyed, and the cell itself, keep all rows."""
    living, cell_id = await new_namespace(own_cell), own_cell.keyring.cell_id
    for namespace_id, first in ((living, 1), (cell_id, 100)):
        await fill(own_cell, "queue_v2_messages", namespace_id, 3, first=first)
        with pytest.raises(ConditionFailed):
            await purge_namespace(own_cell.database, own_cell.journal.journal, namespace_id)
        assert (await count(own_cell, namespace_id))["queue_v2_messages"] == 3
    await execute(own_cell, "UPDATE data_keys SET state = 'disabled' WHERE namespace_id = $1", living)
    with pytest.raises(ConditionFailed):
        await purge_namespace(own_cell.database, own_cell.journal.journal, living)


@pytest.mark.parametrize("wrong", [None, "x", str(UUID(int=1)), 1])
async def test_what_is_not_an_id_is_refused(cell, wrong):
    """A malformed id is refused before a statement is sent."""
    with pytest.raises(InvalidPersistenceRequest):
        await purge_namespace(cell.database, cell.journal.journal, wrong)


async def test_an_unknown_namespace_has_no_rows(cell):
    """An unknown namespace is not an error."""
    assert dict(await purge_namespace(cell.database, cell.journal.journal, uuid4())) == {}


async def test_a_missing_table_is_told_as_such(own_cell):
    """A purge fails if a table is missing."""
    gone = await dead_namespace(own_cell)
    await execute(own_cell, "DROP TABLE build_id_to_task_queue")
    with pytest.raises(SchemaMismatch):
        await purge_namespace(own_cell.database, own_cell.journal.journal, gone)


async def test_shredding_purges_every_table_and_keeps_the_name_to_the_end(own_cell):
    """A shredding that was interrupted among the rows is found by its name, and shredding it again deletes all others."""
    namespace = await own_cell.namespaces.create("to be shredded", kek=KekRef.parse("local:contract"))
    for table in PURGED:
        await fill(own_cell, table, namespace.namespace_id, 4)

    def stop(step, done):
        if step == "rows" and done > 8:
            raise KeyboardInterrupt

    shredding = own_cell.shredding()
    request = await shredding.request(namespace.namespace_id, grace=timedelta(0), keep_kek=True)
    with pytest.raises(KeyboardInterrupt):
        await shredding.finish(namespace.namespace_id, request.code, progress=stop)
    found = await own_cell.namespaces.find("to be shredded")
    assert found == namespace.namespace_id
    shredded = await shred(own_cell, found)
    assert len(shredded.keys) == 3
    assert shredded.rows_deleted["build_id_to_task_queue"] == 4
    assert set((await count(own_cell, found)).values()) == {0}
