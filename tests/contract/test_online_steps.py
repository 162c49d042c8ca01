"""Migrations that build indexes while services write: run once, continued after an interruption, on each PostgreSQL."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from urllib.parse import urlsplit
from uuid import uuid4

import asyncpg
import pytest

from strongroom.storage import EVERY_NAMESPACE, Database, SchemaMismatch, StorageError, Unavailable, apply_schema
from strongroom.storage.engine.dedicated import dedicated_connection
from strongroom.storage.engine.session_settings import begin_session
from strongroom.storage.schema import online_steps
from strongroom.storage.schema.migrations import Migration, migrations

pytestmark = pytest.mark.integration

ONLINE = """
-- An index of a later version.
CREATE INDEX CONCURRENTLY history_tree_later ON history_tree (branch_id, tree_id);
"""
STEPS = (
    *migrations(),
    Migration(2, "0002_pre_note.sql", "ALTER TABLE history_tree ADD COLUMN note text NOT NULL DEFAULT 'none'"),
    Migration(3, "0003_post_online_later.sql", ONLINE),
    Migration(4, "0004_pre_other.sql", "ALTER TABLE history_tree ADD COLUMN other text"),
)
_VALIDITY = "SELECT indisvalid FROM pg_index WHERE indexrelid = to_regclass('strongroom.history_tree_later')"


@pytest.fixture
async def version_1(contract_databases):
    """The owner's connection string of a database of version 1."""
    async with contract_databases.database() as dsn:
        database = Database(dsn, insecure=True)
        await apply_schema(database, steps=STEPS[:1])
        await database.aclose()
        yield dsn


@asynccontextmanager
async def connected(dsn):
    """Open a connection of another program."""
    connection = await asyncpg.connect(dsn, server_settings={"search_path": "strongroom"})
    try:
        yield connection
    finally:
        await connection.close()


async def add_row(connection):
    """Insert a row as a service does."""
    await connection.execute("INSERT INTO history_tree VALUES (1, $1, $1, $1, 'row')", uuid4())


async def building(connection):
    """Wait until the index exists and is not valid yet."""
    async with asyncio.timeout(60):
        while True:
            if await connection.fetchval(_VALIDITY) is False:
                return
            await asyncio.sleep(0.02)


async def test_callers_at_once_build_an_index_once(version_1):
    """Two callers run all steps in order, each once. The steps after the online one come after it."""
    databases = [Database(version_1, insecure=True) for _ in range(2)]
    ran = await asyncio.gather(*(apply_schema(database, steps=STEPS) for database in databases))
    assert sorted(step.version for steps in ran for step in steps) == [2, 3, 4]
    async with connected(version_1) as connection:
        assert await connection.fetchval(_VALIDITY) is True
        recorded = await connection.fetch("SELECT name FROM schema_version ORDER BY version")
    assert [row["name"] for row in recorded] == [step.name for step in STEPS]
    assert await apply_schema(databases[0], steps=STEPS) == []
    for database in databases:
        await database.aclose()


async def test_services_write_while_an_index_is_built(version_1):
    """The index waits for a transaction that has written. Meanwhile others write; the control, a usual index, makes them wait."""
    database = Database(version_1, insecure=True)
    async with connected(version_1) as first, connected(version_1) as other:
        transaction = first.transaction()
        await transaction.start()
        await add_row(first)
        applying = asyncio.create_task(apply_schema(database, steps=STEPS[:1] + STEPS[2:3]))
        await building(other)
        await asyncio.wait_for(add_row(other), 60)
        assert not applying.done()
        await transaction.commit()
        assert [step.version for step in await asyncio.wait_for(applying, 60)] == [3]
        assert await other.fetchval(_VALIDITY) is True
        async with first.transaction():
            await first.execute("CREATE INDEX usual ON history_tree (branch_id)")
            await other.execute("SET lock_timeout = '200ms'")
            with pytest.raises(asyncpg.LockNotAvailableError):
                await add_row(other)
    await database.aclose()


@pytest.mark.parametrize("ends", ["server", "client"])
async def test_an_index_whose_build_was_interrupted_is_built_again(version_1, ends):
    """An interrupted build leaves an invalid index. The next run drops it, builds it and runs the other steps."""
    database = Database(version_1, insecure=True)
    await apply_schema(database, steps=STEPS[:2])
    async with connected(version_1) as first, connected(version_1) as other:
        transaction = first.transaction()
        await transaction.start()
        await add_row(first)
        applying = asyncio.create_task(apply_schema(database, steps=STEPS[:3]))
        await building(other)
        if ends == "client":
            applying.cancel()
            with pytest.raises(asyncio.CancelledError):
                await applying
        # The server goes on with the build of a client that is gone.
        ended = await other.fetchval(
            "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity "
            "WHERE datname = current_database() AND query LIKE '%INDEX CONCURRENTLY history_tree_later%' AND pid <> pg_backend_pid()"
        )
        assert ended == 1
        if ends == "server":
            with pytest.raises(Unavailable):
                await asyncio.wait_for(applying, 60)
        await transaction.rollback()
        assert await other.fetchval(_VALIDITY) is False
        assert await other.fetchval("SELECT max(version) FROM schema_version") == 2
        assert [step.version for step in await apply_schema(database, steps=STEPS)] == [3, 4]
        assert await other.fetchval(_VALIDITY) is True
    await database.aclose()


