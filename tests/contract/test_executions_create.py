from __future__ import annotations

import asyncio
from uuid import uuid4

import pytest

from strongroom.driver.strongroom import Strongroom
from strongroom.storage import DataBlob, NotFound, ShardInfo, ShardOwnershipLost
from strongroom.storage.errors import NamespaceNotFound
from strongroom.storage.executions.errors import CurrentWorkflowConditionFailed, WorkflowConditionFailed
from strongroom.storage.executions.modes import CreateMode, UpdateMode
from tests.support.fixtures.contract import new_namespace
from tests.support.fixtures.executions import (
    CATEGORIES,
    COMPLETED,
    CORRUPTED,
    CREATED,
    RUNNING,
    TABLES,
    ZOMBIE,
    accumulated,
)

pytestmark = pytest.mark.integration

BRAND_NEW, UPDATE_CURRENT, BYPASS_CURRENT = CreateMode


async def test_a_new_run_comes_back_as_it_was_made(workflow):
    """One write stores state, all maps, the current run, history, tasks of each category and the visibility record."""
    snapshot, record = workflow.full(), workflow.record()
    events = workflow.events(snapshot.run_id)
    await workflow.create(snapshot, new_workflow_new_events=events, visibility=[record])
    assert await workflow.get(snapshot.run_id) == accumulated(snapshot)
    current = await workflow.current()
    assert (current.run_id, current.last_write_version) == (snapshot.run_id, 10)
    assert current.execution_state == snapshot.execution_state
    assert await workflow.history(snapshot.run_id) == tuple(events[0].nodes)
    for category in CATEGORIES:
        made = [one._replace(namespace_id=workflow.namespace_id) for one in snapshot.tasks[category]]
        assert await workflow.stored_tasks(category) == made
    found = await workflow.footprint()
    assert [len(found[table]) for table in TABLES] == [1, 14, 1, 6, 1, 1, 1]


async def test_a_run_that_is_closed_already_is_created(workflow):
    """A run that replication creates closed becomes the current run."""
    snapshot = await workflow.create(workflow.full(of=COMPLETED))
    assert await workflow.get(snapshot.run_id) == accumulated(snapshot)
    assert (await workflow.current()).execution_state.state is COMPLETED


@pytest.mark.parametrize("of", [CREATED, RUNNING, COMPLETED])
async def test_a_brand_new_run_meets_no_other(workflow, of):
    """A brand-new run is refused if there is a current run, open or closed, and the error describes that run."""
    first = await workflow.create(workflow.full(of=of))
    second = workflow.full()
    error = await workflow.refused(
        CurrentWorkflowConditionFailed,
        workflow.create(second, new_workflow_new_events=workflow.events(second.run_id), visibility=[workflow.record()]),
    )
    given = first.execution_state
    assert (error.run_id, error.state, error.status) == (first.run_id, given.state, given.status)
    assert (error.create_request_id, error.start_time) == (given.create_request_id, given.start_time)
    assert (error.last_write_version, error.execution_state) == (10, given.blob)


async def test_a_retry_of_a_create_hears_of_its_own_run(workflow):
    """A caller that repeats a request after a lost answer gets an error with its own request id, and nothing is written twice."""
    snapshot = await workflow.create(workflow.full())
    error = await workflow.refused(CurrentWorkflowConditionFailed, workflow.create(snapshot))
    assert (error.run_id, error.create_request_id) == (snapshot.run_id, snapshot.execution_state.create_request_id)


async def test_a_brand_new_run_may_replace_the_one_it_names(workflow):
    """A brand-new run may name the run that it replaces, at any state and version. The name is ignored if there is no current run."""
    first = await workflow.create(previous_run_id=uuid4())
    second = await workflow.create(previous_run_id=first.run_id)
    assert (await workflow.current()).run_id == second.run_id
    await workflow.refused(CurrentWorkflowConditionFailed, workflow.create(previous_run_id=first.run_id))


