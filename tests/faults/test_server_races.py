from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass

import asyncpg
import pytest

from strongroom.storage import (
    EVERY_NAMESPACE,
    NO_NAMESPACE,
    ConditionFailed,
    Database,
    DatabaseUnavailable,
    HistoryBranch,
    HistoryNode,
    SchemaMismatch,
    StorageError,
)
from strongroom.storage.errors import AppendHistoryTimeout, ResourceExhausted
from tests.support.faults import server_faults as faults
from tests.support.faults.server_bench import PLANTED, WRITES, betrays, changed, check, payload, told

pytestmark = pytest.mark.integration

PAUSE, NEEDED = 1, 2
"""Keys of the advisory locks in a deadlock. The cell has no lock with these keys."""


async def test_a_serialization_failure(server_bench, heard):
    """A statement of its own fails if another transaction was faster. A shared one is sent again and succeeds."""
    async with server_bench.host() as host:
        before = await server_bench.rows()
        async with (
            server_bench.raising_once("executions", "INSERT", "40001"),
            server_bench.raising_once("shards", "UPDATE", "40001"),
        ):
            answers = await host.at_once("create", "shard")
        assert heard == {"40001"}
        assert answers["create"] is None
        check(answers["shard"], DatabaseUnavailable, committed=False, says="in favour of another")
        assert "shards" not in changed(before, await server_bench.rows())
        await host.serves()


@asynccontextmanager
async def circle(bench, table, event):
    """Make a statement with an event on a table the second waiter of a deadlock. Yield a function that waits for it.

    The statement stops at the lock PAUSE, after it has locked its shard's row. Another session then waits for that row, and the
    statement goes on to a lock of that session. PostgreSQL checks a wait for a deadlock once, some time after the wait began, so only
    the second wait is sure to be found.
    """
    name = f"waits_on_{table}"
    await bench.admin.execute(
        f"CREATE FUNCTION {name}() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN"
        f" PERFORM pg_advisory_xact_lock({PAUSE}); PERFORM pg_advisory_xact_lock({NEEDED}); RETURN NULL; END $$;"
        f"CREATE TRIGGER {name} AFTER {event} ON {table} EXECUTE FUNCTION {name}()"
    )
    rival = await bench.administrator()

    async def close():
        await bench.waiting(1)
        locking = asyncio.ensure_future(rival.execute("LOCK TABLE shards IN ACCESS EXCLUSIVE MODE"))
        await bench.waits(rival)
        await bench.admin.execute(f"SELECT pg_advisory_unlock({PAUSE})")
        await locking
        await rival.execute("COMMIT")

    try:
        await bench.admin.execute(f"SELECT pg_advisory_lock({PAUSE})")
        await rival.execute("BEGIN; SET LOCAL deadlock_timeout = '600s'")
        await rival.execute(f"SELECT pg_advisory_xact_lock({NEEDED})")
        yield close
    finally:
        rival.terminate()
        await bench.admin.execute("SELECT pg_advisory_unlock_all()")
        await bench.admin.execute(f"DROP TRIGGER {name} ON {table}; DROP FUNCTION {name}()")


async def test_a_deadlock(server_bench, heard):
    """A transaction that is the victim of a deadlock has no effect. A write of a run is sent again and succeeds."""
    async with server_bench.host() as host:
        namespace_id, shard_id = host.workflow.namespace_id, host.workflow.shard_id
        before = await server_bench.rows()

        async def append():
            database = host.strongroom.database
            async with database.transaction(EVERY_NAMESPACE) as connection:
                await connection.fetch("SELECT FROM shards WHERE shard_id = $1 FOR UPDATE", shard_id)
                branch = HistoryBranch(shard_id, host.run_id, host.run_id)
                nodes = [HistoryNode(1, 1, 0, payload())]
                append = host.strongroom.history.append_history_nodes
                await append(namespace_id, branch, nodes, is_new_branch=True, transaction=connection)

        async with circle(server_bench, "history_node", "INSERT") as closed:
            calling = asyncio.ensure_future(append())
            await closed()
            with pytest.raises(StorageError) as refused:
                await calling
        check(refused.value, DatabaseUnavailable, committed=False, says="in favour of another")
        assert changed(before, await server_bench.rows()) == set()
        assert heard == {"40P01"}
        heard.clear()
        async with circle(server_bench, "executions", "UPDATE") as closed:
            calling = asyncio.ensure_future(host.update())
            await closed()
            await calling
        assert heard == {"40P01"}
        await host.serves()