async def test_an_index_that_is_there_is_kept_and_one_can_be_dropped(version_1):
    """A step that ended before its version was recorded builds nothing twice. A later step drops the index."""
    database = Database(version_1, insecure=True)
    await apply_schema(database, steps=STEPS)
    drop = Migration(5, "0005_post_online_drop.sql", "DROP INDEX CONCURRENTLY history_tree_later;")
    async with connected(version_1) as connection:
        made = await connection.fetchval("SELECT 'history_tree_later'::regclass::oid")
        await connection.execute("DELETE FROM schema_version WHERE version >= 3")
        await connection.execute("ALTER TABLE history_tree DROP COLUMN other")
        await apply_schema(database, steps=STEPS)
        assert await connection.fetchval("SELECT 'history_tree_later'::regclass::oid") == made
        assert await apply_schema(database, steps=(*STEPS, drop)) == [drop]
        assert await connection.fetchval("SELECT to_regclass('history_tree_later')") is None
    await database.aclose()


async def test_the_lock_is_free_when_a_step_has_ended(version_1):
    """A pooler can keep the session of a caller that has left. A step that fails gives its lock back too."""
    database = Database(version_1, insecure=True)
    lock, free = ("SELECT pg_try_advisory_lock($1)", "SELECT pg_advisory_unlock($1)")
    async with connected(version_1) as other, dedicated_connection(database) as kept:
        async with online_steps._alone(kept):
            assert await other.fetchval(lock, online_steps._BUILDING) is False
        assert await other.fetchval(lock, online_steps._BUILDING) is True
        await other.execute(f"SELECT pg_advisory_unlock({online_steps._BUILDING})")
        with pytest.raises(Unavailable):
            async with online_steps._alone(kept):
                raise Unavailable
        assert await other.fetchval(lock, online_steps._BUILDING) is True
        assert await other.fetchval(free, online_steps._BUILDING) is True
    await database.aclose()


async def test_a_session_begins_without_the_locks_of_its_last_client(version_1):
    """A session that a pooler lends again has no advisory lock. The control: the lock was there before."""
    async with connected(version_1) as kept, connected(version_1) as other:
        await kept.execute("SELECT pg_advisory_lock(7)")
        assert await other.fetchval("SELECT pg_try_advisory_lock(7)") is False
        await begin_session(kept, {"search_path": "strongroom"})
        assert await other.fetchval("SELECT pg_try_advisory_lock(7)") is True


async def test_a_second_caller_says_what_it_waits_for(version_1, monkeypatch, caplog):
    """A build can take hours, so a caller that waits for another one logs one line."""
    monkeypatch.setattr(online_steps, "_PAUSE", 0.02)
    monkeypatch.setattr(online_steps, "_SILENT", 0.03)
    database = Database(version_1, insecure=True)
    async with connected(version_1) as other:
        await other.execute(f"SELECT pg_advisory_lock({online_steps._BUILDING})")
        applying = asyncio.create_task(apply_schema(database, steps=STEPS))
        async with asyncio.timeout(60):
            while "another process builds indexes" not in caplog.text:  # noqa: ASYNC110 - a log has no event
                await asyncio.sleep(0.02)
        assert not applying.done()
        await asyncio.sleep(0.2)
        assert caplog.text.count("another process builds indexes") == 1
        await other.execute("SELECT pg_advisory_unlock_all()")
        assert [step.version for step in await asyncio.wait_for(applying, 60)] == [2, 3, 4]
    await database.aclose()


async def test_no_time_limit_of_the_server_ends_long_work(version_1):
    """PostgreSQL 17 has `transaction_timeout`, which also ends a statement of its own. The control: it ends a usual statement."""
    name = urlsplit(version_1).path[1:]
    async with connected(version_1) as owner:
        if await owner.fetchval("SELECT current_setting('transaction_timeout', true)") is None:
            pytest.skip("transaction_timeout: PostgreSQL 17 or newer")
        await owner.execute(f"ALTER DATABASE \"{name}\" SET transaction_timeout = '1s'")
    database = Database(version_1, insecure=True)
    with pytest.raises(StorageError):
        async with database.connection(EVERY_NAMESPACE) as connection:
            await connection.execute("SELECT pg_sleep(1.5)")
    async with dedicated_connection(database) as connection:
        await connection.execute("SELECT pg_sleep(1.5)")
    for opened in (database.transaction(EVERY_NAMESPACE, unlimited=True), database.dedicated_transaction()):
        async with opened as connection:
            await connection.execute("SELECT pg_sleep(1.5)")
    await database.aclose()


@pytest.mark.parametrize(
    "sql",
    [
        "CREATE INDEX later ON history_tree (branch_id)",
        "CREATE INDEX CONCURRENTLY ON history_tree (branch_id)",
        "SELECT 1",
    ],
)
async def test_an_online_step_has_no_other_statement(version_1, sql):
    """Outside of a transaction a half-run statement would stay, and an index without a name could not be found again."""
    database = Database(version_1, insecure=True)
    with pytest.raises(SchemaMismatch, match="may only have"):
        await apply_schema(database, steps=(*STEPS[:2], Migration(3, "0003_post_online_x.sql", sql)))
    async with database.connection(EVERY_NAMESPACE) as connection:
        (row,) = await connection.fetch("SELECT max(version) AS version FROM schema_version")
    assert row["version"] == 2
    await database.aclose()