async def test_a_closed_run_is_followed_by_the_next(workflow):
    """The new run becomes the current run, and the closed run does not change."""
    first = await workflow.create(workflow.full(of=COMPLETED))
    second = workflow.full(last_write_version=12)
    await workflow.create(second, UPDATE_CURRENT, previous_run_id=first.run_id, previous_last_write_version=10)
    assert (await workflow.current()).run_id == second.run_id
    assert (await workflow.current()).last_write_version == 12
    assert await workflow.get(first.run_id) == accumulated(first)
    assert await workflow.get(second.run_id) == accumulated(second)


@pytest.mark.parametrize(
    ("of", "same_run", "version"),
    [(COMPLETED, False, 10), (COMPLETED, True, 9), (COMPLETED, True, 11), (RUNNING, True, 10)],
)
async def test_only_the_run_that_the_caller_knows_is_followed(workflow, of, same_run, version):
    """A new run is refused if the current run is another one, at another version, or open."""
    first = await workflow.create(workflow.full(of=of))
    previous = first.run_id if same_run else uuid4()
    second = workflow.full()
    error = await workflow.refused(
        CurrentWorkflowConditionFailed,
        workflow.create(
            second,
            UPDATE_CURRENT,
            previous_run_id=previous,
            previous_last_write_version=version,
            new_workflow_new_events=workflow.events(second.run_id),
        ),
    )
    assert (error.run_id, error.last_write_version, error.state) == (first.run_id, 10, of)


async def test_nothing_is_followed_where_there_is_no_current_run(workflow):
    """If there is no current run, the error says so."""
    error = await workflow.refused(
        CurrentWorkflowConditionFailed, workflow.create(mode=UPDATE_CURRENT, previous_run_id=uuid4())
    )
    assert (error.run_id, error.create_request_id, error.state, error.execution_state) == (None, "", 0, None)


async def test_the_version_that_counts_is_the_runs_own(workflow):
    """If a closed run was updated without its current row, its own newer version counts, and the error has it."""
    first = await workflow.create(workflow.snapshot(of=COMPLETED))
    await workflow.update(workflow.mutation(first.run_id, COMPLETED, last_write_version=20), UpdateMode.IGNORE_CURRENT)
    given = {"mode": UPDATE_CURRENT, "previous_run_id": first.run_id}
    error = await workflow.refused(
        CurrentWorkflowConditionFailed, workflow.create(previous_last_write_version=10, **given)
    )
    assert error.last_write_version == 20
    await workflow.create(previous_last_write_version=20, **given)


@pytest.mark.parametrize("of", [ZOMBIE, COMPLETED, CORRUPTED])
@pytest.mark.parametrize("with_current", [True, False])
async def test_a_run_beside_the_current_one(workflow, of, with_current):
    """A zombie is stored completely, and the current run does not change."""
    if with_current:
        await workflow.create()
    before = (await workflow.footprint())["current_executions"]
    snapshot = workflow.full(of=of)
    await workflow.create(snapshot, BYPASS_CURRENT, new_workflow_new_events=workflow.events(snapshot.run_id))
    assert await workflow.get(snapshot.run_id) == accumulated(snapshot)
    assert len(await workflow.history(snapshot.run_id)) == 1
    assert (await workflow.footprint())["current_executions"] == before


async def test_the_current_run_is_not_created_beside_itself(workflow):
    """A zombie with the current run's id is refused."""
    first = await workflow.create()
    zombie = workflow.full(first.run_id, ZOMBIE)
    error = await workflow.refused(CurrentWorkflowConditionFailed, workflow.create_zombie(zombie))
    assert error.run_id == first.run_id


async def test_a_run_is_created_once(workflow):
    """A run whose id exists is refused in each mode, and the error has the stored versions."""
    closed = await workflow.create(workflow.full(of=COMPLETED))
    zombie = await workflow.create_zombie(workflow.full(of=ZOMBIE, next_event_id=9, db_record_version=4))
    error = await workflow.refused(
        WorkflowConditionFailed,
        workflow.create(
            workflow.full(closed.run_id, COMPLETED),
            UPDATE_CURRENT,
            previous_run_id=closed.run_id,
            previous_last_write_version=10,
            new_workflow_new_events=workflow.events(closed.run_id),
        ),
    )
    assert (error.next_event_id, error.db_record_version) == (3, 1)
    error = await workflow.refused(
        WorkflowConditionFailed, workflow.create_zombie(workflow.full(zombie.run_id, ZOMBIE))
    )
    assert (error.next_event_id, error.db_record_version) == (9, 4)


