from __future__ import annotations

import asyncio
import re
from contextlib import asynccontextmanager
from dataclasses import replace
from importlib.resources import files
from uuid import uuid4

import pytest

from strongroom.driver.config import load_config, write_config
from strongroom.driver.strongroom import Strongroom
from strongroom.storage import DataBlob, SchemaMismatch, distribute_schema, distribution_statements, schema_status
from strongroom.storage.citus import DISTRIBUTED_TABLES, REFERENCE_TABLES
from strongroom.storage.functions import load_functions
from tests.fix_contract import KEK, new_database, new_namespace, new_shard
from tests.fix_executions import RUNNING, Workflow

pytestmark = pytest.mark.integration

# No Citus runs here: stand-ins with the names and parameters of its functions and catalogues note what is asked of them.
STAND_INS = """
    CREATE TABLE public.pg_dist_partition (logicalrelid regclass);
    CREATE TABLE public.pg_dist_object (objid oid, distribution_argument_index integer);
    CREATE FUNCTION public.create_reference_table(name regclass) RETURNS void LANGUAGE sql AS
        'INSERT INTO public.pg_dist_partition VALUES (name)';
    CREATE FUNCTION public.create_distributed_table(name regclass, col text, colocate_with text) RETURNS void LANGUAGE plpgsql AS $$
    BEGIN
        PERFORM FROM pg_attribute WHERE attrelid = name AND attname = col AND atttypid = 'integer'::regtype;
        IF NOT FOUND THEN RAISE 'no integer column % in %', col, name; END IF;
        IF colocate_with <> 'none' THEN PERFORM colocate_with::regclass; END IF;
        INSERT INTO public.pg_dist_partition VALUES (name);
    END $$;
    CREATE FUNCTION public.create_distributed_function(name regprocedure, argument text, colocate_with text)
    RETURNS void LANGUAGE plpgsql AS $$
    BEGIN
        PERFORM FROM pg_proc WHERE oid = name AND proargnames[1] = argument AND proargtypes[0] = 'integer'::regtype;
        IF NOT FOUND THEN RAISE 'the first argument of % is not %', name, argument; END IF;
        INSERT INTO public.pg_dist_object VALUES (name::oid, 0);
    END $$;
"""

# Statements that ask all nodes by design, and why.
EVERYWHERE = {
    ("history", "list_trees"): "a scan over all histories of a cell",
    ("tasks", "list"): "a scan over all task queues of a cell",
    ("tasks", "list_after"): "a scan over all task queues of a cell",
    ("queue_v2", "list"): "counts the messages of a page of queues",
    ("visibility_records", "put"): "an import writes records of many shards at once, and each row names its own",
}


@pytest.fixture
async def stand_ins(own_cell, monkeypatch):
    """A cell on a server that takes the stand-ins for Citus."""
    async with own_cell.database.connection() as connection:
        await connection.execute(STAND_INS)
        await connection.execute("CREATE EXTENSION IF NOT EXISTS plpgsql")
    statements = "SELECT 1 FROM pg_extension WHERE extname = 'citus'"
    real = type(own_cell.database).transaction

    class Seen:
        def __init__(self, connection):
            self.connection = connection

        def __getattr__(self, name):
            return getattr(self.connection, name)

        async def fetch(self, query, *arguments):
            query = query.replace(statements, "SELECT 1").replace("pg_dist_", "public.pg_dist_")
            return await self.connection.fetch(query, *arguments)

        async def execute(self, query, *arguments):
            return await self.connection.execute(query.replace("SELECT create_", "SELECT public.create_"), *arguments)

    @asynccontextmanager
    async def transaction(self, **options):
        async with real(self, **options) as connection:
            yield Seen(connection)

    monkeypatch.setattr(type(own_cell.database), "transaction", transaction)
    return own_cell


async def test_the_statements_are_accepted_and_run_once(stand_ins):
    """Names, columns, types and signatures are those of the schema; a second time there is nothing left to do."""
    ran = await distribute_schema(stand_ins.database)
    assert ran == distribution_statements()
    assert await distribute_schema(stand_ins.database) == []
    status = await schema_status(stand_ins.database)
    assert status.distributed
    assert status.is_current


async def test_an_interrupted_distribution_goes_on(stand_ins):
    """What Citus has already is passed over."""
    async with stand_ins.database.connection() as connection:
        await connection.execute("SELECT public.create_reference_table('strongroom.cell')")
    ran = await distribute_schema(stand_ins.database)
    assert ran == [statement for statement in distribution_statements() if "'strongroom.cell'" not in statement]


async def test_a_server_without_citus_is_refused_and_left_alone(own_cell):
    """The message says what to run."""
    with pytest.raises(SchemaMismatch, match="CREATE EXTENSION citus"):
        await distribute_schema(own_cell.database)
    assert not (await schema_status(own_cell.database)).distributed


