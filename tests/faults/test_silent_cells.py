"""A whole cell whose server falls silent: notifications arrive again, shared statements end, and closing takes a moment."""

from __future__ import annotations

import asyncio
import time
from dataclasses import replace

import pytest

from strongroom.driver.doctor.connections import connections
from strongroom.driver.strongroom import Strongroom
from strongroom.storage import NO_NAMESPACE, Database, DatabaseUnavailable
from strongroom.storage.engine.notifications import ProbeLimits
from tests.support.faults.silent_proxy import silent_proxy
from tests.support.fixtures.contract import new_namespace, new_shard
from tests.support.fixtures.executions import RUNNING, Workflow

pytestmark = pytest.mark.integration

QUICK = ProbeLimits(interval=0.1, timeout=5.0)
SOON = 25.0
"""Below the 35 s that a statement may wait, and far above what a busy machine needs."""


async def until(condition):
    """Wait until a condition holds."""
    async with asyncio.timeout(60):
        while not condition():  # noqa: ASYNC110 - a state without an event
            await asyncio.sleep(0.01)


async def test_notifications_go_on_after_a_silent_loss(dsn):
    """A connection that stays open and delivers nothing is noticed, and made again. The listener reads all again."""
    heard, begun, direct = [], [], Database(dsn, insecure=True)

    async def follow(database):
        while True:
            try:
                await database.listen("news", heard.append, listening=lambda: begun.append(1))
            except DatabaseUnavailable:
                await asyncio.sleep(0.01)

    async def notify(payload):
        async with direct.connection(NO_NAMESPACE) as connection:
            await connection.execute(f"NOTIFY news, '{payload}'")

    async with silent_proxy(dsn) as proxy:
        database = Database(proxy.dsn, insecure=True, probes=QUICK, connect_timeout=5)
        task = asyncio.create_task(follow(database))
        await until(lambda: len(begun) == 1)
        await notify("before")
        await until(lambda: heard == ["before"])
        proxy.silent = True
        await notify("lost")
        await until(lambda: proxy.opened > 1)
        proxy.heal()
        await until(lambda: len(begun) == 2)
        await notify("after")
        await until(lambda: heard == ["before", "after"])
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        await database.aclose()
    await direct.aclose()


async def test_a_connection_that_died_while_idle_is_not_lent(dsn):
    """The first statement after a long pause does not wait for a server that is gone."""
    now = 0.0
    async with silent_proxy(dsn) as proxy:
        database = Database(proxy.dsn, insecure=True, clock=lambda: now)
        async with database.connection(NO_NAMESPACE), database.connection(NO_NAMESPACE):
            pass
        old = proxy.opened
        proxy.silent_before = proxy.opened
        now = 31.0
        started = time.monotonic()
        async with database.connection(NO_NAMESPACE) as connection:
            assert (await connection.fetchrow("SELECT 1 AS one"))["one"] == 1
        assert time.monotonic() - started < SOON
        assert proxy.opened > old
        await database.aclose()


@pytest.fixture
async def silent_cell(own_cell):
    """A cell through a proxy, with a workflow, and the proxy."""
    async with silent_proxy(own_cell.config.dsn) as proxy:
        config = replace(own_cell.config, dsn=proxy.dsn)
        yield config, proxy


async def workflow_of(cell):
    """Create a workflow, so that keys and statements are cached."""
    workflow = Workflow(cell, await new_namespace(cell), await new_shard(cell))
    await workflow.create(workflow.snapshot(of=RUNNING))
    return workflow


async def test_a_silent_cell_is_closed_in_a_moment(silent_cell):
    """Statements in flight and those that wait get an error, and every connection is dropped."""
    config, proxy = silent_cell
    async with Strongroom.open(config) as cell:
        workflow = await workflow_of(cell)
        proxy.at = workflow.namespace_id.bytes
        calls = [
            asyncio.create_task(place.create(place.snapshot(of=RUNNING)))
            for place in (workflow.like(workflow_id=f"order {number}") for number in range(40))
        ]
        await asyncio.wait_for(proxy.reached.wait(), 60)
        started = time.monotonic()
    took = time.monotonic() - started
    answers = await asyncio.wait_for(asyncio.gather(*calls, return_exceptions=True), 60)
    assert took < SOON
    assert {type(answer) for answer in answers} == {DatabaseUnavailable}
    assert {answer.may_have_been_committed for answer in answers} == {True, False}


async def test_a_caller_of_a_shared_statement_gives_up(silent_cell):
    """A cancelled call ends at once, alone or with others, and the calls after it succeed."""
    config, proxy = silent_cell
    async with Strongroom.open(config) as cell:
        workflow = await workflow_of(cell)
        for number in (1, 20):
            proxy.at = workflow.namespace_id.bytes
            places = [workflow.like(workflow_id=f"order {number} {each}") for each in range(number)]
            calls = [asyncio.create_task(place.create(place.snapshot(of=RUNNING))) for place in places]
            await asyncio.wait_for(proxy.reached.wait(), 60)
            started = time.monotonic()
            for call in calls:
                call.cancel()
            await asyncio.wait(calls, timeout=60)
            assert time.monotonic() - started < SOON
            assert all(call.cancelled() for call in calls)
            proxy.heal()


async def test_doctor_opens_every_kind_of_connection(own_cell):
    """Each kind is reported, and the limit of a role is the reason that the first kind over it gives."""
    found = {finding.check: finding for finding in [each async for each in connections(own_cell)]}
    assert all(finding.ok for finding in found.values())
    assert found.keys() >= {
        "sessions",
        "connections for transactions",
        "connections for reads and writes by key",
        "connections for key registry",
        "connection for locks",
        "notifications of keys",
    }
