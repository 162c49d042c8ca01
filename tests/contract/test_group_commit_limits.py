from __future__ import annotations

import asyncio
from collections import Counter
from dataclasses import replace
from itertools import islice

import pytest

from strongroom.driver.strongroom import Strongroom
from strongroom.storage import EVERY_NAMESPACE, DatabaseUnavailable
from strongroom.storage.engine import translate
from strongroom.storage.engine.group_commit_members import GroupCommitLimits
from strongroom.storage.errors import DatabaseTimeout, ResourceExhausted
from strongroom.storage.executions.store import ExecutionStore
from strongroom.storage.journal.writer import Journal
from tests.support.fixtures.batches import (
    at_once,
    creation,
    errors_of,
    is_whole,
    locked,
    places,
    shard_lock,
)
from tests.support.fixtures.executions import ZOMBIE, accumulated
from tests.support.lock_waits import until_waiting

pytestmark = pytest.mark.integration


async def test_closing_waits_for_what_is_in_flight(workflow):
    """Closing a host waits for its requests, also if their callers are gone."""
    held, closes = asyncio.Event(), asyncio.Event()

    async def hold():
        async with shard_lock(workflow):
            held.set()
            await closes.wait()
            await asyncio.sleep(0.3)

    holder = asyncio.ensure_future(hold())
    await held.wait()
    async with Strongroom.open(workflow.cell.config) as own:
        made = [(place, *creation(place)) for place in places(workflow.like(cell=own), 40)]
        callers = [asyncio.ensure_future(call) for _, _, call in made]
        try:
            await until_waiting(workflow.cell, 1)
            for caller in callers:
                caller.cancel()
            await asyncio.gather(*callers, return_exceptions=True)
        finally:
            closes.set()
    writes = own.executions._writer._group
    left = [*writes._lanes, *writes._waiting]
    await holder
    await writes.aclose()
    assert left == []
    for place, snapshot, _ in made:
        await is_whole(place.like(cell=workflow.cell), snapshot)


def limited(host, **limits):
    """Return the host's workflow with an execution store that has other limits."""
    store = ExecutionStore(
        host.cell.by_key,
        host.cell.keyring,
        Journal(host.cell.keyring),
        limits=GroupCommitLimits(**limits),
        distributed=host.cell.config.cell.distributed,
    )
    return host.like(cell=replace(host.cell, executions=store))


async def until_refused(callers, count):
    """Wait until some of the callers have an error."""
    async with asyncio.timeout(60):
        for ended in islice(asyncio.as_completed(callers), count):
            with pytest.raises((ResourceExhausted, DatabaseUnavailable)):
                await ended


@pytest.mark.parametrize("limit", [{"waiting": 3}, {"waiting_bytes": 2000}])
async def test_what_waits_is_bounded(host, limit):
    """A call beyond the limit is refused at once and was not sent. Calls that were accepted are done."""
    host = limited(host, requests=1, **limit)
    made = [(place, *creation(place)) for place in places(host, 40)]
    async with shard_lock(host):
        callers = [asyncio.ensure_future(call) for _, _, call in made]
        await until_refused(callers, 26)
    answers = errors_of(await asyncio.gather(*callers, return_exceptions=True))
    refused = sum(isinstance(error, ResourceExhausted) for error in answers)
    assert Counter(map(type, answers)) == {type(None): 40 - refused, ResourceExhausted: refused}
    assert 25 < refused < 40
    assert not any(error.may_have_been_committed for error in answers if error)
    for (place, snapshot, _), error in zip(made, answers, strict=True):
        assert await is_whole(place, snapshot) is (error is None)


