from __future__ import annotations

import asyncio
from collections import Counter

import pytest

from strongroom.kms import IntegrityError, KeyDestroyed, NamespaceKeys, SealingLimitExceeded
from strongroom.storage import InvalidPersistenceRequest, NotFound, ShardOwnershipLost
from strongroom.storage.errors import ConditionFailed
from strongroom.storage.executions.errors import CurrentWorkflowConditionFailed, WorkflowConditionFailed
from strongroom.storage.executions.tasks import TRANSFER
from tests.support.fixtures.batches import at_once, creation, is_whole, places, shard_lock
from tests.support.fixtures.contract import new_namespace
from tests.support.fixtures.driver_role import owner_connection
from tests.support.fixtures.executions import blob, task, tasks
from tests.support.lock_waits import until_waiting
from tests.support.shredding import shred

pytestmark = pytest.mark.integration


async def test_good_and_bad_requests_go_together(workflow, batches):
    """Each of 64 callers gets the answer to its own request. A refused request has no effect, and does not affect the others."""
    taken = task(TRANSFER)
    await workflow.create(workflow.snapshot(tasks={TRANSFER: [taken]}))
    made, errors, calls = [], [], []
    for number, place in enumerate(places(workflow, 64)):
        bad, error, changes = place, None, {}
        if number % 8 == 1:
            error, bad = ShardOwnershipLost, place.like(range_id=2)
        elif number % 8 == 3:
            error, changes = ConditionFailed, {"tasks": {TRANSFER: [taken._replace(blob=blob())]}}
        elif number % 8 == 5:
            error, changes = InvalidPersistenceRequest, {"next_event_id": -1}
        elif number % 8 == 7:
            error, bad = CurrentWorkflowConditionFailed, workflow
        snapshot, call = creation(bad, bad.snapshot(**({"tasks": tasks(TRANSFER)} | changes)))
        made.append((bad, snapshot))
        errors.append(error)
        calls.append(call)
    answers = await at_once(calls)
    assert [None if error is None else type(error) for error in answers] == errors
    assert max(batches) > 8
    for (place, snapshot), error in zip(made, errors, strict=True):
        if error in (None, ShardOwnershipLost, CurrentWorkflowConditionFailed):
            assert await is_whole(place.like(range_id=1), snapshot) is (error is None)
    found = await workflow.footprint()
    assert len(found["executions"]) == 1 + errors.count(None)
    assert len(found["history_node"]) == errors.count(None)


async def test_an_altered_current_run_is_the_error_of_its_own_request(workflow, batches):
    """Its statement is committed. So the other requests of the statement, of other tenants too, were written."""
    updated = workflow.like(workflow_id="updated")
    first = await updated.create()
    victim = workflow.like(namespace_id=await new_namespace(workflow.cell), workflow_id="altered")
    await victim.create()
    async with owner_connection(workflow.cell) as connection:
        await connection.execute(
            "UPDATE current_executions SET data = set_byte(data, 40, get_byte(data, 40) # 1) WHERE namespace_id = $1",
            victim.namespace_id,
        )
    calls = [creation(place, place.snapshot())[1] for place in places(workflow, 8)]
    calls += [updated.update(updated.mutation(first.run_id)), creation(victim, victim.snapshot())[1]]
    answers = await at_once(calls)
    assert [None if error is None else type(error) for error in answers] == [None] * 9 + [IntegrityError]
    assert max(batches) > 4


async def test_of_many_updates_of_one_run_one_wins_each_version(workflow):
    """One update of each version succeeds, and all others get the stored version."""
    first = await workflow.create()
    for version in range(2, 6):
        rivals = [workflow.mutation(first.run_id, db_record_version=version) for _ in range(24)]
        answers = await at_once(workflow.update(rival) for rival in rivals)
        assert Counter(map(type, answers)) == {type(None): 1, WorkflowConditionFailed: 23}
        assert {error.db_record_version for error in answers if error} == {version}
        won = rivals[answers.index(None)]
        assert (await workflow.get(first.run_id)).execution_info == won.execution_info


