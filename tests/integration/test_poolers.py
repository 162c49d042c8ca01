from __future__ import annotations

import asyncio
import os
import re
import signal
import tempfile
import time
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from urllib.parse import urlsplit

import asyncpg
import pytest

from strongroom.driver.config import load_config, write_config
from strongroom.driver.doctor import examine
from strongroom.driver.strongroom import Strongroom
from strongroom.kms import KekRef
from strongroom.storage import NO_NAMESPACE, Database, DatabaseTimeout, PoolingNotSupported
from strongroom.storage.engine.connection import unwrapped
from strongroom.storage.engine.poolers import check_sessions
from strongroom.storage.engine.session_settings import begin_session, session_settings
from tests.support.services import or_skip
from tests.support.services.pgbouncer import pgbouncer

pytestmark = pytest.mark.integration

DROPS_ALL = "extra_float_digits,search_path,options,statement_timeout,lock_timeout,application_name,timezone"
"""Startup parameters that a PgBouncer drops instead of refusing the connection."""


@pytest.fixture
def through(dsn):
    """Start PgBouncers; return the connection string of the test's database through each."""

    @contextmanager
    def started(**settings):
        with tempfile.TemporaryDirectory(prefix="strongroom-pooler-") as folder:
            Path(folder).chmod(0o755)
            settings = {"ignore_startup_parameters": DROPS_ALL} | settings
            with or_skip(pgbouncer(Path(folder), dsn, **settings)) as pooled:
                yield pooled

    return started


def config_of(folder, dsn):
    """Write a configuration for a connection string, and load it."""
    path = folder / "strongroom.toml"
    path.unlink(missing_ok=True)
    write_config(path, dsn=dsn, shards=4)
    return load_config(path)


async def schemas(dsn):
    """Return the schemas of a database that have tables."""
    connection = await asyncpg.connect(dsn)
    rows = await connection.fetch(
        "SELECT DISTINCT schemaname FROM pg_tables WHERE schemaname NOT IN ('pg_catalog', 'information_schema')"
    )
    await connection.close()
    return {row["schemaname"] for row in rows}


def printed(folder):
    """Return what a PgBouncer printed."""
    return "".join(path.read_text() for path in Path(folder).iterdir())


async def setting(database, name):
    """Return a setting of a lent session."""
    async with database.connection(NO_NAMESPACE) as connection:
        row = await connection.fetchrow("SELECT current_setting($1) AS value", name)
    return row["value"]


async def test_a_pooler_that_drops_startup_parameters(through, dsn, tmp_path):
    """The cell is made in its own schema, and each session has its settings, though the pooler passes none of them on."""
    with through(pool_mode="session") as pooled:
        config = config_of(tmp_path, pooled)
        await Strongroom.init(config)
        assert await schemas(dsn) == {"strongroom"}
        async with Strongroom.open(config) as cell:
            namespace = await cell.namespaces.create("payments", kek=KekRef.parse("local:cell"))
            assert (await cell.namespaces.get("payments")).namespace_id == namespace.namespace_id
            assert await setting(cell.database, "search_path") == "strongroom"
            assert await setting(cell.by_key, "statement_timeout") == "30s"
            assert await setting(cell.by_key, "lock_timeout") == "2s"
            assert await setting(cell.by_key, "enable_seqscan") == "off"
            assert await setting(cell.database, "enable_seqscan") == "on"


@pytest.mark.parametrize(
    "settings",
    [
        {"pool_mode": "transaction"},
        {"pool_mode": "transaction", "server_round_robin": "1", "min_pool_size": "5"},
        {"pool_mode": "transaction", "default_pool_size": "1"},
        {"pool_mode": "statement"},
    ],
    ids=lambda settings: "-".join(settings.values()),
)
async def test_a_pooler_that_shares_sessions_is_refused(through, dsn, tmp_path, settings):
    """`init`, `open` and `doctor` name the pooler and its mode. `init` leaves nothing behind."""
    with through(**settings) as pooled:
        config = config_of(tmp_path, pooled)
        with pytest.raises(PoolingNotSupported, match=f"PgBouncer.*{settings['pool_mode']}"):
            await Strongroom.init(config)
        assert await schemas(dsn) == set()
        await Strongroom.init(replace(config, dsn=dsn))
        with pytest.raises(PoolingNotSupported, match="PgBouncer"):
            async with Strongroom.open(config):
                pytest.fail("the cell was opened")
        findings = {finding.check: finding for finding in await examine(tmp_path / "strongroom.toml")}
        assert findings["sessions"].state == "wrong"
        assert "PgBouncer" in findings["sessions"].text
        assert "pool_mode = session" in findings["sessions"].advice


