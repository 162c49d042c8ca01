from __future__ import annotations

import asyncio
from dataclasses import replace
from importlib.resources import files
from uuid import uuid4

import pytest

from strongroom.driver.config import load_config
from strongroom.driver.importing.importer import import_executions
from strongroom.driver.strongroom import Strongroom
from strongroom.kms import InvalidRequest, KekRef
from strongroom.storage import (
    EVERY_NAMESPACE,
    NO_NAMESPACE,
    Cell,
    CellMismatch,
    Database,
    SchemaMismatch,
    Unavailable,
    apply_schema,
    check_cell,
    check_schema,
    claim_cell,
    current_version,
)
from strongroom.storage.schema.migrations import Migration, migrations
from strongroom.storage.schema.policies import create_policies
from strongroom.visibility import attribute_types
from tests.support.databases import dsn_of
from tests.support.fixtures.driver_role import owner_connection
from tests.support.shredding import shred
from tests.support.tree import ROOT

pytestmark = pytest.mark.integration

CATALOGUE = """
    SELECT c.relname AS "table", a.attname AS "column"
    FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE n.nspname = 'strongroom' AND c.relkind IN ('r', 'p', 'm', 'v', 'f') AND a.attnum > 0 AND NOT a.attisdropped
      AND c.relname <> 'visibility_search' -- which keeps nothing: a table seen through a condition
"""


async def catalogue(database):
    """Return (table, column) for every column of the schema."""
    async with database.connection(EVERY_NAMESPACE) as connection:
        return {(row["table"], row["column"]) for row in await connection.fetch(CATALOGUE)}


async def shape(database):
    """Return columns, types, indexes and migrations, which a second application must not change."""
    async with database.connection(EVERY_NAMESPACE) as connection:
        columns = await connection.fetch(
            "SELECT table_name, column_name, data_type, is_nullable, column_default FROM information_schema.columns "
            "WHERE table_schema = 'strongroom' ORDER BY 1, 2"
        )
        indexes = await connection.fetch("SELECT indexdef FROM pg_indexes WHERE schemaname = 'strongroom' ORDER BY 1")
        versions = await connection.fetch("SELECT version, name, applied_at FROM schema_version ORDER BY 1")
    return [[tuple(row.values()) for row in rows] for rows in (columns, indexes, versions)]


STRUCTURE = """
    SELECT 'column' AS kind, c.relname || '.' || a.attname AS name, concat_ws(
        ' ', format_type(a.atttypid, a.atttypmod), a.attnotnull, a.attstorage, pg_get_expr(d.adbin, d.adrelid)) AS definition
    FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid
    LEFT JOIN pg_attrdef d ON d.adrelid = a.attrelid AND d.adnum = a.attnum
    WHERE c.relnamespace = 'strongroom'::regnamespace AND c.relkind = 'r' AND a.attnum > 0 AND NOT a.attisdropped
    UNION ALL
    SELECT 'constraint', conrelid::regclass || '.' || conname, pg_get_constraintdef(oid)
    FROM pg_constraint WHERE connamespace = 'strongroom'::regnamespace
    UNION ALL
    SELECT 'index', indexname, indexdef FROM pg_indexes WHERE schemaname = 'strongroom'
    UNION ALL
    SELECT 'policy', polrelid::regclass || '.' || polname,
           concat_ws(' ', polcmd, polpermissive, polroles::text, pg_get_expr(polqual, polrelid))
    FROM pg_policy
    UNION ALL
    SELECT 'view', viewname, definition FROM pg_views WHERE schemaname = 'strongroom'
    UNION ALL
    SELECT 'options', relname, concat_ws(' ', array_to_string(reloptions, ' '), relrowsecurity, relforcerowsecurity) FROM pg_class
    WHERE relnamespace = 'strongroom'::regnamespace AND relkind = 'r'
"""


async def structure(database):
    """Return kind and name -> definition of all columns, constraints, indexes and storage parameters."""
    async with database.connection(EVERY_NAMESPACE) as connection:
        rows = await connection.fetch(STRUCTURE)
    return {(row["kind"], row["name"]): row["definition"] for row in rows}


