"""What tests of group commit share: sizes of batches, a host with a short lock timeout, locks of another session."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager

import pytest

from strongroom.driver.strongroom import Strongroom
from strongroom.storage import EVERY_NAMESPACE, NotFound
from strongroom.storage.engine.group_commit import GroupCommit
from strongroom.storage.executions.history_tasks import TRANSFER
from tests.fix_executions import accumulated, tasks

LOCK_TIMEOUT = 0.6


@pytest.fixture
def batches(monkeypatch):
    """Sizes of the batches that are sent: without large ones a test of batches shows nothing."""
    sizes = []
    send = GroupCommit._send

    async def counted(self, batch):
        sizes.append(len(batch))
        await send(self, batch)

    monkeypatch.setattr(GroupCommit, "_send", counted)
    return sizes


@pytest.fixture
async def host(workflow, monkeypatch):
    """A host of the test's own, with a short lock timeout."""
    monkeypatch.setattr("strongroom.driver.strongroom.LOCK_TIMEOUT", LOCK_TIMEOUT)
    async with Strongroom.open(workflow.cell.config) as own:
        yield workflow.like(cell=own)


def places(workflow, number):
    """Return so many workflows in one shard."""
    return [workflow.like(workflow_id=f"order {one}") for one in range(number)]


@asynccontextmanager
async def locked(workflow, query, *arguments):
    """Hold what a query locks, in a session that is not the host's."""
    async with workflow.cell.database.transaction(EVERY_NAMESPACE) as connection:
        await connection.execute(query, *arguments)
        yield


def shard_lock(workflow):
    """Hold the shard, so that no write to it goes on."""
    return locked(workflow, "SELECT FROM shards WHERE shard_id = $1 FOR UPDATE", workflow.shard_id)


async def at_once(calls):
    """Run calls at once; return the error of each, None where it succeeded."""
    return errors_of(await asyncio.gather(*calls, return_exceptions=True))


def errors_of(answers):
    """Return the error of each answer, None where it is none."""
    return [answer if isinstance(answer, BaseException) else None for answer in answers]


async def is_whole(place, snapshot):
    """Whether a run was created with its events and tasks; False if nothing of it is there, and anything else fails."""
    stored = {one.key for one in await place.stored_tasks(TRANSFER)}
    try:
        assert await place.get(snapshot.run_id) == accumulated(snapshot)
    except NotFound:
        with pytest.raises(NotFound):
            await place.history(snapshot.run_id)
        assert not stored & {one.key for one in snapshot.tasks[TRANSFER]}
        return False
    assert len(await place.history(snapshot.run_id)) == 1
    assert stored >= {one.key for one in snapshot.tasks[TRANSFER]}
    return True


def creation(place, snapshot=None):
    """Return a snapshot with a task, and the call that creates it with an event."""
    snapshot = snapshot or place.snapshot(tasks=tasks(TRANSFER))
    return snapshot, place.create(snapshot, new_workflow_new_events=place.events(snapshot.run_id))