@pytest.mark.parametrize("settings", [{}, {"query_wait_timeout": "1"}], ids=["it waits", "the pooler ends the wait"])
async def test_a_pool_that_is_too_small(through, settings):
    """A pooler accepts each connection, and may have no session for it. The error has the pooler's address and its setting."""
    with through(pool_mode="session", default_pool_size="1", **settings) as pooled:
        database = Database(pooled, size=2, insecure=True, connect_timeout=3)
        message = rf"127\.0\.0\.1:{urlsplit(pooled).port} .*default_pool_size"
        async with database.connection(NO_NAMESPACE):
            for use in (database.connection(NO_NAMESPACE), database.dedicated_transaction()):
                with pytest.raises(DatabaseTimeout, match=message) as refused:
                    await use.__aenter__()
                assert not refused.value.may_have_been_committed
        with pytest.raises(DatabaseTimeout, match=message):
            await database.check_sessions()
        await database.aclose()


async def test_the_doctor_names_a_pool_that_is_too_small(through, dsn, tmp_path):
    """The check of sessions fails with advice about the pool. The schema is checked all the same."""
    with through(pool_mode="session", default_pool_size="3", query_wait_timeout="1") as pooled:
        config = config_of(tmp_path, pooled)
        await Strongroom.init(replace(config, dsn=dsn))
        findings = {finding.check: finding for finding in await examine(tmp_path / "strongroom.toml")}
    assert findings["sessions"].state == "wrong"
    assert "default_pool_size" in findings["sessions"].advice
    assert findings["schema"].state == "ok"


async def test_why_transaction_pooling_is_refused(through):
    """A client sees the namespaces that another one has set, and gets no notification while it is idle."""
    with through(pool_mode="transaction", default_pool_size="1") as pooled:
        one, two = [await asyncpg.connect(pooled, statement_cache_size=0) for _ in range(2)]
        heard = asyncio.Event()
        await one.add_listener("wake", lambda *_: heard.set())
        await one.execute("SET strongroom.namespaces = 'one'")
        await two.execute("SET strongroom.namespaces = 'two'")
        async with one.transaction():
            assert await one.fetchval("SELECT current_setting('strongroom.namespaces')") == "two"
        await two.execute("NOTIFY wake")
        async with two.transaction():
            assert await two.fetchval("SELECT 'wake' = ANY (array(SELECT pg_listening_channels()))")
        assert not heard.is_set()
        one.terminate()
        two.terminate()


async def test_a_session_that_another_client_left(through):
    """A pooler without a reset query lends a session with the settings, statements, locks and channels of the client before."""
    with through(pool_mode="session", server_reset_query="", default_pool_size="1") as pooled:
        client = await asyncpg.connect(pooled, statement_cache_size=0)
        next_names = range(asyncpg.connection._uid, asyncpg.connection._uid + 20)
        await client.execute("; ".join(f"PREPARE __asyncpg_stmt_{number:x}__ AS SELECT 1" for number in next_names))
        await client.execute(
            "SET search_path = public; SET statement_timeout = 60000; SET strongroom.namespaces = '*'; SET enable_seqscan = off;"
            "SET client_encoding = 'LATIN1'; SET standard_conforming_strings = off; LISTEN gossip"
        )
        process = await client.fetchval("SELECT pg_backend_pid()")
        await client.close()
        database = Database(pooled, size=1, insecure=True)
        async with database.connection(NO_NAMESPACE) as connection:
            row = await connection.fetchrow(
                "SELECT pg_backend_pid() AS process, current_setting('search_path') AS search_path, 'é' AS text,"
                " current_setting('statement_timeout') AS timeout, substr(current_setting('strongroom.namespaces'), 21) AS namespaces,"
                " (SELECT count(*) FROM pg_prepared_statements WHERE statement LIKE '%AS SELECT 1') AS statements,"
                " (SELECT count(*) FROM pg_listening_channels()) AS channels"
            )
        await database.aclose()
    assert tuple(row.values()) == (process, "strongroom", "é", "30s", "", 0, 0)