async def test_every_table_has_its_place(own_cell):
    """Distributed or reference; a new table must be given one. Each unique index has the distribution column, as Citus wants."""
    async with own_cell.database.connection() as connection:
        rows = await connection.fetch("SELECT tablename::text AS name FROM pg_tables WHERE schemaname = 'strongroom'")
        indexes = await connection.fetch(
            "SELECT tablename::text AS name, indexdef FROM pg_indexes WHERE schemaname = 'strongroom' AND indexdef LIKE '% UNIQUE %'"
        )
    assert {row["name"] for row in rows} == set(DISTRIBUTED_TABLES) | set(REFERENCE_TABLES)
    for row in indexes:
        column = DISTRIBUTED_TABLES.get(row["name"])
        assert column is None or re.search(rf"\({column}\b", row["indexdef"]), row["indexdef"]


def unconfined(text):
    """Return the distributed tables that a statement touches without a condition on their distribution column."""
    text = re.sub(r"--.*", "", text)
    faults = []
    for statement in re.split(r";\s*\n|\bTHEN\b|\bLOOP\b|\bBEGIN\b", text):
        for match in re.finditer(r"\b(FROM|JOIN|UPDATE|USING|INTO)\s+(\w+)(?:\s+AS)?(?:\s+(\w+))?", statement):
            verb, table, alias = match.groups()
            column = DISTRIBUTED_TABLES.get(table)
            if column is None:
                continue
            if alias is None or alias.upper() in {
                "WHERE",
                "SET",
                "ON",
                "ORDER",
                "FOR",
                "LEFT",
                "JOIN",
                "VALUES",
                "SELECT",
            }:
                alias = table
            confined = [rf"\b{alias}\.{column} = (p_shard|\$\d+)\b", rf"(?<![.\w]){column} = (p_shard|\$\d+)\b"]
            if verb == "INTO":
                confined += [r"= p_shard\b", r"SELECT (p_shard|\$\d+)\b", r"VALUES \((p_shard|\$\d+)\b"]
            if not any(re.search(pattern, statement) for pattern in confined):
                faults.append((table, alias))
    return faults


@pytest.mark.parametrize("name", sorted(load_functions(distributed=True)))
def test_every_statement_of_a_function_is_confined_to_the_shard(name):
    """Each table that a function touches is filtered by the shard that the function is called for."""
    assert unconfined(load_functions(distributed=True)[name].sql) == []


def test_the_check_of_confinement_catches_what_is_not_confined():
    """The control: the same functions in their other form, and a join that forgets one table."""
    assert unconfined(load_functions(distributed=False)["write_executions"].sql)
    assert unconfined("SELECT 1 FROM executions e JOIN shards s ON true WHERE e.shard_id = $1") == [("shards", "s")]


def test_every_plain_statement_is_confined():
    """But for those that ask all nodes by design, each of which is still there."""
    found = set()
    for entry in (files("strongroom.storage") / "sql").iterdir():
        if (
            not entry.name.endswith(".sql") or entry.name == "purge.sql"
        ):  # a purge goes through all shards, chunk by chunk
            continue
        for part in re.split(r"(?m)^-- name: ", entry.read_text())[1:]:
            name, _, body = part.partition("\n")
            if unconfined(body):
                found.add((entry.name.removesuffix(".sql"), name))
    assert found == set(EVERYWHERE)


async def test_the_confined_functions_do_the_same_for_many_callers(contract_dsn, tmp_path):
    """On one server: 64 callers over eight shards, each statement with requests of one shard only."""
    path = tmp_path / "strongroom.toml"
    write_config(path, dsn=await new_database(contract_dsn), shards=64)
    config = load_config(path)
    await Strongroom.init(config)
    async with Strongroom.open(config) as plain:
        await plain.create_local_kek(KEK)
        async with plain.database.connection() as connection:
            await connection.execute("UPDATE cell SET distributed = true")
            for function in load_functions(distributed=True).values():
                await connection.execute(function.sql.replace("CREATE FUNCTION", "CREATE OR REPLACE FUNCTION"))
    config = replace(config, cell=replace(config.cell, distributed=True))
    async with Strongroom.open(config) as cell:
        namespace_id = await new_namespace(cell)
        shards = [await new_shard(cell) for _ in range(8)]
        batches = []
        run_writes = cell.executions._writes._run

        async def watched(connection, writes):
            batches.append({write.shard_id for write in writes})
            return await run_writes(connection, writes)

        cell.executions._writes._run = watched
        workflows = [Workflow(cell, namespace_id, shards[number % 8], f"order {number}") for number in range(64)]

        async def work(workflow):
            first = await workflow.create(workflow.full(of=RUNNING))
            mutation = workflow.mutation(first.run_id, execution_info=DataBlob(uuid4().bytes))
            await workflow.update(mutation, update_workflow_new_events=workflow.events(first.run_id))
            state = await workflow.get(first.run_id)
            assert state.execution_info == mutation.execution_info
            assert len(await workflow.history(first.run_id)) == 1

        await asyncio.gather(*(work(workflow) for workflow in workflows))
        assert all(len(batch) == 1 for batch in batches)
        assert len(batches) < 128, "callers of one shard did share statements"
