"""A caller that gives up while the server is silent gets its own error within a second, and nobody gets its connection."""

from __future__ import annotations

import asyncio
import time
from contextlib import aclosing

import pytest

from strongroom.storage import NO_NAMESPACE, Database, DatabaseTimeout
from tests.support.faults.silent_proxy import silent_proxy

pytestmark = pytest.mark.integration

SOON = 20.0
"""Below the 35 s that a statement may wait, and far above what a busy machine needs to run a task."""


@pytest.fixture
async def silence(dsn):
    """A proxy to an empty database."""
    async with silent_proxy(dsn) as proxy:
        yield proxy


@pytest.fixture
async def behind_silence(silence):
    """A database through the proxy, with two connections."""
    database = Database(silence.dsn, size=2, insecure=True)
    async with database.connection(NO_NAMESPACE) as connection:
        await connection.execute("CREATE SCHEMA strongroom; CREATE TABLE strongroom.written (n integer)")
    yield database
    await database.aclose()


async def statement(database):
    """Run a statement by itself."""
    async with database.connection(NO_NAMESPACE) as connection:
        await connection.fetch("SELECT 'reached', pg_sleep(0)")


async def write(database):
    """Write in a transaction."""
    async with database.transaction(NO_NAMESPACE) as connection:
        await connection.execute("INSERT INTO written VALUES (1)")


async def failing(database):
    """Fail in a transaction, so that it is rolled back."""
    async with database.transaction(NO_NAMESPACE) as connection:
        await connection.execute("INSERT INTO written VALUES (1)")
        raise KeyError


async def streamed(database):
    """Read from a generator that holds a transaction."""

    async def rows():
        async with database.transaction(NO_NAMESPACE, read_only=True) as connection:
            while True:
                for row in await connection.fetch("SELECT 'reached'"):
                    yield row

    async with aclosing(rows()) as stream:
        async for _ in stream:
            pass


async def locked(database):
    """Write on a connection of its own, without time limits."""
    async with database.dedicated_transaction() as connection:
        await connection.execute("INSERT INTO written VALUES (1)")


PLACES = [
    (write, b"BEGIN"),
    (statement, b"'reached'"),
    (write, b"INSERT"),
    (write, b"COMMIT"),
    (failing, b"ROLLBACK"),
    (streamed, b"'reached'"),
    (locked, b"INSERT"),
    (locked, b"COMMIT"),
]
ids = [f"{call.__name__}-{at.decode()}" for call, at in PLACES]


async def give_up(task, how):
    """Cancel a task once or twice, and return how long it took to end."""
    started = time.monotonic()
    task.cancel()
    if how == "twice":
        await asyncio.sleep(0)
        task.cancel()
    await asyncio.wait({task}, timeout=60)
    return time.monotonic() - started


@pytest.mark.parametrize(("how", "forwards"), [("once", True), ("twice", False)])
@pytest.mark.parametrize(("call", "at"), PLACES, ids=ids)
async def test_a_cancelled_caller_returns_at_once(silence, behind_silence, call, at, forwards, how):
    """The caller gets `CancelledError`, and the next caller gets a connection that works."""
    silence.at, silence.forwards = at, forwards
    task = asyncio.create_task(call(behind_silence))
    await asyncio.wait_for(silence.reached.wait(), 60)
    took = await give_up(task, how)
    assert task.cancelled()
    assert took < SOON
    silence.heal()
    for _ in range(4):
        async with behind_silence.connection(NO_NAMESPACE) as connection:
            assert (await connection.fetchrow("SELECT 42 AS answer"))["answer"] == 42


async def with_deadline(call, reached):
    """Run a call in an `asyncio.timeout` that expires when an event happens."""
    async with asyncio.timeout(60) as deadline:
        waiting = asyncio.ensure_future(reached.wait())
        waiting.add_done_callback(lambda _: deadline.reschedule(asyncio.get_running_loop().time()))
        await call


@pytest.mark.parametrize(("call", "at"), PLACES, ids=ids)
async def test_a_callers_deadline_is_kept(silence, behind_silence, call, at):
    """`asyncio.timeout` ends in `TimeoutError`, not in an error of the database."""
    silence.at = at
    started = time.monotonic()
    with pytest.raises(TimeoutError) as ended:
        await with_deadline(call(behind_silence), silence.reached)
    assert not isinstance(ended.value, DatabaseTimeout)
    assert time.monotonic() - started < SOON


async def test_a_task_group_ends_with_its_first_error(silence, behind_silence):
    """The error of one task cancels the others, though the server is silent."""
    silence.at = b"INSERT"

    async def fail():
        await silence.reached.wait()
        raise KeyError

    started = time.monotonic()

    async def together():
        async with asyncio.TaskGroup() as group:
            group.create_task(write(behind_silence))
            group.create_task(fail())

    with pytest.raises(ExceptionGroup) as ended:
        await together()
    assert [type(error) for error in ended.value.exceptions] == [KeyError]
    assert time.monotonic() - started < SOON


async def test_waiting_for_a_connection_is_given_up(silence, behind_silence):
    """A caller that waits for a connection, or for a server that lets it in and says nothing, returns at once."""
    silence.silent = True
    first = [asyncio.create_task(write(behind_silence)) for _ in range(4)]
    await asyncio.sleep(0.1)
    took = [await give_up(task, "once") for task in first]
    assert all(task.cancelled() for task in first)
    assert max(took) < SOON
    silence.heal()
    await write(behind_silence)


async def test_an_error_of_the_block_is_kept(silence, behind_silence):
    """If the server is silent when a block has failed, the caller gets the block's error, not the one of ROLLBACK."""
    silence.at, silence.forwards = b"ROLLBACK", False
    started = time.monotonic()
    with pytest.raises(KeyError):
        await failing(behind_silence)
    assert time.monotonic() - started < SOON
    silence.heal()
    await write(behind_silence)


async def until(admin, *, running):
    """Wait until this number of the test's statements run."""
    query = "SELECT count(*) AS n FROM pg_stat_activity WHERE state = 'active' AND query LIKE '%SELECT pg_sleep(50)'"
    async with asyncio.timeout(60):
        while (await admin.fetchrow(query))["n"] != running:  # noqa: ASYNC110 - the server has no event for it
            await asyncio.sleep(0.01)


async def test_a_given_up_statement_is_cancelled_on_the_server(dsn, database):
    """A statement of a caller that is gone does not run on: the server ends it and rolls back."""
    task = asyncio.create_task(sleep(database))
    other = Database(dsn, insecure=True)
    async with other.connection(NO_NAMESPACE) as admin:
        await until(admin, running=1)
        task.cancel()
        await until(admin, running=0)
    await other.aclose()


async def sleep(database):
    """Sleep on the server."""
    async with database.transaction(NO_NAMESPACE) as connection:
        await connection.fetch("SELECT pg_sleep(50)")
