"""The rows of a run are of one state. A single row that was deleted, kept or put back is noticed when the run is read."""

from __future__ import annotations

import asyncio

import pytest

from strongroom.kms import IntegrityError, rotate_data_key
from strongroom.storage import ShardOwnershipLost, WorkflowConditionFailed
from strongroom.storage.executions import run_digest
from strongroom.storage.executions.known_runs import KnownRuns
from strongroom.storage.executions.maps import (
    ACTIVITY,
    BUFFERED_EVENTS,
    CHASM_NODE,
    CHILD_EXECUTION,
    REQUEST_CANCEL,
    SIGNAL,
    SIGNAL_REQUESTED,
    TIMER,
)
from strongroom.storage.executions.modes import UpdateMode
from strongroom.storage.executions.requests import ChasmNode
from tests.support.fixtures.executions import ZOMBIE, accumulated, blob
from tests.support.processes import new_process

pytestmark = pytest.mark.integration

MAPS = (ACTIVITY, TIMER, CHILD_EXECUTION, REQUEST_CANCEL, SIGNAL, SIGNAL_REQUESTED, CHASM_NODE, BUFFERED_EVENTS)
DELETIONS = {
    ACTIVITY: {"delete_activity_infos": [5]},
    TIMER: {"delete_timer_infos": ["timer a"]},
    CHILD_EXECUTION: {"delete_child_execution_infos": [5]},
    REQUEST_CANCEL: {"delete_request_cancel_infos": [5]},
    SIGNAL: {"delete_signal_infos": [5]},
    SIGNAL_REQUESTED: {"delete_signal_requested_ids": ["signal a"]},
    CHASM_NODE: {"delete_chasm_nodes": ["child"]},
    BUFFERED_EVENTS: {"clear_buffered_events": True},
}


@pytest.fixture
async def full_run(workflow):
    """A run with entries in all maps, at version 2; the writes that made it."""
    snapshot = await workflow.create(workflow.full())
    mutation = workflow.mutation(snapshot.run_id, new_buffered_events=blob())
    await workflow.update(mutation)
    return [snapshot, mutation]


async def write(workflow, writes, **changes):
    """Write the next version of a run."""
    version = writes[-1].db_record_version + 1
    mutation = workflow.mutation(writes[0].run_id, db_record_version=version, **changes)
    await workflow.update(mutation)
    writes.append(mutation)


def older_entries(number, changes):
    """Return an attack: entries that were replaced or deleted since are put back."""

    async def attack(workflow, writes, dba):
        kept = await dba.copies("execution_maps", f"map = {number}")
        await write(workflow, writes, **changes)
        await dba.put_back("execution_maps", kept)

    return attack


def missing_entries(condition):
    """Return an attack: entries are deleted."""

    async def attack(_workflow, _writes, dba):
        await dba.delete("execution_maps", condition)

    return attack


async def older_execution(workflow, writes, dba):
    """Put the execution row of before back, next to newer maps."""
    kept = await dba.copies("executions")
    await write(workflow, writes, upsert_activity_infos={5: blob()})
    await dba.put_back("executions", kept)


async def older_maps(workflow, writes, dba):
    """Put all maps of before back, next to the newest execution row."""
    kept = await dba.copies("execution_maps")
    await write(
        workflow, writes, upsert_chasm_nodes={"child": ChasmNode(blob(), blob())}, delete_timer_infos=["timer a"]
    )
    await dba.delete("execution_maps")
    await dba.put_back("execution_maps", kept)


ATTACKS = {
    **{f"an entry of map {number} is deleted": missing_entries(f"map = {number}") for number in MAPS},
    "all entries are deleted": missing_entries("true"),
    **{f"deleted entries of map {number} come back": older_entries(number, DELETIONS[number]) for number in MAPS},
    "an older activity": older_entries(ACTIVITY, {"upsert_activity_infos": {5: blob()}}),
    "an older timer": older_entries(TIMER, {"upsert_timer_infos": {"timer a": blob()}}),
    "an older node": older_entries(CHASM_NODE, {"upsert_chasm_nodes": {"": ChasmNode(blob(), blob())}}),
    "an older execution row": older_execution,
    "older maps": older_maps,
}