async def test_schema_sql_is_what_all_migrations_make(database):
    """The file that people read is the schema that the migrations make. The control: any change of the structure is noticed."""
    await apply_schema(database)
    migrated = await structure(database)
    text = (files("strongroom.storage") / "sql" / "schema" / "schema.sql").read_text(encoding="utf-8")
    async with database.connection(EVERY_NAMESPACE) as connection:
        await connection.execute(f"DROP SCHEMA strongroom CASCADE; CREATE SCHEMA strongroom; {text}")
        await create_policies(connection)
    assert await structure(database) == migrated
    for change, name in (
        ("ALTER TABLE shards ALTER COLUMN data DROP NOT NULL", ("column", "shards.data")),
        ("ALTER TABLE tasks ALTER COLUMN data SET STORAGE EXTERNAL", ("column", "tasks.data")),
        ("ALTER TABLE cell DROP CONSTRAINT cell_shard_count_check", ("constraint", "cell.cell_shard_count_check")),
        ("DROP INDEX visibility_records_tokens", ("index", "visibility_records_tokens")),
        ("ALTER TABLE executions RESET (fillfactor)", ("options", "executions")),
        ("ALTER TABLE tasks DISABLE ROW LEVEL SECURITY", ("options", "tasks")),
        ("ALTER POLICY namespaces ON history_node USING (true)", ("policy", "history_node.namespaces")),
        ("CREATE OR REPLACE VIEW visibility_search AS SELECT * FROM visibility_records", ("view", "visibility_search")),
    ):
        async with database.connection(EVERY_NAMESPACE) as connection:
            await connection.execute(change)
        assert (await structure(database)).get(name) != migrated[name]


def classed_columns(document):
    """Return (table, column) -> (class, what a thief learns) from the table between the marks in a document."""
    begin, end = "<!-- columns -->", "<!-- /columns -->"
    assert document.count(begin) == document.count(end) == 1
    lines = document[document.index(begin) + len(begin) : document.index(end)].strip().splitlines()
    rows = [[cell.strip().strip("`") for cell in line.strip().strip("|").split("|")] for line in lines if line.strip()]
    header, rule, *body = rows
    assert [name.lower() for name in header] == ["table", "column", "class", "what a thief learns"]
    assert all(set(cell) <= set("-:") for cell in rule)
    assert body
    assert all(len(row) == len(header) and all(row) for row in body), "every cell of the table is filled in"
    classed = {(table, column): (kind, learns) for table, column, kind, learns in body}
    assert len(classed) == len(body), "a column is in the table twice"
    return classed


async def set_version(database, version):
    async with database.connection(EVERY_NAMESPACE) as connection:
        await connection.execute(
            "INSERT INTO schema_version (version, name, applied_at) VALUES ($1, 'of the future', now())", version
        )


async def test_applying_again_changes_nothing(database):
    """The first application runs every step in order. The second one runs none and changes nothing."""
    steps = await apply_schema(database)
    assert [step.version for step in steps] == list(range(1, current_version() + 1))
    before = await shape(database)
    assert await apply_schema(database) == []
    assert await shape(database) == before
    await check_schema(database)


async def test_several_that_apply_at_once_do_it_once(dsn):
    """Services that start together do not run a step twice, and none of them fails."""
    databases = [Database(dsn, insecure=True) for _ in range(4)]
    try:
        outcomes = await asyncio.gather(*(apply_schema(database) for database in databases for _ in range(2)))
        assert sorted(map(len, outcomes)) == [0] * 7 + [current_version()]
        async with databases[0].connection(NO_NAMESPACE) as connection:
            rows = await connection.fetch("SELECT version FROM schema_version ORDER BY version")
        assert [row["version"] for row in rows] == list(range(1, current_version() + 1))
    finally:
        for database in databases:
            await database.aclose()


