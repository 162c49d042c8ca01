from __future__ import annotations

import asyncio
from collections import Counter
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING
from uuid import UUID, uuid4

import pytest

from strongroom.driver.strongroom import Strongroom
from strongroom.storage import EVERY_NAMESPACE, DataBlob, ShardOwnershipLost
from strongroom.storage.executions.errors import WorkflowConditionFailed
from strongroom.storage.executions.tasks import TRANSFER
from tests.support.fixtures.executions import COMPLETED, ZOMBIE, task, tasks
from tests.support.lock_waits import until_waiting

if TYPE_CHECKING:
    from tests.support.fixtures.executions import Workflow

pytestmark = pytest.mark.integration

STEALS = 8
WRITERS = 6


@dataclass
class Host:
    """A process that acts as the shard's owner after its last takeover, and writes until it is stopped.

    Everything it writes holds the range id that it was written with, in clear: a run as its last_write_version, an update of the
    ledger as the number of an activity, a task as part of its id.
    """

    place: Workflow
    ledger: UUID
    runs: dict[UUID, int] = field(default_factory=dict)
    entries: dict[int, int] = field(default_factory=dict)
    tasks: dict[int, int] = field(default_factory=dict)
    refused: Counter = field(default_factory=Counter)
    stopped: bool = False

    async def steal(self):
        """Take the shard over. After this returns, no write of an older owner may succeed."""
        store, shard_id = self.place.cell.shards, self.place.shard_id
        shard = await store.get_or_create_shard(shard_id)
        await store.update_shard(replace(shard, range_id=shard.range_id + 1), previous_range_id=shard.range_id)
        self.place = self.place.like(range_id=shard.range_id + 1)

    async def until_owner(self, former):
        """Wait until this host has written rows of each kind as the owner, and a write of the former owner was refused."""
        mine = self.place.range_id
        kinds = (self.runs, self.entries, self.tasks)
        async with asyncio.timeout(60):
            while not (former.refused[mine - 1] and all(mine in rows.values() for rows in kinds)):  # noqa: ASYNC110 - no event
                await asyncio.sleep(0.005)

    async def write(self, writer):
        """Write in turns: new runs, updates of a run that both hosts update, and tasks."""
        turn = 0
        while not self.stopped:
            turn += 1
            place = self.place
            kind = (self.create, self.update, self.add)[(turn + writer) % 3]
            try:
                await kind(place)
            except ShardOwnershipLost:
                self.refused[place.range_id] += 1
                await asyncio.sleep(0.001)
            except WorkflowConditionFailed:
                continue  # the other host, or another writer here, was first

    async def create(self, place):
        """Create a run with a task and an event."""
        run_id, version = uuid4(), place.range_id
        snapshot = place.snapshot(run_id, ZOMBIE, last_write_version=version, tasks=tasks(TRANSFER))
        await place.create_zombie(snapshot, new_workflow_new_events=place.events(run_id))
        self.runs[run_id] = version

    async def update(self, place):
        """Add an entry to the ledger."""
        version = (await place.get(self.ledger)).db_record_version + 1
        entry = version * 1000 + place.range_id
        mutation = place.mutation(
            self.ledger, COMPLETED, db_record_version=version, upsert_activity_infos={entry: DataBlob(b"entry")}
        )
        await place.update(mutation)
        self.entries[entry] = place.range_id

    async def add(self, place):
        """Add a task by itself."""
        one = task(TRANSFER)
        one = one._replace(key=one.key._replace(task_id=one.key.task_id * 1000 + place.range_id))
        given = {"shard_id": place.shard_id, "range_id": place.range_id}
        await place.cell.history_tasks.add_history_tasks(place.namespace_id, {TRANSFER: [one]}, **given)
        self.tasks[one.key.task_id] = place.range_id