@pytest.mark.parametrize("attack", ATTACKS.values(), ids=ATTACKS)
async def test_a_mixed_state_is_refused(workflow, full_run, dba, attack, monkeypatch):
    """The run is readable before the attack. After it, neither this process nor a new one returns it or writes on top of it.

    The control: without the comparison of the digest, each attack gives a state that nobody wrote.
    """
    assert await workflow.get(full_run[0].run_id) == accumulated(*full_run)
    await attack(workflow, full_run, dba)
    later = workflow.like(cell=new_process(workflow.cell))
    for process in (workflow, later):
        with pytest.raises(IntegrityError, match="different states"):
            await process.get(full_run[0].run_id)
    with pytest.raises(IntegrityError, match="different states"):
        await write(later, full_run)
    monkeypatch.setattr(run_digest, "check_digest", lambda *_: None)
    assert await later.get(full_run[0].run_id) != accumulated(*full_run)


@pytest.mark.parametrize("number", [ACTIVITY, CHILD_EXECUTION, REQUEST_CANCEL, SIGNAL])
async def test_zero_bytes_before_an_item_change_nothing(workflow, full_run, dba, number):
    """An item of 8 bytes and the same one after 8 zero bytes are one key (kms/FORMAT.md section 9), so the same entry is read."""
    await dba.edit("execution_maps", "item = decode(repeat('00', 8), 'hex') || item", "map = $1", number)
    for process in (workflow, workflow.like(cell=new_process(workflow.cell))):
        assert await process.get(full_run[0].run_id) == accumulated(*full_run)


async def test_a_refused_write_leaves_the_known_state(workflow, full_run):
    """Writes that are refused, for each reason, do not disturb the digest of the next one."""
    refused = workflow.mutation(full_run[0].run_id, db_record_version=9, upsert_activity_infos={5: blob()})
    await workflow.refused(WorkflowConditionFailed, workflow.update(refused))
    other = workflow.like(range_id=7)
    mutation = workflow.mutation(full_run[0].run_id, db_record_version=3, delete_activity_infos=[5])
    await workflow.refused(ShardOwnershipLost, other.update(mutation))
    await write(workflow, full_run, upsert_activity_infos={5: blob(), 7: blob()})
    assert await workflow.get(full_run[0].run_id) == accumulated(*full_run)


async def test_two_processes_write_in_turn(workflow, full_run):
    """A process whose known state is out of date reads the run again. The answer of each read is the state that was written last."""
    processes = [workflow, *(workflow.like(cell=new_process(workflow.cell)) for _ in range(2))]
    for number in range(9):
        await write(processes[number % 3], full_run, upsert_activity_infos={number: blob()}, delete_signal_infos=[5])
        for process in processes:
            assert await process.get(full_run[0].run_id) == accumulated(*full_run)


async def test_the_older_condition(workflow):
    """Runs without record versions can be written by several processes in turn, too."""
    writes = [await workflow.create(workflow.full(db_record_version=0))]
    processes = [workflow, workflow.like(cell=new_process(workflow.cell))]
    for number in range(6):
        mutation = workflow.mutation(
            writes[0].run_id,
            db_record_version=0,
            condition=writes[-1].next_event_id,
            next_event_id=7,
            upsert_timer_infos={"timer a": blob(), f"timer {number}": blob()},
        )
        await processes[number % 2].update(mutation)
        writes.append(mutation)
        assert await processes[0].get(writes[0].run_id) == accumulated(*writes)


async def test_a_row_that_is_sealed_again_is_the_same_state(workflow, full_run, cell):
    """Between two writes of a process that knows the full_run, its rows are sealed again with a new key."""
    await rotate_data_key(cell.keyring, workflow.namespace_id)
    resealed = (await cell.reseal(wait=0.1).run(workflow.namespace_id, rate=0)).resealed
    assert resealed["executions.data"] == 1
    assert resealed["execution_maps.data"] == 15
    await write(workflow, full_run, upsert_activity_infos={5: blob()}, delete_timer_infos=["timer a"])
    assert await workflow.get(full_run[0].run_id) == accumulated(*full_run)
    assert await workflow.like(cell=new_process(cell)).get(full_run[0].run_id) == accumulated(*full_run)


