from __future__ import annotations

from dataclasses import replace
from uuid import uuid4

import pytest

from strongroom.storage import DataBlob, ShardInfo, ShardOwnershipLost
from strongroom.storage.errors import ConditionFailed
from strongroom.storage.executions.errors import CurrentWorkflowConditionFailed, WorkflowConditionFailed
from strongroom.storage.executions.modes import CreateMode, UpdateMode
from strongroom.storage.executions.requests import ChasmNode
from tests.support.fixtures.contract import new_namespace
from tests.support.fixtures.executions import (
    CATEGORIES,
    COMPLETED,
    CREATED,
    RUNNING,
    ZOMBIE,
    accumulated,
    blob,
    task,
    tasks,
)

pytestmark = pytest.mark.integration

UPDATE_CURRENT, BYPASS_CURRENT, IGNORE_CURRENT = UpdateMode


def changed_maps():
    """Return changes of each map of `full_maps`: one entry is replaced, one deleted, one added, and a missing one deleted."""
    numbered = {}
    for name in ("activity_infos", "child_execution_infos", "request_cancel_infos", "signal_infos"):
        numbered |= {f"upsert_{name}": {5: blob(), 6: blob()}, f"delete_{name}": [2**63 - 1, 77]}
    return numbered | {
        "upsert_timer_infos": {"timer a": blob(), "timer c": blob()},
        "delete_timer_infos": ["тимер", "no such"],
        "upsert_chasm_nodes": {"": ChasmNode(blob(), blob()), "other": ChasmNode(blob(), blob())},
        "delete_chasm_nodes": ["child", "no such"],
        "upsert_signal_requested_ids": {"signal a", "signal c"},
        "delete_signal_requested_ids": ["signal b", "no such"],
        "new_buffered_events": blob(),
    }


async def test_an_update_changes_what_it_names(workflow):
    """One update replaces, adds and deletes entries, and writes history, tasks, the record and the current run."""
    first = await workflow.create(workflow.full())
    events = workflow.events(first.run_id)
    events += workflow.events(first.run_id, node_id=3, txn_id=2, prev_txn_id=1)
    mutation = workflow.mutation(first.run_id, tasks=tasks(*CATEGORIES), last_write_version=11, **changed_maps())
    record = workflow.record()
    await workflow.update(mutation, update_workflow_new_events=events, visibility=[record])
    assert await workflow.get(first.run_id) == accumulated(first, mutation)
    assert [node.node_id for node in await workflow.history(first.run_id)] == [1, 3]
    for category in CATEGORIES:
        assert [one.key for one in await workflow.stored_tasks(category)] == [
            one.key for write in (first, mutation) for one in write.tasks[category]
        ]
    assert len((await workflow.footprint())["visibility_records"]) == 1
    current = await workflow.current()
    assert (current.run_id, current.last_write_version) == (first.run_id, 11)
    assert current.execution_state == mutation.execution_state


async def test_what_an_update_does_not_name_stays(workflow):
    """An update without entries changes only info, state and versions."""
    first = await workflow.create(workflow.full())
    mutation = workflow.mutation(first.run_id)
    await workflow.update(mutation)
    assert await workflow.get(first.run_id) == accumulated(first, mutation)


async def test_an_entry_that_is_written_and_deleted_at_once_is_deleted(workflow):
    """An entry that an update both writes and deletes is deleted, in each map, as in Temporal."""
    first = await workflow.create(workflow.full())
    numbered = {}
    for name in ("activity_infos", "child_execution_infos", "request_cancel_infos", "signal_infos"):
        numbered |= {f"upsert_{name}": {5: blob(), 9: blob()}, f"delete_{name}": [5, 9]}
    mutation = workflow.mutation(
        first.run_id,
        upsert_timer_infos={"timer a": blob()},
        delete_timer_infos=["timer a"],
        upsert_signal_requested_ids=["signal a"],
        delete_signal_requested_ids=["signal a"],
        upsert_chasm_nodes={"": ChasmNode(blob(), blob())},
        delete_chasm_nodes=[""],
        **numbered,
    )
    await workflow.update(mutation)
    assert await workflow.get(first.run_id) == accumulated(first, mutation)


@pytest.mark.parametrize("version", [1, 3, 9])
async def test_an_update_of_another_version_is_refused(workflow, version):
    """An update at another version is refused with the stored version, and nothing is written."""
    first = await workflow.create(workflow.full(next_event_id=5))
    mutation = workflow.mutation(
        first.run_id, db_record_version=version, condition=5, tasks=tasks(*CATEGORIES), **changed_maps()
    )
    error = await workflow.refused(
        WorkflowConditionFailed,
        workflow.update(
            mutation, update_workflow_new_events=workflow.events(first.run_id), visibility=[workflow.record()]
        ),
    )
    assert (error.next_event_id, error.db_record_version) == (5, 1)


