"""Expensive searches of one namespace: others get their slots, and nothing runs on when a search is cancelled or takes too long."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import asyncpg
import pytest

from strongroom.driver.strongroom import Strongroom
from strongroom.kms import KekRef
from strongroom.visibility import QueryDeadlineExceeded
from strongroom.visibility.search.limits import LimitedSearcher
from tests.support.fixtures.driver_role import as_driver
from tests.support.search_cell import TYPES, Cell, record

pytestmark = pytest.mark.integration

LOCK = 4711
SLOW = f"""
CREATE FUNCTION strongroom.slow(namespace uuid) RETURNS boolean LANGUAGE plpgsql VOLATILE AS $$
BEGIN
    IF namespace = '%s' THEN
        PERFORM pg_advisory_xact_lock_shared({LOCK});
    END IF;
    RETURN true;
END $$
"""
RUNNING = """
SELECT count(*) AS running FROM pg_stat_activity
WHERE datname = $1 AND pid <> pg_backend_pid() AND state = 'active' AND wait_event_type = 'Lock'
"""
SEARCHES = {
    "list": lambda cell: cell.listed("Customer > 'a'"),
    "list in order": lambda cell: cell.listed("ORDER BY WorkflowId"),
    "count": lambda cell: cell.count("Customer = 'c'"),
    "count with opened documents": lambda cell: cell.count("Customer > 'a'"),
    "groups": lambda cell: cell.count("GROUP BY TemporalNamespaceDivision"),
    "statuses": lambda cell: cell.count("GROUP BY ExecutionStatus"),
    "explain": lambda cell: cell.visibility.explain(cell.namespace_id, "Customer > 'a'", TYPES),
}


async def namespace_of(strongroom, name):
    """Create a namespace with a few runs."""
    kek = KekRef.parse(f"local:{name}")
    await strongroom.create_kek(kek)
    namespace = await strongroom.namespaces.create(name, kek=kek, search_attributes={"Customer": "Keyword"})
    cell = Cell(strongroom, namespace.namespace_id)
    await cell.write(*(record(number) for number in range(5)))
    return cell


async def until(condition):
    """Wait for a condition; return its value."""
    async with asyncio.timeout(60):
        while not (found := await condition()):  # noqa: ASYNC110 - a condition of a server
            await asyncio.sleep(0.02)
    return found


def patient(cell, slots, *, deadline):
    """Set the deadline of searches; they wait long for a slot, so that a slow machine changes nothing."""
    cell.visibility._searcher = LimitedSearcher(cell.visibility._searcher._searcher, slots, deadline=deadline, wait=600)


class Server:
    """The owner's connection to the database, which holds up searches of one namespace.

    A superuser's connection shows the activity, because a plain role sees only its own statements.
    """

    def __init__(self, connection, superuser, database):
        self.connection, self.superuser, self.database = connection, superuser, database

    async def running(self):
        """Return the number of statements that are held up."""
        return await self.superuser.fetchval(RUNNING, self.database)

    async def is_idle(self):
        """Return whether no statement is held up."""
        return not await self.running()

    async def hold_up(self, namespace_id):
        """Make each search of a namespace wait on the server until the lock is released."""
        view = (
            (await self.connection.fetchval("SELECT pg_get_viewdef('strongroom.visibility_search')"))
            .strip()
            .rstrip(";")
        )
        condition = " AND " if " WHERE " in view.replace("\n", " ") else " WHERE "
        await self.connection.execute(SLOW % namespace_id)
        await self.connection.execute("GRANT EXECUTE ON FUNCTION strongroom.slow(uuid) TO PUBLIC")
        await self.connection.execute(
            f"CREATE OR REPLACE VIEW strongroom.visibility_search AS {view}{condition} strongroom.slow(namespace_id)"
        )
        await self.connection.execute(f"SELECT pg_advisory_lock({LOCK})")


@pytest.fixture
async def held_up(config, superuser_dsn):
    """Two namespaces on four connections. The first one's searches wait on the server."""
    async with Strongroom.open(replace(config, dsn=await as_driver(config.dsn), connections=4)) as strongroom:
        slow, quick = await namespace_of(strongroom, "slow"), await namespace_of(strongroom, "quick")
        patient(slow, 3, deadline=600)
        connection, superuser = await asyncpg.connect(config.dsn), await asyncpg.connect(superuser_dsn)
        server = Server(connection, superuser, await connection.fetchval("SELECT current_database()"))
        await server.hold_up(slow.namespace_id)
        yield server, slow, quick
        await connection.close()
        await superuser.close()