async def test_waiting_is_bounded(host):
    """A call that could not be sent in time gives up, and writes nothing after the lock is released."""
    host = limited(host, requests=1, max_wait=0.2, sweep_interval=0.05)
    made = [(place, *creation(place)) for place in places(host, 12)]
    async with shard_lock(host):
        callers = [asyncio.ensure_future(call) for _, _, call in made]
        await until_refused(callers, 8)
    answers = errors_of(await asyncio.gather(*callers, return_exceptions=True))
    assert Counter(map(type, answers)) == {type(None): 4, DatabaseUnavailable: 8}
    assert not any(error.may_have_been_committed for error in answers if error)
    for (place, snapshot, _), error in zip(made, answers, strict=True):
        assert await is_whole(place, snapshot) is (error is None)


@pytest.fixture
def lock_timeouts(monkeypatch):
    """The errors of statements that waited too long for a lock."""
    found, to_storage_error = [], translate.to_storage_error

    def noted(error, *arguments):
        if getattr(error, "sqlstate", None) == "55P03":
            found.append(error)
        return to_storage_error(error, *arguments)

    monkeypatch.setattr(translate, "to_storage_error", noted)
    return found


@pytest.mark.parametrize("slow", [1, 15])
async def test_a_locked_row_delays_its_neighbours_no_longer_than_the_lock_timeout(
    hasty_host, sent_batches, lock_timeouts, slow
):
    """A locked row delays the other requests of its statement by one lock timeout. Its own caller gets an error.

    So its request shares one statement, and is then alone. The control: the request did share a statement.
    """
    others = places(hasty_host, 40)
    runs = [await place.create() for place in others]

    async def update(number):
        await others[number].update(others[number].mutation(runs[number].run_id))

    lock = "SELECT FROM executions WHERE shard_id = $1 AND run_id = $2 FOR UPDATE"
    async with locked(hasty_host, lock, hasty_host.shard_id, runs[slow].run_id):
        answers = await at_once(update(number) for number in range(40))
    error = answers[slow]
    assert [one for one in answers if one is not None] == [error]
    assert type(error) is DatabaseTimeout
    assert not error.may_have_been_committed
    own = next(member for batch in sent_batches for member in batch if member.answer.exception() is error)
    shared, alone = (len(batch) for batch in sent_batches if own in batch)
    assert shared > 1
    assert alone == 1
    assert len(lock_timeouts) >= 2, "those of its two statements"
    await update(slow)


async def terminate(workflow):
    """Terminate the connections that wait for a lock. Return how many they were."""
    query = """
        SELECT count(pg_terminate_backend(pid)) AS number FROM pg_stat_activity
        WHERE datname = current_database() AND wait_event_type = 'Lock'
    """
    async with workflow.cell.database.connection(EVERY_NAMESPACE) as connection:
        row = await connection.fetchrow(query)
    return row["number"]


async def test_a_write_whose_outcome_is_open_is_not_run_again(host, batches):
    """All callers of the lost statements get `may_have_been_committed`. Requests that were not sent yet are written."""
    made = [(place, *creation(place)) for place in places(host, 100)]
    async with shard_lock(host):
        callers = [asyncio.ensure_future(call) for _, _, call in made]
        await until_waiting(host.cell, 4)
        assert await terminate(host) == 4
        await asyncio.sleep(0.1)
    answers = errors_of(await asyncio.gather(*callers, return_exceptions=True))
    lost = [error for error in answers if error is not None]
    assert len(lost) > 20
    assert {(type(error), error.may_have_been_committed) for error in lost} == {(DatabaseUnavailable, True)}
    assert max(batches) > 8
    for (place, snapshot, _), error in zip(made, answers, strict=True):
        assert await is_whole(place, snapshot) is (error is None)


async def test_a_read_that_was_lost_is_run_again(host):
    """A read whose connection is lost is sent again, and its caller gets the answer."""
    snapshot = await host.create_zombie(host.full(of=ZOMBIE))
    async with locked(host, "LOCK TABLE executions IN ACCESS EXCLUSIVE MODE"):
        readers = [asyncio.ensure_future(host.get(snapshot.run_id)) for _ in range(20)]
        await until_waiting(host.cell, 2)
        assert await terminate(host) >= 2
        await asyncio.sleep(0.1)
    found = await asyncio.gather(*readers)
    assert found == [accumulated(snapshot)] * 20