async def test_without_a_version_the_next_event_id_counts(workflow):
    """With db_record_version 0, an update compares `condition`, and 0 is stored."""
    first = await workflow.create(workflow.snapshot(next_event_id=5, db_record_version=8))
    wrong = workflow.mutation(first.run_id, db_record_version=0, condition=4)
    error = await workflow.refused(WorkflowConditionFailed, workflow.update(wrong))
    assert (error.next_event_id, error.db_record_version) == (5, 8)
    right = replace(wrong, condition=5)
    await workflow.update(right)
    assert await workflow.get(first.run_id) == accumulated(first, right)
    again = workflow.mutation(first.run_id, db_record_version=1)
    await workflow.update(again)
    assert (await workflow.get(first.run_id)).db_record_version == 1


@pytest.mark.parametrize("mode", [BYPASS_CURRENT, IGNORE_CURRENT])
async def test_a_run_that_is_not_there_is_not_updated(workflow, mode):
    """An update of a run that does not exist is a condition that failed."""
    await workflow.create()
    run_id = uuid4()
    await workflow.refused(
        ConditionFailed,
        workflow.update(
            workflow.mutation(run_id, COMPLETED, tasks=tasks(*CATEGORIES), **changed_maps()),
            mode,
            update_workflow_new_events=workflow.events(run_id),
            visibility=[workflow.record()],
        ),
    )


async def test_the_current_run_without_a_row_of_its_own_is_not_updated(workflow):
    """An update of a deleted run is refused, although the current row names it."""
    first = await workflow.create()
    await workflow.cell.executions.delete_workflow_execution(
        workflow.namespace_id, workflow.workflow_id, first.run_id, shard_id=workflow.shard_id
    )
    await workflow.refused(ConditionFailed, workflow.update(workflow.mutation(first.run_id)))


@pytest.mark.parametrize("exists", [True, False])
async def test_only_the_current_run_is_updated_as_current(workflow, exists):
    """An update of a run that is not the current run is refused first, and the error has the current run."""
    first = await workflow.create(workflow.full(of=RUNNING))
    zombie = await workflow.create_zombie()
    run_id = zombie.run_id if exists else uuid4()
    error = await workflow.refused(
        CurrentWorkflowConditionFailed,
        workflow.update(workflow.mutation(run_id), update_workflow_new_events=workflow.events(run_id)),
    )
    given = first.execution_state
    assert (error.run_id, error.state, error.last_write_version) == (first.run_id, RUNNING, 10)
    assert (error.create_request_id, error.execution_state) == (given.create_request_id, given.blob)


async def test_where_no_run_is_current_none_is_updated_as_current(workflow):
    """If there is no current run, the error says so."""
    zombie = await workflow.create_zombie()
    error = await workflow.refused(CurrentWorkflowConditionFailed, workflow.update(workflow.mutation(zombie.run_id)))
    assert (error.run_id, error.state, error.status) == (None, 0, 0)


@pytest.mark.parametrize("with_current", [True, False])
async def test_a_zombie_is_updated_beside_the_current_run(workflow, with_current):
    """An update that bypasses the current run does not change it."""
    if with_current:
        await workflow.create()
    zombie = await workflow.create_zombie(workflow.full(of=ZOMBIE))
    before = (await workflow.footprint())["current_executions"]
    mutation = workflow.mutation(zombie.run_id, ZOMBIE, **changed_maps())
    await workflow.update(mutation, BYPASS_CURRENT, update_workflow_new_events=workflow.events(zombie.run_id))
    assert await workflow.get(zombie.run_id) == accumulated(zombie, mutation)
    assert len(await workflow.history(zombie.run_id)) == 1
    assert (await workflow.footprint())["current_executions"] == before


async def test_the_current_run_is_not_updated_beside_itself(workflow):
    """An update that bypasses the current run is refused for the current run itself."""
    first = await workflow.create()
    mutation = workflow.mutation(first.run_id, ZOMBIE)
    error = await workflow.refused(CurrentWorkflowConditionFailed, workflow.update(mutation, BYPASS_CURRENT))
    assert error.run_id == first.run_id


async def test_a_zombie_of_another_version_is_refused(workflow):
    """An update of a zombie at another version is refused, whatever the current run is."""
    await workflow.create()
    zombie = await workflow.create_zombie(workflow.full(of=ZOMBIE, db_record_version=6))
    mutation = workflow.mutation(zombie.run_id, ZOMBIE, db_record_version=6)
    error = await workflow.refused(WorkflowConditionFailed, workflow.update(mutation, BYPASS_CURRENT))
    assert error.db_record_version == 6


@pytest.mark.parametrize("is_current", [True, False])
async def test_a_closed_run_is_updated_whoever_is_current(workflow, is_current):
    """An update that ignores the current run does not change it."""
    first = await workflow.create(workflow.full(of=COMPLETED))
    if not is_current:
        await workflow.create(
            mode=CreateMode.UPDATE_CURRENT, previous_run_id=first.run_id, previous_last_write_version=10
        )
    before = (await workflow.footprint())["current_executions"]
    mutation = workflow.mutation(first.run_id, COMPLETED, **changed_maps())
    await workflow.update(mutation, IGNORE_CURRENT)
    assert await workflow.get(first.run_id) == accumulated(first, mutation)
    assert (await workflow.footprint())["current_executions"] == before