async def test_several_that_init_at_once_agree(config_path):
    """Initialising a cell from several places at once gives one cell with one set of keys, and no failure."""
    config = load_config(config_path)
    await asyncio.gather(*(Strongroom.init(config) for _ in range(4)))
    async with Strongroom.open(config) as strongroom:
        keys = await strongroom.keyring.store.list_data_keys(config.cell.cell_id)
        assert [key.version for key in keys] == [1, 1, 1]
        async with strongroom.database.connection(EVERY_NAMESPACE) as connection:
            assert len(await connection.fetch("SELECT 1 FROM cell")) == 1
        kek = KekRef.parse("local:one")
        await strongroom.create_kek(kek)
        created = await strongroom.namespaces.create("works", kek=kek)
        assert await strongroom.namespaces.get("works") == created


async def test_a_newer_database_is_refused_everywhere(config_path, database):
    """Opening, initialising and checking all refuse the database of a newer version, and change nothing."""
    config = load_config(config_path)
    await Strongroom.init(config)
    await set_version(database, current_version() + 1)
    before = await shape(database)
    with pytest.raises(SchemaMismatch, match="newer"):
        async with Strongroom.open(config):
            pass
    for call in (Strongroom.init(config), apply_schema(database), check_schema(database)):
        with pytest.raises(SchemaMismatch, match="newer"):
            await call
    assert await shape(database) == before


async def test_an_empty_database_says_what_to_run(config_path):
    """The error of a database without a schema names the command that creates it."""
    config = load_config(config_path)
    with pytest.raises(SchemaMismatch, match="strongroom schema apply"):
        await check_schema_of(config.dsn)


async def check_schema_of(dsn):
    database = Database(dsn, insecure=True)
    try:
        await check_schema(database)
    finally:
        await database.aclose()


async def test_an_older_database_says_what_to_run(config_path, database):
    """The error of a database that lacks some or all steps names the command that runs them."""
    config = load_config(config_path)
    await Strongroom.init(config)
    async with database.connection(EVERY_NAMESPACE) as connection:
        await connection.execute("UPDATE schema_version SET version = version - 1")
    with pytest.raises(SchemaMismatch, match="strongroom schema apply"):
        async with Strongroom.open(config):
            pass
    async with database.connection(EVERY_NAMESPACE) as connection:
        await connection.execute("DROP SCHEMA strongroom CASCADE")
    with pytest.raises(SchemaMismatch, match="strongroom schema apply"):
        async with Strongroom.open(config):
            pass
    assert len(await apply_schema(database)) == current_version()
    await check_schema(database)


@pytest.mark.parametrize("table", ["cell", "namespaces", "data_keys", "history_node", "visibility_records"])
async def test_a_missing_table_is_told_as_such(strongroom, namespace, table):
    """A missing table raises our error with advice, not an error of asyncpg."""
    async with owner_connection(strongroom) as connection:
        await connection.execute(f"DROP TABLE {table} CASCADE")
    with pytest.raises(SchemaMismatch, match="strongroom schema apply"):
        await use_everything(strongroom, namespace)


async def use_everything(strongroom, namespace):
    await check_cell(strongroom.database, strongroom.config.cell)
    await strongroom.namespaces.list_namespaces()
    await strongroom.keyring.store.list_data_keys(namespace.namespace_id)
    await strongroom.visibility.count_workflow_executions(namespace.namespace_id, "", {})
    await shred(strongroom, namespace.namespace_id)


STEPS = (
    *migrations(),
    Migration(2, "0002_pre_note.sql", "ALTER TABLE history_tree ADD COLUMN note text NOT NULL DEFAULT 'none'"),
    Migration(3, "0003_pre_index.sql", "CREATE INDEX history_tree_note ON history_tree (note)"),
    Migration(4, "0004_post_note.sql", "ALTER TABLE history_tree ALTER COLUMN note DROP DEFAULT"),
)


async def test_an_older_database_with_rows_is_brought_up_to_date(dsn):
    """From version 1 with two callers at once: each later step is run once, in order, and the rows stay."""
    databases = [Database(dsn, insecure=True) for _ in range(2)]
    assert await apply_schema(databases[0], steps=STEPS[:1]) == [*STEPS[:1]]
    async with databases[0].connection(EVERY_NAMESPACE) as connection:
        await connection.execute("INSERT INTO history_tree VALUES (1, $1, $1, $1, 'row')", uuid4())
    ran = await asyncio.gather(*(apply_schema(database, steps=STEPS) for database in databases))
    assert sorted(ran, key=len) == [[], [*STEPS[1:]]]
    async with databases[0].connection(EVERY_NAMESPACE) as connection:
        [row] = await connection.fetch("SELECT note FROM history_tree")
        assert row["note"] == "none"
        rows = await connection.fetch("SELECT version, name FROM schema_version ORDER BY version")
    assert [(row["version"], row["name"]) for row in rows] == [(step.version, step.name) for step in STEPS]
    for database in databases:
        await database.aclose()