async def test_archetypes_have_current_runs_of_their_own(workflow):
    """One workflow id has a current run for each of two archetypes."""
    plain = await workflow.create()
    other = await workflow.create(workflow.full(), archetype_id=4_294_967_295)
    assert (await workflow.current()).run_id == plain.run_id
    assert (await workflow.current(4_294_967_295)).run_id == other.run_id
    with pytest.raises(NotFound):
        await workflow.current(7)
    await workflow.refused(CurrentWorkflowConditionFailed, workflow.create(archetype_id=4_294_967_295))


async def test_namespaces_never_meet(workflow, cell):
    """Two namespaces of one shard can have equal workflow, run and event ids."""
    other = workflow.like(namespace_id=await new_namespace(cell))
    mine = await workflow.create(workflow.full())
    theirs = await other.create(other.full(mine.run_id), new_workflow_new_events=other.events(mine.run_id))
    assert await workflow.get(mine.run_id) == accumulated(mine)
    assert await other.get(mine.run_id) == accumulated(theirs)
    with pytest.raises(NotFound):
        await workflow.history(mine.run_id)


async def test_a_stale_owner_creates_nothing(workflow, cell):
    """A write with an older or newer range id, or to a shard that does not exist, is refused."""
    await cell.shards.update_shard(ShardInfo(workflow.shard_id, 5, DataBlob(b"")), previous_range_id=1)
    for host in (workflow, workflow.like(range_id=6), workflow.like(shard_id=14_000)):
        snapshot = host.full()
        error = await host.refused(
            ShardOwnershipLost,
            host.create(snapshot, new_workflow_new_events=host.events(snapshot.run_id), visibility=[host.record()]),
        )
        assert error.shard_id == host.shard_id
    await workflow.like(range_id=5).create()


async def test_an_older_visibility_record_changes_nothing(workflow):
    """An older visibility record is skipped and the run is written. A newer record replaces the stored one."""
    stored = workflow.record(version=5)
    await workflow.create(visibility=[stored])
    for version, holds in ((4, stored.sealed), (5, stored.sealed), (6, None)):
        record = workflow.record(version, id=stored.id)
        await workflow.create_zombie(visibility=[record])
        (row,) = (await workflow.footprint())["visibility_records"]
        assert (holds or record.sealed).hex() in row


async def test_of_many_creators_one_wins(workflow):
    """Of many creates at once one succeeds. All others, in every process, get an error with its run."""
    async with Strongroom.open(workflow.cell.config) as other:
        hosts = [workflow, workflow.like(cell=other)] * 8
        outcomes = await asyncio.gather(*(host.create(host.full()) for host in hosts), return_exceptions=True)
    (won,) = [outcome for outcome in outcomes if not isinstance(outcome, Exception)]
    lost = [outcome for outcome in outcomes if isinstance(outcome, Exception)]
    assert {type(error) for error in lost} == {CurrentWorkflowConditionFailed}
    assert {error.run_id for error in lost} == {won.run_id}
    assert (await workflow.current()).run_id == won.run_id
    assert len((await workflow.footprint())["executions"]) == 1


async def test_a_set_that_names_an_id_twice_holds_it_once(workflow):
    """Requested signals are stored once, even if the caller passes duplicates."""
    snapshot = await workflow.create(workflow.snapshot(signal_requested_ids=["a", "b", "a"]))
    assert (await workflow.get(snapshot.run_id)).signal_requested_ids == {"a", "b"}


async def test_an_unknown_namespace_is_not_found(workflow):
    """A create in an unknown namespace is refused, and nothing is written."""
    stranger = workflow.like(namespace_id=uuid4())
    await stranger.refused(NamespaceNotFound, stranger.create())
