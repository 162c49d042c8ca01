from __future__ import annotations

from uuid import uuid4

import pytest

from strongroom.storage import DataBlob, ShardInfo, ShardOwnershipLost
from strongroom.storage.errors import ConditionFailed
from strongroom.storage.executions.errors import CurrentWorkflowConditionFailed, WorkflowConditionFailed
from strongroom.storage.executions.modes import ConflictResolveMode, UpdateMode
from tests.support.fixtures.executions import (
    CATEGORIES,
    COMPLETED,
    RUNNING,
    ZOMBIE,
    accumulated,
    blob,
    full_maps,
    tasks,
)

pytestmark = pytest.mark.integration

UPDATE_CURRENT, BYPASS_CURRENT = ConflictResolveMode


def reset_of(workflow, run_id, of=RUNNING, **changes):
    """Return a snapshot for a reset of a run at version 1, with other entries than `full` has."""
    maps = full_maps() | {"activity_infos": {6: blob()}, "timer_infos": {}, "signal_requested_ids": {"signal z"}}
    return workflow.snapshot(
        run_id, of, **({"db_record_version": 2, "tasks": tasks(*CATEGORIES), "next_event_id": 5} | maps | changes)
    )


def events_of(workflow, reset, *, new=None, current=None):
    """Return the arguments that append events to each run of a request."""
    given = {"reset_workflow_events_new_events": workflow.events(reset.run_id)}
    if new is not None:
        given["new_workflow_events_new_events"] = workflow.events(new.run_id)
    if current is not None:
        given["current_workflow_events_new_events"] = workflow.events(current.run_id)
    return given


async def current_and_zombie(workflow):
    """Create two runs: the current run, and another one with buffered events."""
    first = await workflow.create(workflow.full(of=RUNNING))
    zombie = await workflow.create_zombie(workflow.full(of=ZOMBIE))
    return first, zombie


async def test_the_current_run_is_reset(workflow):
    """A reset replaces all maps, deletes buffered events, and gives the current run the new state and version."""
    first = await workflow.create(workflow.full(of=RUNNING))
    buffer = workflow.mutation(first.run_id, new_buffered_events=blob())
    await workflow.update(buffer)
    assert (await workflow.get(first.run_id)).buffered_events
    reset = reset_of(workflow, first.run_id, db_record_version=3, last_write_version=21)
    await workflow.resolve(reset, **events_of(workflow, reset))
    assert await workflow.get(first.run_id) == accumulated(reset)
    assert len(await workflow.history(first.run_id)) == 1
    current = await workflow.current()
    assert (current.run_id, current.last_write_version) == (first.run_id, 21)
    assert current.execution_state == reset.execution_state
    assert len(await workflow.stored_tasks(CATEGORIES[0])) == 2


async def test_a_run_takes_the_current_ones_place(workflow):
    """One write makes the zombie the current run and the current run a zombie, and appends both histories."""
    first, zombie = await current_and_zombie(workflow)
    reset, current = reset_of(workflow, zombie.run_id), workflow.mutation(first.run_id, ZOMBIE)
    await workflow.resolve(
        reset, current=current, visibility=[workflow.record()], **events_of(workflow, reset, current=current)
    )
    assert await workflow.get(zombie.run_id) == accumulated(reset)
    assert await workflow.get(first.run_id) == accumulated(first, current)
    assert len(await workflow.history(zombie.run_id)) == len(await workflow.history(first.run_id)) == 1
    assert (await workflow.current()).run_id == zombie.run_id
    assert (await workflow.current()).execution_state == reset.execution_state
    assert len((await workflow.footprint())["visibility_records"]) == 1


async def test_the_current_run_is_reset_and_continued(workflow):
    """The new run becomes the current run, and the reset run is closed."""
    first = await workflow.create(workflow.full(of=RUNNING))
    reset, new = reset_of(workflow, first.run_id, COMPLETED), workflow.full(of=RUNNING, last_write_version=31)
    await workflow.resolve(reset, new=new, **events_of(workflow, reset, new=new))
    assert await workflow.get(first.run_id) == accumulated(reset)
    assert await workflow.get(new.run_id) == accumulated(new)
    assert len(await workflow.history(new.run_id)) == 1
    current = await workflow.current()
    assert (current.run_id, current.last_write_version) == (new.run_id, 31)
    assert current.execution_state == new.execution_state