async def test_a_later_step_that_fails_leaves_the_older_schema(database):
    """All missing steps are one transaction: the third one fails, and the second one leaves nothing."""
    await apply_schema(database, steps=STEPS[:1])
    before = await shape(database)
    broken = Migration(3, "0003_pre_broken.sql", "ALTER TABLE no_such_table ADD COLUMN note text")
    with pytest.raises(SchemaMismatch):
        await apply_schema(database, steps=(*STEPS[:2], broken))
    assert await shape(database) == before


def test_steps_are_read_in_the_order_of_their_numbers(tmp_path):
    """`pre` and `post` steps share one sequence of numbers, and other files are left out."""
    for name in ("0010_post_drop.sql", "0002_pre_add.sql", "0001_pre_initial.sql", "notes.sql", "0003_during_x.sql"):
        (tmp_path / name).write_text(f"-- {name}")
    steps = migrations(tmp_path)
    assert [step.version for step in steps] == [1, 2, 10]
    assert steps[1] == Migration(2, "0002_pre_add.sql", "-- 0002_pre_add.sql")


async def test_a_step_that_fails_leaves_nothing(database):
    """If a table exists already, the failed step leaves no part of the schema and no recorded version."""
    async with database.connection(EVERY_NAMESPACE) as connection:
        await connection.execute("CREATE SCHEMA strongroom")
        await connection.execute("CREATE TABLE strongroom.namespaces (own integer)")
    before = await catalogue(database)
    with pytest.raises(Exception, match="already has an object that the schema creates") as caught:
        await apply_schema(database)
    assert type(caught.value).__module__.startswith("strongroom.")
    assert await catalogue(database) == before == {("namespaces", "own")}


async def test_another_cell_is_refused(config_path, database):
    """A configuration with another cell id or number of shards neither opens nor claims the database."""
    config = load_config(config_path)
    await Strongroom.init(config)
    others = [
        Cell(uuid4(), config.cell.shard_count),
        Cell(config.cell.cell_id, config.cell.shard_count + 1),
    ]
    advice = ("use the configuration of that cell", r"set cell\.shards to the number of the database")
    for cell, what_to_do in zip(others, advice, strict=True):
        with pytest.raises(CellMismatch, match=what_to_do):
            async with Strongroom.open(replace(config, cell=cell)):
                pass
        for call in (Strongroom.init(replace(config, cell=cell)), claim_cell(database, cell)):
            with pytest.raises(CellMismatch):
                await call
    await check_cell(database, config.cell)
    async with Strongroom.open(config) as strongroom:
        assert await strongroom.keyring.store.list_data_keys(others[0].cell_id) == []


async def test_a_database_of_no_cell_says_what_to_run(database):
    """A schema without a cell names the command that claims it."""
    await apply_schema(database)
    with pytest.raises(CellMismatch, match="strongroom init"):
        await check_cell(database, Cell(uuid4(), 512))


async def test_a_server_that_is_not_there_is_unavailable(config_path):
    """A missing server, a missing database and a malformed dsn raise our errors."""
    config = load_config(config_path)
    for dsn in (
        "postgresql://127.0.0.1:1/none",
        "postgresql:///none?host=/nowhere",
        dsn_of(config.dsn, database="no_such"),
    ):
        with pytest.raises(Unavailable):
            await check_schema_of(dsn)
    with pytest.raises(InvalidRequest, match=r"postgresql://user@host/database"):
        await check_schema_of("not a dsn")


ZONES = ("America/St_Johns", "Pacific/Kiritimati", "Asia/Kathmandu")