async def test_a_standby_reads_and_is_promoted(server_bench, heard):
    """On a standby, reads succeed and writes fail without effect. The same connections write after its promotion."""
    async with server_bench.host() as host:
        before = await server_bench.rows()
        await faults.as_standby(server_bench)
        await server_bench.reconnect()
        for _ in range(2):
            answers = await host.at_once()
            assert answers.pop("read") is None
            assert set(answers) == set(WRITES)
            for error in answers.values():
                check(error, DatabaseUnavailable, committed=False, says="read-only")
        assert heard == {"25006"}
        assert changed(before, await server_bench.rows()) == set()
        sessions = "SELECT array_agg(pid ORDER BY pid) FROM pg_stat_activity WHERE usename = 'clerk'"
        connected = await server_bench.admin.fetchval(sessions)
        await asyncio.to_thread(server_bench.server.promote)
        await host.serves()
        assert set(connected) <= set(await server_bench.admin.fetchval(sessions))
        assert heard == {"25006"}


async def test_an_append_that_was_lost_once_stays_in_doubt(server_bench, heard):
    """The second attempt of an append is refused, but the outcome of the first is unknown, and the error says so."""
    async with server_bench.host() as host:
        async with server_bench.tables_locked():
            calls = asyncio.ensure_future(host.at_once("append"))
            first = await server_bench.waiting(1)
            await server_bench.admin.execute("SELECT pg_terminate_backend($1, 5000)", *first)
            await server_bench.ended(first)
            (second,) = await server_bench.waiting(1)
            await server_bench.admin.execute("SELECT pg_cancel_backend($1)", second)
            error = (await calls)["append"]
        assert heard == {"08003", "57P01", "57014"}
        check(error, AppendHistoryTimeout, committed=True, says="time limit")
        await host.serves()


@dataclass(frozen=True)
class Spoken:
    """A statement whose failure the server, or asyncpg, explains with the value that it was given."""

    name: str
    state: str
    error: type[StorageError]
    says: str
    query: str
    argument: object = PLANTED
    setup: str = ""


SPOKEN = (
    Spoken(
        *("unique", "23505", ConditionFailed, "exists already", "INSERT INTO pg_temp.unique_names VALUES ($1), ($1)"),
        setup="CREATE TEMP TABLE IF NOT EXISTS unique_names (name text PRIMARY KEY)",
    ),
    Spoken("syntax", "22P02", StorageError, "SQLSTATE 22P02", "SELECT $1::text::uuid"),
    Spoken("type", "22000", StorageError, "SQLSTATE 22000", "SELECT $1::integer"),
    Spoken("raised", "P0001", StorageError, "SQLSTATE P0001", f"DO $$ BEGIN RAISE '{PLANTED}'; END $$", None),
    Spoken(
        *("temporary files", "53400", ResourceExhausted, "out of disk"),
        f"SELECT '{PLANTED}' || n FROM generate_series(1, 50000) n ORDER BY 1",  # noqa: S608 - nobody else's
        None,
        setup="SET work_mem = '64kB'; SET temp_file_limit = '64kB'",
    ),
)


async def run(use, query, *arguments, setup=""):
    async with use(NO_NAMESPACE) as connection:
        if setup:
            await connection.execute(setup)
        await connection.fetch(query, *arguments)


@pytest.mark.parametrize("row", SPOKEN, ids=lambda row: row.name)
async def test_what_the_driver_quotes_does_not_show(server_bench, heard, caplog, row):
    """The scan finds the planted value in asyncpg's error, but neither in this package's error nor in the log."""
    arguments = () if row.argument is None else (row.argument,)
    if row.setup:
        await server_bench.admin.execute("GRANT SET ON PARAMETER temp_file_limit TO PUBLIC")  # only this test needs it
        await server_bench.admin.execute(row.setup)
    with pytest.raises(asyncpg.PostgresError) as raw:
        await server_bench.admin.fetch(row.query, *arguments)
    assert raw.value.sqlstate == row.state
    assert betrays(told(raw.value))
    database = Database(server_bench.cell.config.dsn, size=1, insecure=True)
    try:
        for use in (database.connection, database.transaction):
            with pytest.raises(StorageError) as refused:
                await run(use, row.query, *arguments, setup=row.setup)
            check(refused.value, row.error, committed=False, says=row.says)
        async with database.connection(EVERY_NAMESPACE) as connection:
            assert (await connection.fetchrow("SELECT 1 AS one"))["one"] == 1
    finally:
        await database.aclose()
        with suppress(asyncpg.PostgresError):
            await server_bench.admin.execute("RESET work_mem; RESET temp_file_limit")
            await server_bench.admin.execute("REVOKE SET ON PARAMETER temp_file_limit FROM PUBLIC")
    assert heard == {row.state}
    assert not betrays(caplog.text)


async def test_a_database_without_the_schema(server_bench, heard):
    """A write to a database without the schema gets an error with the command to run."""
    database = Database(server_bench.cell.config.dsn, size=1, insecure=True)
    try:
        async with faults.no_schema(server_bench):
            with pytest.raises(StorageError) as refused:
                await run(database.connection, "CREATE TABLE nowhere (number integer)")
        check(refused.value, SchemaMismatch, committed=False, says="strongroom init")
    finally:
        await database.aclose()
    assert heard == {"3F000"}
