"""The functions of the database set the namespaces of their own call, and leave the caller's as they were."""

from __future__ import annotations

import re
from contextlib import suppress
from dataclasses import replace
from urllib.parse import quote
from uuid import uuid4

import asyncpg
import pytest

from strongroom.kms import StrongroomError
from strongroom.storage import EVERY_NAMESPACE, NO_NAMESPACE, Database
from strongroom.storage.engine.connection import unwrapped
from strongroom.storage.engine.functions import Function, load_functions
from strongroom.storage.engine.row_level_security import SET_BY_FUNCTION
from strongroom.storage.fences import ShardFences
from tests.support.databases import administer, quoted, superuser_of
from tests.support.deaf import opened_deaf
from tests.support.every_table import KEK, every_table
from tests.support.fixtures.driver_role import owner_connection
from tests.support.row_level_security.crossed_calls import crossed_calls

pytestmark = pytest.mark.integration

SETTING = "SELECT current_setting('strongroom.namespaces', true)"
RESTORES = "PERFORM set_config('strongroom.namespaces', callers, true);"
CALLERS = f"/*0123456789abcdef*/{uuid4()}"
"""The setting of the caller in these tests. No row has its namespace."""
EVERYTHING = "SELECT count(*) FROM*"
"""A setting that shows all rows to each statement that begins with these 20 characters, which are its mark."""


@pytest.fixture
def calls_in_transactions(monkeypatch):
    """Run each call of a function in a transaction of a caller; return the setting after each call, and the answers, by function."""
    found = {}
    call = Function.call

    async def checked(function, connection, *arguments, **options):
        async with connection.transaction():
            await connection.execute("SELECT set_config('strongroom.namespaces', $1, true)", CALLERS)
            rows = await call(function, connection, *arguments, **options)
            after = await connection.fetchval(SETTING)
            answer = bool(rows[0]["result"]) if rows and "result" in rows[0].keys() else bool(rows)  # noqa: SIM118 - not a dict
            found.setdefault(function.name.rpartition("_")[0], set()).add((after, answer))
        return rows

    monkeypatch.setattr(Function, "call", checked)
    return found


async def test_a_function_leaves_the_callers_namespaces_as_they_were(service_cell, calls_in_transactions):
    """In a transaction, whatever a function answers, the statements after it see the caller's namespaces."""
    table = await every_table(service_cell)
    table.expected["record shard"] = await service_cell.shards.shard_of(table.namespace_id, "order 0")
    other = await service_cell.namespaces.create("other", kek=KEK, search_attributes={"Customer": "Keyword"})
    for other_id in (other.namespace_id, table.namespace_id):
        for call in crossed_calls(table, other_id).values():
            with suppress(StrongroomError, ValueError):
                await call()
    functions, ids = load_functions(distributed=False), [uuid4() for _ in range(3)]
    entry = (uuid4(), 1, b"")
    async with service_cell.by_key.connection(SET_BY_FUNCTION) as connection:
        await functions["add_history_tasks"].call(connection, table.shard_id, 99, b"", ids[0], [], [], [], [], *entry)
        # A single read is a plain statement, so these are called here.
        nodes = ([table.shard_id], *([one] for one in ids), [1], [9], [5], [False], [0], [0])
        await functions["get_history_nodes"].call(connection, table.shard_id, *nodes)
        page = ([table.shard_id], [1], [0], [0], [0], [9], [5])
        await functions["get_history_tasks"].call(connection, table.shard_id, *page)
        await functions["delete_history_branch"].call(
            connection, table.shard_id, *ids, [ids[0]], [], [], None, None, *entry
        )
        fork = functions["fork_history_branch"]
        await fork.call(connection, table.shard_id, *ids[:2], [ids[2]], ids[0], b"", ids[2], b"", *entry)
    assert set(calls_in_transactions) == set(load_functions(distributed=False))
    assert {after for found in calls_in_transactions.values() for after, _ in found} == {CALLERS}
    answers = {name: {answer for _, answer in found} for name, found in calls_in_transactions.items()}
    assert {name for name, found in answers.items() if found == {True, False}} >= {
        *("write_executions", "create_tasks", "get_executions", "get_current_executions"),
        *("fork_history_branch", "delete_history_branch", "add_history_tasks"),
    }