async def test_another_namespace_is_answered_while_expensive_searches_run(held_up):
    """Four searches of one namespace: two hold connections, two wait, and the other namespace lists, counts and writes."""
    server, slow, quick = held_up
    expensive = [asyncio.create_task(slow.listed("Customer > 'a'")) for _ in range(4)]

    async def two():
        return await server.running() == 2

    await until(two)
    assert len(await quick.listed("Customer > 'a'")) == 5
    assert await quick.count("GROUP BY ExecutionStatus") == 5
    await quick.write(record(5))
    assert await quick.count() == 6
    assert await server.running() == 2
    assert not any(task.done() for task in expensive)
    await server.connection.execute(f"SELECT pg_advisory_unlock({LOCK})")
    assert [len(found) for found in await asyncio.gather(*expensive)] == [5] * 4


async def test_a_cancelled_search_ends_on_the_server(held_up):
    """Each kind of search: the statement ends although its lock is still held, and its slot and connection are free again."""
    server, slow, quick = held_up
    for kind, search in SEARCHES.items():
        task = asyncio.create_task(search(slow))
        await until(server.running)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert await until(server.is_idle), kind
        assert await quick.count() == 5, kind
    assert not slow.visibility._searcher.slots.held


async def test_a_search_beyond_its_deadline_ends_on_the_server(held_up):
    """The error names the expensive condition and what to add, and no value."""
    server, slow, _ = held_up
    patient(slow, 3, deadline=0.5)
    for kind, search in SEARCHES.items():
        with pytest.raises(QueryDeadlineExceeded, match=r"was cancelled; expensive are.*strongroom doctor") as late:
            await search(slow)
        assert "'c'" not in str(late.value), kind
        assert await until(server.is_idle), kind
    with pytest.raises(QueryDeadlineExceeded, match=r"a custom Keyword > .*documents are opened for it.*StartTime"):
        await slow.listed("WorkflowType = 'ship' AND Customer > 'a'")


async def test_a_cancelled_search_of_elasticsearch_leaves_nothing(proxied_cell):
    """Its connection is closed, so that the cluster cancels it; its snapshot is closed; and another namespace is answered."""
    proxy, slow = proxied_cell
    quick = await namespace_of(slow.strongroom, "quick")
    await quick.settle()
    patient(slow, slow.index.concurrent_searches, deadline=600)
    released, held = asyncio.Event(), []
    text = slow.namespace_id.hex.encode()

    async def hold(asked):
        if text in asked.body:
            held.append(asked)
            await released.wait()

    proxy.rule = hold
    # The index alone does not decide this condition, so the search has a snapshot.
    query = "Customer > 'a' GROUP BY TemporalNamespaceDivision"
    searches = [asyncio.create_task(slow.count(query)) for _ in range(12)]

    async def four():
        return len(held) == 4

    await until(four)
    assert len(await quick.listed()) == 5
    assert await quick.count("Customer > 'a'") == 5
    assert len(held) == 4, "half of the slots"
    assert b'"timeout":"' in held[0].body
    for search in searches:
        search.cancel()
    await asyncio.gather(*searches, return_exceptions=True)

    async def closed():
        opened_ = [
            asked for asked in proxy.seen if asked.method == "POST" and asked.path.split("?")[0].endswith("/_pit")
        ]
        ended = [asked for asked in proxy.seen if asked.method == "DELETE" and "/_pit" in asked.path]
        return len(opened_) == len(ended) > 0

    await until(closed)

    async def disconnected():
        return proxy.disconnected >= 4

    await until(disconnected)
    released.set()
    proxy.rule = None
    assert not slow.visibility._searcher.slots.held
    assert await slow.count() == 20