async def test_a_pooler_that_is_switched_while_a_service_runs(dsn, monkeypatch):
    """No process runs a statement that another one has prepared under the same name; the error names the pooler's mode."""
    with (
        tempfile.TemporaryDirectory(prefix="strongroom-pooler-") as folder,
        or_skip(pgbouncer(Path(folder), dsn, pool_mode="session")) as pooled,
    ):
        databases = [Database(pooled, size=1, insecure=True) for _ in range(2)]
        first_name = asyncpg.connection._uid + 1000
        for number, database in enumerate(databases):
            async with database.connection(NO_NAMESPACE) as connection:
                monkeypatch.setattr(asyncpg.connection, "_uid", first_name)  # each process counts its own statements
                row = await connection.fetchrow(f"SELECT {number} AS owner")
                assert row["owner"] == number
        configuration = Path(folder) / "pgbouncer.ini"
        configuration.write_text(configuration.read_text().replace("pool_mode = session", "pool_mode = transaction"))
        os.kill(int(re.search(r"\[(\d+)\] LOG process up", printed(folder))[1]), signal.SIGHUP)
        async with asyncio.timeout(60):
            while "re-reading config" not in printed(folder):  # noqa: ASYNC110 - another process's log
                await asyncio.sleep(0.05)
        refused = 0
        for number in (0, 1, 0, 1):  # the first transaction of each is still in its own session
            try:
                async with databases[number].connection(NO_NAMESPACE) as connection:
                    assert (await connection.fetchrow(f"SELECT {number} AS owner"))["owner"] == number
            except PoolingNotSupported:
                refused += 1
        for database in databases:
            await database.aclose()
    assert refused > 0


async def test_a_pooler_that_does_not_commit(dsn):
    """A pooler that begins a transaction before a statement and aborts it, as Pgpool-II in raw mode: no such write counts as done.

    The statements of this test begin the transaction themselves, because that pooler is not installed where the tests run.
    """
    owner = await asyncpg.connect(dsn)
    await owner.execute("CREATE TABLE public.written (number integer)")
    database = Database(dsn, size=1, insecure=True)
    for statement in ("BEGIN; INSERT INTO public.written VALUES (1)", "BEGIN; SELECT 1"):
        with pytest.raises(PoolingNotSupported, match="may be rolled back") as refused:
            async with database.connection(NO_NAMESPACE) as connection:
                await connection.execute(statement)
        assert refused.value.may_have_been_committed
    async with database.connection(NO_NAMESPACE) as connection:
        await unwrapped(connection)._protocol.query("BEGIN", 60)
        with pytest.raises(PoolingNotSupported, match="may be rolled back"):
            await connection.fetch("SELECT $1::integer", 1)
    async with database.transaction(NO_NAMESPACE) as connection:
        await connection.execute("INSERT INTO public.written VALUES ($1)", 2)
    assert [row["number"] for row in await owner.fetch("SELECT number FROM public.written")] == [2]
    await database.aclose()
    await owner.close()


async def test_a_server_without_a_pooler_has_no_name(dsn):
    """PostgreSQL repeats the name of PgBouncer's database, which it does not have."""
    database = Database(dsn, size=1, insecure=True)
    assert await database.name_of_pooler() == ""
    await database.aclose()


class Blocking(asyncpg.Connection):
    """A connection that blocks the event loop for a second after it has notified another session."""

    async def execute(self, query, *args, **options):
        """Run a statement."""
        answer = await super().execute(query, *args, **options)
        if query.startswith("NOTIFY"):
            asyncio.get_running_loop().call_soon(time.sleep, 1)
        return answer


async def test_a_blocked_event_loop_is_not_taken_for_a_pooler(dsn):
    """The notification waits in the socket while the loop is blocked for longer than the patience of the check."""
    settings = session_settings(statement_timeout=30, lock_timeout=0, by_key=False, distributed=False)
    for _ in range(3):
        assert not await check_sessions(
            lambda: asyncpg.connect(dsn, connection_class=Blocking),
            lambda connection: begin_session(connection, settings),
            patience=0.5,
        )