async def test_forgotten_runs_are_read_again(workflow, cell):
    """With room for three entries, runs are forgotten all the time, also between a read and its write."""
    small = workflow.like(cell=new_process(cell, known=KnownRuns(limit=3)))
    several = [[await small.create_zombie(small.full(of=ZOMBIE))] for _ in range(4)]

    async def work(writes):
        for number in range(5):
            mutation = small.mutation(
                writes[0].run_id, ZOMBIE, db_record_version=number + 2, upsert_activity_infos={5 + number: blob()}
            )
            await small.update(mutation, UpdateMode.IGNORE_CURRENT)
            writes.append(mutation)

    await asyncio.gather(*map(work, several))
    for writes in several:
        assert await workflow.get(writes[0].run_id) == accumulated(*writes)


async def test_a_run_that_was_deleted_and_made_again(workflow, full_run):
    """A process that knew the deleted run writes the new one with the same id and version."""
    later = workflow.like(cell=new_process(workflow.cell))
    place = (workflow.namespace_id, workflow.workflow_id, full_run[0].run_id)
    await later.cell.executions.delete_current_workflow_execution(*place, shard_id=workflow.shard_id)
    await later.cell.executions.delete_workflow_execution(*place, shard_id=workflow.shard_id)
    again = await later.create(workflow.full(full_run[0].run_id, db_record_version=2))
    mutation = workflow.mutation(full_run[0].run_id, db_record_version=3, delete_activity_infos=[5])
    await workflow.update(mutation)
    assert await later.get(full_run[0].run_id) == accumulated(again, mutation)


async def test_a_run_that_another_process_made_again_is_read(workflow):
    """A run that was deleted and made again has lower versions than this process has seen. Its history has newer transactions."""
    other = workflow.like(cell=new_process(workflow.cell))
    snapshot = workflow.snapshot()
    run_id = snapshot.run_id
    await workflow.create(snapshot, new_workflow_new_events=workflow.events(run_id, 1, 10, 0))
    await workflow.update(workflow.mutation(run_id), update_workflow_new_events=workflow.events(run_id, 2, 20, 10))
    assert (await workflow.get(run_id)).db_record_version == 2
    place = (workflow.namespace_id, workflow.workflow_id, run_id)
    await other.cell.executions.delete_current_workflow_execution(*place, shard_id=workflow.shard_id)
    await other.cell.executions.delete_workflow_execution(*place, shard_id=workflow.shard_id)
    await other.create(workflow.snapshot(run_id), new_workflow_new_events=workflow.events(run_id, 1, 30, 0))
    assert (await workflow.get(run_id)).db_record_version == 1
    await workflow.update(workflow.mutation(run_id), update_workflow_new_events=workflow.events(run_id, 2, 40, 30))
    assert (await other.get(run_id)).db_record_version == 2


async def test_a_write_without_a_record_version_is_no_older_row(workflow):
    """Another process may write version 0 over a version that this process knows. The next read returns that write."""
    other = workflow.like(cell=new_process(workflow.cell))
    snapshot = workflow.snapshot(db_record_version=4)
    run_id = snapshot.run_id
    await workflow.create(snapshot, new_workflow_new_events=workflow.events(run_id, 1, 10, 0))
    mutation = workflow.mutation(run_id, db_record_version=5)
    await workflow.update(mutation, update_workflow_new_events=workflow.events(run_id, 2, 20, 10))
    assert (await workflow.get(run_id)).db_record_version == 5
    await other.update(workflow.mutation(run_id, db_record_version=0, condition=mutation.next_event_id))
    for process in (workflow, other):
        assert (await process.get(run_id)).db_record_version == 0