@pytest.mark.parametrize("zone", ZONES)
async def test_the_time_zone_of_the_database_changes_no_answer(config_path, sample, zone):
    """Times do not depend on the time zone of the database."""
    config = load_config(config_path)
    await Strongroom.init(config)
    query = "CloseTime > '2026-11-23T18:00:00Z' OR DueDate < '2027-03-01T00:00:00+05:45' OR CloseTime IS NULL"
    async with Strongroom.open(config) as strongroom:
        kek = KekRef.parse("local:zoned")
        await strongroom.create_kek(kek)
        namespace = await strongroom.namespaces.create("zoned", kek=kek)
        await import_executions(strongroom, namespace, sample[:30])
        namespace = await strongroom.namespaces.get("zoned")
        before = await answers(strongroom, namespace, sample[:30], query)
        async with strongroom.database.connection(EVERY_NAMESPACE) as connection:
            name = (await connection.fetchrow("SELECT current_database() AS name"))["name"]
            await connection.execute(f"ALTER DATABASE {name} SET timezone TO '{zone}'")
            await connection.execute(f"ALTER DATABASE {name} SET datestyle TO 'SQL, DMY'")
    async with Strongroom.open(config) as strongroom:
        assert await answers(strongroom, namespace, sample[:30], query) == before
        await import_executions(strongroom, namespace, sample[30:35])
        listed = await strongroom.namespaces.list_namespaces()
        assert [each.created_at for each in listed] == [namespace.created_at]
        found = await strongroom.visibility.count_workflow_executions(namespace.namespace_id, "", {})
        assert found.count == 35


async def answers(strongroom, namespace, executions, query):
    page = await strongroom.visibility.list_workflow_executions(
        namespace.namespace_id, query, attribute_types(namespace), page_size=1000
    )
    assert page.executions
    records = [
        await strongroom.visibility.get_workflow_execution(
            namespace.namespace_id,
            shard_id=await strongroom.shards.shard_of(namespace.namespace_id, execution.record.workflow_id),
            workflow_id=execution.record.workflow_id,
            run_id=execution.record.run_id,
        )
        for execution in executions
    ]
    registered = await strongroom.keyring.store.list_data_keys(namespace.namespace_id)
    return page.executions, records, registered, await strongroom.namespaces.get("zoned")


def design():
    return (ROOT / "docs" / "reference" / "schema.md").read_text(encoding="utf-8")


async def test_every_column_is_classed(database):
    """The reference page classes exactly the columns of the schema."""
    await apply_schema(database)
    assert set(classed_columns(design())) == await catalogue(database)


async def test_a_column_that_nobody_classed_is_noticed(database):
    """The control of the comparison: a new column, table or view in the database is noticed."""
    await apply_schema(database)
    for addition, undo, added in (
        ("ALTER TABLE namespaces ADD COLUMN name text", "ALTER TABLE namespaces DROP COLUMN name", "namespaces.name"),
        ("CREATE TABLE notes (note text)", "DROP TABLE notes", "notes.note"),
        ("CREATE VIEW peek AS SELECT cell_id FROM cell", "DROP VIEW peek", "peek.cell_id"),
    ):
        async with database.connection(EVERY_NAMESPACE) as connection:
            await connection.execute(addition)
        assert await catalogue(database) - set(classed_columns(design())) == {tuple(added.split("."))}
        async with database.connection(EVERY_NAMESPACE) as connection:
            await connection.execute(undo)


MARKED = """
<!-- columns -->
| table | column | class | what a thief learns |
|---|---|---|---|
| `cell` | `cell_id` | clear | that it is this cell |
| `cell` | `shard_count` | clear | how many shards |
<!-- /columns -->
"""


def test_the_reader_of_the_table_of_columns_reads_it():
    """A row that is doubled or incomplete is refused."""
    assert set(classed_columns(MARKED)) == {("cell", "cell_id"), ("cell", "shard_count")}
    doubled = MARKED.replace("`shard_count`", "`cell_id`")
    unclassed = MARKED.replace("| clear | how many shards |", "|  | how many shards |")
    for document in (doubled, unclassed, MARKED.replace("what a thief learns", "notes"), "no table"):
        with pytest.raises((AssertionError, ValueError)):
            classed_columns(document)