@pytest.mark.parametrize("of", [CREATED, RUNNING, COMPLETED])
async def test_a_run_is_continued_by_a_new_one(workflow, of):
    """One write closes the old run, creates the new current run, and writes both histories and tasks."""
    first = await workflow.create(workflow.full())
    closing = workflow.mutation(first.run_id, COMPLETED, tasks=tasks(*CATEGORIES), **changed_maps())
    new = workflow.full(of=of, last_write_version=15)
    await workflow.update(
        closing,
        new=new,
        update_workflow_new_events=workflow.events(first.run_id),
        new_workflow_new_events=workflow.events(new.run_id),
    )
    assert await workflow.get(first.run_id) == accumulated(first, closing)
    assert await workflow.get(new.run_id) == accumulated(new)
    assert len(await workflow.history(first.run_id)) == len(await workflow.history(new.run_id)) == 1
    current = await workflow.current()
    assert (current.run_id, current.last_write_version) == (new.run_id, 15)
    assert current.execution_state == new.execution_state
    assert [len(await workflow.stored_tasks(category)) for category in CATEGORIES] == [3] * len(CATEGORIES)


async def test_a_zombie_is_continued_by_a_zombie(workflow):
    """A run that is not the current run can be continued, and the current run does not change."""
    first = await workflow.create()
    zombie = await workflow.create_zombie(workflow.full(of=ZOMBIE))
    closing, new = workflow.mutation(zombie.run_id, COMPLETED), workflow.full(of=ZOMBIE)
    await workflow.update(closing, BYPASS_CURRENT, new, new_workflow_new_events=workflow.events(new.run_id))
    assert await workflow.get(zombie.run_id) == accumulated(zombie, closing)
    assert await workflow.get(new.run_id) == accumulated(new)
    assert len(await workflow.history(new.run_id)) == 1
    assert (await workflow.current()).run_id == first.run_id


async def test_a_continuation_that_exists_refuses_the_whole(workflow):
    """If the new run exists, the old run stays open and the new run does not change."""
    first = await workflow.create()
    there = await workflow.create_zombie(workflow.full(of=ZOMBIE, next_event_id=9))
    new = workflow.full(there.run_id)
    error = await workflow.refused(
        WorkflowConditionFailed,
        workflow.update(
            workflow.mutation(first.run_id, COMPLETED),
            new=new,
            update_workflow_new_events=workflow.events(first.run_id),
            new_workflow_new_events=workflow.events(new.run_id),
        ),
    )
    assert (error.next_event_id, error.db_record_version) == (9, 1)


async def test_archetypes_are_updated_apart(workflow):
    """Each archetype has a current run of its own."""
    await workflow.create()
    other = await workflow.create(workflow.full(), archetype_id=9)
    mutation = workflow.mutation(other.run_id, **changed_maps())
    await workflow.refused(CurrentWorkflowConditionFailed, workflow.update(mutation))
    await workflow.update(mutation, archetype_id=9)
    assert await workflow.get(other.run_id) == accumulated(other, mutation)
    assert (await workflow.current(9)).execution_state == mutation.execution_state


async def test_an_update_reaches_no_other_run(workflow, cell):
    """An update changes neither equal ids in another namespace nor other runs of the workflow."""
    first, other = await workflow.create(workflow.full()), workflow.like(namespace_id=await new_namespace(cell))
    theirs = await other.create(other.full(first.run_id))
    zombie = await workflow.create_zombie(workflow.full(of=ZOMBIE))
    before = await other.footprint()
    await workflow.update(workflow.mutation(first.run_id, clear_buffered_events=True, **changed_maps()))
    assert await workflow.get(zombie.run_id) == accumulated(zombie)
    assert await other.footprint() == before
    assert await other.get(first.run_id) == accumulated(theirs)


async def test_a_stale_owner_updates_nothing(workflow, cell):
    """A stale range id is refused even if everything else is right."""
    first = await workflow.create(workflow.full())
    await cell.shards.update_shard(ShardInfo(workflow.shard_id, 2, DataBlob(b"")), previous_range_id=1)
    for mode in UpdateMode:
        mutation = workflow.mutation(first.run_id, COMPLETED, tasks=tasks(*CATEGORIES), **changed_maps())
        await workflow.refused(
            ShardOwnershipLost,
            workflow.update(mutation, mode, update_workflow_new_events=workflow.events(first.run_id)),
        )
    await workflow.like(range_id=2).update(workflow.mutation(first.run_id))


async def test_a_task_id_that_is_taken_refuses_the_whole(workflow):
    """A request with a task key that exists is refused, and nothing of it is written."""
    category = CATEGORIES[0]
    taken = task(category)
    first = await workflow.create(workflow.snapshot(tasks={category: [taken]}))
    mutation = workflow.mutation(first.run_id, tasks={category: [task(category), taken._replace(blob=blob())]})
    await workflow.refused(
        ConditionFailed, workflow.update(mutation, update_workflow_new_events=workflow.events(first.run_id))
    )