async def test_a_function_that_does_not_restore_is_noticed(service_cell):
    """The control: without its last statement, a function leaves its own namespaces to the rest of the caller's transaction."""
    function = load_functions(distributed=False)["get_executions"]
    assert function.sql.count(RESTORES) == 1
    async with owner_connection(service_cell) as connection:
        await connection.execute(f"DROP FUNCTION strongroom.{function.name}")
        await connection.execute(function.sql.replace(RESTORES, ""))
        namespace_id = uuid4()
        transaction = unwrapped(connection).transaction()
        await transaction.start()
        await connection.execute(f"SELECT set_config('strongroom.namespaces', '{CALLERS}', true)")
        await function.call(connection, 1, [1], [namespace_id], [b"0" * 16], [uuid4()])
        row = await connection.fetchrow(f"{SETTING} AS setting")
        await transaction.rollback()
    assert row["setting"][20:] == str(namespace_id)


def test_every_way_out_of_a_function_restores():
    """The last statement before each RETURN, and before the end, restores the caller's namespaces. No function has a SET clause."""
    for form in (False, True):
        for name, function in load_functions(distributed=form).items():
            head, _, body = function.sql.partition("AS $$")
            assert " SET " not in head, name
            lines = [line.strip() for line in body.strip().splitlines()]
            ways_out = [n for n, line in enumerate(lines) if re.match(r"RETURN\b(?! QUERY)", line)]
            if not lines[-3].startswith("RETURN"):
                ways_out.append(len(lines) - 2)
                assert lines[-2] == "END"
            assert ways_out
            assert {lines[n - 1] for n in ways_out} == {RESTORES}, name
            assert "RETURN NEXT" in body or body.count("RETURN;") <= 1


async def test_a_function_that_fails_changes_nothing_for_its_caller(service_cell):
    """After a rollback to a savepoint the caller's namespaces are visible again; after the transaction, the session's."""
    table = await every_table(service_cell)
    function = load_functions(distributed=False)["add_history_tasks"]
    connection = await asyncpg.connect(service_cell.config.dsn)
    arguments = "$1, 1, $3, $2, ARRAY[1]::smallint[], ARRAY[0], ARRAY[4711], ARRAY['x'::bytea], gen_random_uuid(), 1, 'x'::bytea"
    call = f"SELECT strongroom.{function.name}({arguments})"
    given = (table.shard_id, table.namespace_id, await ShardFences(service_cell.keyring).mac(table.shard_id, 1))
    assert await connection.fetchval(call, *given) == 0
    assert not await connection.fetchval(SETTING)
    async with connection.transaction():
        await connection.execute(f"SELECT set_config('strongroom.namespaces', '{CALLERS}', true)")
        with pytest.raises(asyncpg.UniqueViolationError):
            async with connection.transaction():
                await connection.execute(call, *given)
        assert await connection.fetchval(SETTING) == CALLERS
    assert not await connection.fetchval(SETTING)
    with pytest.raises(asyncpg.UndefinedObjectError):  # the setting of the function is not there either
        await connection.fetchval("SELECT count(*) FROM strongroom.history_tasks")
    await connection.close()


@pytest.mark.parametrize("given", ["the role", "the database", "the dsn"])
async def test_a_default_that_shows_all_namespaces_has_no_effect(service_cell, given):
    """A default of the role, of the database or of the dsn shows nobody a row that the driver did not ask for."""
    table = await every_table(service_cell)
    dsn = service_cell.config.dsn
    raw = await asyncpg.connect(dsn)
    role, name = await raw.fetchval("SELECT current_user"), await raw.fetchval("SELECT current_database()")
    await raw.close()
    if given == "the dsn":
        dsn = f"{dsn}&strongroom.namespaces={quote(EVERYTHING)}"
    else:
        target = f"ROLE {quoted(role)}" if given == "the role" else f"DATABASE {quoted(name)}"
        await administer(superuser_of(dsn), f"ALTER {target} SET strongroom.namespaces = '{EVERYTHING}'")
    raw = await asyncpg.connect(dsn)
    assert await raw.fetchval("SELECT count(*) FROM strongroom.history_node") > 0, (
        "the default has an effect on other clients"
    )
    await raw.close()
    database = Database(dsn, size=1, insecure=True)
    for namespaces, sees in (
        (NO_NAMESPACE, False),
        (uuid4(), False),
        (EVERY_NAMESPACE, True),
        (table.namespace_id, True),
    ):
        async with database.connection(namespaces) as connection:
            row = await connection.fetchrow("SELECT count(*) > 0 AS sees FROM strongroom.history_node")
        assert row["sees"] == sees
    await database.aclose()
    async with opened_deaf(replace(service_cell.config, dsn=dsn)) as cell:
        await table.on(cell).read()