async def test_a_run_takes_the_current_ones_place_and_is_continued(workflow):
    """One write resets and closes a run, suppresses another, and creates the new current run."""
    first, zombie = await current_and_zombie(workflow)
    reset, new = reset_of(workflow, zombie.run_id, COMPLETED), workflow.full(of=RUNNING)
    current = workflow.mutation(first.run_id, ZOMBIE, upsert_activity_infos={8: blob()})
    await workflow.resolve(reset, new=new, current=current, **events_of(workflow, reset, new=new, current=current))
    assert await workflow.get(zombie.run_id) == accumulated(reset)
    assert await workflow.get(first.run_id) == accumulated(first, current)
    assert await workflow.get(new.run_id) == accumulated(new)
    for run_id in (zombie.run_id, first.run_id, new.run_id):
        assert len(await workflow.history(run_id)) == 1
    assert (await workflow.current()).run_id == new.run_id


@pytest.mark.parametrize("with_current", [True, False])
async def test_a_zombie_is_reset_beside_the_current_run(workflow, with_current):
    """A reset that bypasses the current run does not change it."""
    if with_current:
        await workflow.create()
    zombie = await workflow.create_zombie(workflow.full(of=ZOMBIE))
    before = (await workflow.footprint())["current_executions"]
    reset = reset_of(workflow, zombie.run_id, ZOMBIE)
    await workflow.resolve(reset, BYPASS_CURRENT, **events_of(workflow, reset))
    assert await workflow.get(zombie.run_id) == accumulated(reset)
    assert len(await workflow.history(zombie.run_id)) == 1
    assert (await workflow.footprint())["current_executions"] == before


async def test_a_zombie_is_reset_and_continued_by_a_zombie(workflow):
    """A zombie is reset and continued by another zombie, and the current run does not change."""
    first, zombie = await current_and_zombie(workflow)
    reset, new = reset_of(workflow, zombie.run_id, COMPLETED), workflow.full(of=ZOMBIE)
    await workflow.resolve(reset, BYPASS_CURRENT, new=new, **events_of(workflow, reset, new=new))
    assert await workflow.get(zombie.run_id) == accumulated(reset)
    assert await workflow.get(new.run_id) == accumulated(new)
    assert (await workflow.current()).run_id == first.run_id


@pytest.mark.parametrize("named", ["no such run", "the reset run", "none"])
async def test_only_the_run_that_is_current_gives_way(workflow, named):
    """A request that expects another current run is refused, and the error has the current run."""
    first, zombie = await current_and_zombie(workflow)
    reset, current = reset_of(workflow, zombie.run_id), None
    if named == "no such run":
        current = workflow.mutation(uuid4(), ZOMBIE)
    elif named == "the reset run":
        other = await workflow.create_zombie()
        current = workflow.mutation(other.run_id, ZOMBIE)
    error = await workflow.refused(
        CurrentWorkflowConditionFailed,
        workflow.resolve(
            reset, current=current, visibility=[workflow.record()], **events_of(workflow, reset, current=current)
        ),
    )
    given = first.execution_state
    assert (error.run_id, error.state, error.status) == (first.run_id, given.state, given.status)
    assert (error.create_request_id, error.execution_state) == (given.create_request_id, given.blob)


async def test_where_no_run_is_current_none_is_reset_as_current(workflow):
    """If there is no current run, the error says so."""
    zombie = await workflow.create_zombie(workflow.full(of=ZOMBIE))
    error = await workflow.refused(CurrentWorkflowConditionFailed, workflow.resolve(reset_of(workflow, zombie.run_id)))
    assert (error.run_id, error.execution_state) == (None, None)


async def test_the_current_run_is_not_reset_beside_itself(workflow):
    """A request that bypasses the current run is refused for the current run itself."""
    first = await workflow.create(workflow.full())
    reset = reset_of(workflow, first.run_id, ZOMBIE)
    error = await workflow.refused(
        CurrentWorkflowConditionFailed, workflow.resolve(reset, BYPASS_CURRENT, **events_of(workflow, reset))
    )
    assert error.run_id == first.run_id


@pytest.mark.parametrize("stale", ["reset", "current"])
async def test_each_run_must_be_at_the_version_that_the_caller_knows(workflow, stale):
    """If one of three runs is at another version, all are refused, and the error has its stored version."""
    first, zombie = await current_and_zombie(workflow)
    await workflow.update(workflow.mutation(first.run_id, next_event_id=50))
    versions = {"reset": 2, "current": 3} | {stale: 9}
    reset = reset_of(workflow, zombie.run_id, COMPLETED, db_record_version=versions["reset"])
    current = workflow.mutation(first.run_id, ZOMBIE, db_record_version=versions["current"])
    new = workflow.full(of=RUNNING)
    error = await workflow.refused(
        WorkflowConditionFailed,
        workflow.resolve(reset, new=new, current=current, **events_of(workflow, reset, new=new, current=current)),
    )
    stored = {"reset": (3, 1), "current": (50, 2)}
    assert (error.next_event_id, error.db_record_version) == stored[stale]