async def test_no_update_is_lost(workflow):
    """Writers that retry until they succeed each leave their entry, and versions have no gap."""
    first = await workflow.create()

    async def writer(number):
        for turn in range(4):
            while True:
                version = (await workflow.get(first.run_id)).db_record_version + 1
                mutation = workflow.mutation(
                    first.run_id, db_record_version=version, upsert_activity_infos={100 * number + turn: blob()}
                )
                try:
                    await workflow.update(mutation)
                except WorkflowConditionFailed:
                    continue
                break

    await asyncio.gather(*(writer(number) for number in range(8)))
    stored = await workflow.get(first.run_id)
    assert stored.db_record_version == 33
    assert set(stored.activity_infos) == {100 * number + turn for number in range(8) for turn in range(4)}


async def test_a_cancelled_caller_cancels_nobody(workflow, batches):
    """A cancelled caller's request is done completely or not at all, and the other callers get their answers."""
    made = [(place, *creation(place)) for place in places(workflow, 64)]
    cancelled = {number for number in range(64) if number % 3 == 0}
    async with shard_lock(workflow):
        callers = [asyncio.ensure_future(call) for _, _, call in made]
        await until_waiting(workflow.cell)
        for number in cancelled:
            callers[number].cancel()
    answers = await asyncio.gather(*callers, return_exceptions=True)
    await workflow.cell.executions.aclose()
    assert max(batches) > 8
    assert any(isinstance(answer, asyncio.CancelledError) for answer in answers)
    for number, (place, snapshot, _) in enumerate(made):
        whole = await is_whole(place, snapshot)
        if number not in cancelled:
            assert answers[number] == snapshot
            assert whole


async def test_a_caller_of_a_shredded_namespace_fails_alone(workflow, cell, batches):
    """A caller in a shredded namespace gets the reason, and the other requests are written."""
    other = workflow.like(namespace_id=await new_namespace(cell))
    await other.create()
    await shred(cell, other.namespace_id)
    made = [
        place.like(namespace_id=other.namespace_id) if number % 5 == 0 else place
        for number, place in enumerate(places(workflow, 40))
    ]
    answers = await at_once(place.create() for place in made)
    for place, error in zip(made, answers, strict=True):
        assert type(error) is (KeyDestroyed if place.namespace_id == other.namespace_id else type(None))
    assert max(batches) > 8


async def test_a_caller_whose_keys_seal_nothing_fails_alone(workflow, cell, batches, monkeypatch):
    """A caller whose value can't be sealed gets the error, although the batch was sealed together."""
    other = workflow.like(namespace_id=await new_namespace(cell))
    seal_groups = NamespaceKeys.seal_groups

    def refuse(self, groups):
        if self.namespace_id == other.namespace_id:
            raise SealingLimitExceeded
        return seal_groups(self, groups)

    monkeypatch.setattr(NamespaceKeys, "seal_groups", refuse)
    made = [
        place.like(namespace_id=other.namespace_id) if number % 9 == 4 else place
        for number, place in enumerate(places(workflow, 40))
    ]
    answers = await at_once(place.create() for place in made)
    for place, error in zip(made, answers, strict=True):
        assert type(error) is (SealingLimitExceeded if place.namespace_id == other.namespace_id else type(None))
    assert max(batches) > 8


async def test_of_several_tasks_of_one_id_one_is_written(workflow, batches):
    """One of several requests with equal task ids is written. The others are refused, and nothing of them is written."""
    twin = task(TRANSFER)
    made, calls = [], []
    for number, place in enumerate(places(workflow, 48)):
        same = {TRANSFER: [twin._replace(blob=blob())]} if number in {5, 6, 30} else tasks(TRANSFER)
        snapshot, call = creation(place, place.snapshot(tasks=same))
        made.append((place, snapshot))
        calls.append(call)
    answers = await at_once(calls)
    assert Counter(map(type, answers)) == {type(None): 46, ConditionFailed: 2}
    assert max(batches) > 8
    for (place, snapshot), error in zip(made, answers, strict=True):
        if error is None:
            assert await is_whole(place, snapshot)
        else:
            with pytest.raises(NotFound):
                await place.get(snapshot.run_id)