async def rows_of(workflow, ledger, *, below):
    """Return everything in the database that was written with a range id below this one."""
    async with workflow.cell.database.connection(EVERY_NAMESPACE) as connection:
        runs = await connection.fetch(
            "SELECT run_id, last_write_version AS range_id FROM executions WHERE shard_id = $1 AND run_id <> $2",
            workflow.shard_id,
            ledger,
        )
        added = await connection.fetch(
            "SELECT task_id FROM history_tasks WHERE shard_id = $1 AND task_id > 100000", workflow.shard_id
        )
    updates = (await workflow.get(ledger)).activity_infos
    return (
        {UUID(bytes=row["run_id"].bytes) for row in runs if row["range_id"] < below},
        {entry for entry in updates if entry % 1000 < below},
        {row["task_id"] for row in added if row["task_id"] % 1000 < below},
    )


async def test_a_stale_owner_writes_nothing_after_a_steal(workflow):
    """Two hosts under load take the shard from each other. After each takeover, the older owner writes nothing more.

    No acknowledged write is lost, whichever host wrote it.
    """
    ledger = (await workflow.create(workflow.snapshot(of=COMPLETED))).run_id
    seen = []
    async with Strongroom.open(workflow.cell.config) as one, Strongroom.open(workflow.cell.config) as two:
        first, second = hosts = [Host(workflow.like(cell=cell), ledger) for cell in (one, two)]
        async with asyncio.TaskGroup() as writers:
            for host in hosts:
                for number in range(WRITERS):
                    writers.create_task(host.write(number))
            for turn in range(STEALS):
                host, former = (first, second) if turn % 2 == 0 else (second, first)
                await host.steal()
                seen.append((host.place.range_id, await rows_of(workflow, ledger, below=host.place.range_id)))
                await host.until_owner(former)
            for host in hosts:
                host.stopped = True

    for range_id, then in seen:
        assert await rows_of(workflow, ledger, below=range_id) == then
    runs, updates, added = await rows_of(workflow, ledger, below=STEALS + 2)
    assert set(first.runs) | set(second.runs) == runs
    assert set(first.entries) | set(second.entries) == updates
    assert set(first.tasks) | set(second.tasks) == added
    ordered = [entry % 1000 for entry in sorted(updates)]
    assert ordered == sorted(ordered)
    assert len(updates) == (await workflow.get(ledger)).db_record_version - 1
    # A control: each owner wrote rows of each kind, and each former owner tried and was refused.
    owners = set(range(2, STEALS + 2))
    for kind in ("runs", "entries", "tasks"):
        assert owners <= {*getattr(first, kind).values(), *getattr(second, kind).values()}
    assert first.refused.keys() | second.refused.keys() >= set(range(1, STEALS + 1))


@pytest.mark.parametrize("kind", ["a run", "a task"])
async def test_a_steal_waits_for_the_write_that_is_being_committed(workflow, kind):
    """A write holds the shard from its check of the owner until its end. After that, the older owner is refused."""
    host, one = Host(workflow, uuid4()), task(TRANSFER)
    tasks_store, given = workflow.cell.history_tasks, {"shard_id": workflow.shard_id, "range_id": 1}
    async with Strongroom.open(workflow.cell.config) as other:
        async with other.database.transaction(EVERY_NAMESPACE) as connection:
            # The write meets a row that may yet be committed, and waits in the middle of its statement.
            await connection.execute(
                "INSERT INTO history_tasks VALUES ($1, 1, 0, $2, $3, '')",
                workflow.shard_id,
                one.key.task_id,
                workflow.namespace_id,
            )
            if kind == "a run":
                write = workflow.create(workflow.snapshot(tasks={TRANSFER: [one]}))
            else:
                write = tasks_store.add_history_tasks(workflow.namespace_id, {TRANSFER: [one]}, **given)
            writing = asyncio.ensure_future(write)
            await until_waiting(workflow.cell, 1)
            stealing = asyncio.ensure_future(host.steal())
            await until_waiting(workflow.cell, 2)
            assert not writing.done()
            assert not stealing.done()
            await connection.execute("DELETE FROM history_tasks WHERE shard_id = $1", workflow.shard_id)
        await writing
        await stealing
    assert len(await workflow.stored_tasks(TRANSFER)) == 1
    with pytest.raises(ShardOwnershipLost):
        await workflow.like(workflow_id="order 2").create()
    await host.place.like(workflow_id="order 2").create()