async def test_the_current_run_that_is_reset_must_be_at_that_version(workflow):
    """A reset of the current run at another version is refused, also by the older condition on the next event id."""
    first = await workflow.create(workflow.full(of=RUNNING, next_event_id=9, db_record_version=4))
    for wrong in ({"db_record_version": 4}, {"db_record_version": 0, "condition": 8}):
        reset = reset_of(workflow, first.run_id, **wrong)
        error = await workflow.refused(WorkflowConditionFailed, workflow.resolve(reset, **events_of(workflow, reset)))
        assert (error.next_event_id, error.db_record_version) == (9, 4)
    await workflow.resolve(reset_of(workflow, first.run_id, db_record_version=0, condition=9))


async def test_a_zombie_that_is_reset_must_be_at_that_version(workflow):
    """A reset of a zombie at another version is refused."""
    _, zombie = await current_and_zombie(workflow)
    reset = reset_of(workflow, zombie.run_id, ZOMBIE, db_record_version=3)
    error = await workflow.refused(
        WorkflowConditionFailed, workflow.resolve(reset, BYPASS_CURRENT, **events_of(workflow, reset))
    )
    assert error.db_record_version == 1


async def test_a_run_that_is_not_there_is_not_reset(workflow):
    """A reset of a run that does not exist is refused, in either mode."""
    first = await workflow.create(workflow.full())
    reset = reset_of(workflow, uuid4(), COMPLETED)
    await workflow.refused(ConditionFailed, workflow.resolve(reset, BYPASS_CURRENT, **events_of(workflow, reset)))
    current = workflow.mutation(first.run_id, ZOMBIE)
    await workflow.refused(
        ConditionFailed, workflow.resolve(reset, current=current, **events_of(workflow, reset, current=current))
    )


async def test_a_new_run_that_exists_refuses_the_whole(workflow):
    """A refused request leaves neither the reset nor the change of the current run."""
    first, zombie = await current_and_zombie(workflow)
    there = await workflow.create_zombie(workflow.full(of=ZOMBIE, next_event_id=77))
    reset, current = reset_of(workflow, zombie.run_id, COMPLETED), workflow.mutation(first.run_id, ZOMBIE)
    new = workflow.full(there.run_id, RUNNING)
    error = await workflow.refused(
        WorkflowConditionFailed,
        workflow.resolve(reset, new=new, current=current, **events_of(workflow, reset, new=new, current=current)),
    )
    assert error.next_event_id == 77


async def test_archetypes_are_reset_apart(workflow):
    """Each archetype has a current run of its own."""
    await workflow.create()
    other = await workflow.create(workflow.full(of=RUNNING), archetype_id=9)
    reset, new = reset_of(workflow, other.run_id, COMPLETED), workflow.full(of=RUNNING)
    await workflow.refused(CurrentWorkflowConditionFailed, workflow.resolve(reset, new=new))
    await workflow.resolve(reset, new=new, archetype_id=9)
    assert await workflow.get(other.run_id) == accumulated(reset)
    assert (await workflow.current(9)).run_id == new.run_id


async def test_a_reset_reaches_no_other_run(workflow):
    """A reset does not change the maps of other runs of the workflow."""
    first, zombie = await current_and_zombie(workflow)
    other = await workflow.create_zombie(workflow.full(of=ZOMBIE))
    buffer = workflow.mutation(other.run_id, ZOMBIE, new_buffered_events=blob())
    await workflow.update(buffer, UpdateMode.BYPASS_CURRENT)
    await workflow.resolve(reset_of(workflow, zombie.run_id, ZOMBIE), BYPASS_CURRENT)
    assert await workflow.get(first.run_id) == accumulated(first)
    assert await workflow.get(other.run_id) == accumulated(other, buffer)


async def test_a_stale_owner_resets_nothing(workflow, cell):
    """A stale range id is refused even if everything else is right."""
    first = await workflow.create(workflow.full(of=RUNNING))
    await cell.shards.update_shard(ShardInfo(workflow.shard_id, 2, DataBlob(b"")), previous_range_id=1)
    reset = reset_of(workflow, first.run_id)
    await workflow.refused(ShardOwnershipLost, workflow.resolve(reset, **events_of(workflow, reset)))
    await workflow.like(range_id=2).resolve(reset)
