from __future__ import annotations

import asyncio
from collections import Counter
from contextlib import asynccontextmanager
from uuid import uuid4

import pytest

from strongroom.driver.strongroom import Strongroom
from strongroom.kms import rotate_data_key
from strongroom.storage import EVERY_NAMESPACE, HistoryNode
from strongroom.storage.executions.errors import CurrentWorkflowConditionFailed, WorkflowConditionFailed
from strongroom.storage.executions.modes import CreateMode, UpdateMode
from strongroom.storage.executions.tasks import TRANSFER
from strongroom.storage.histories.rows import HistoryAppend
from tests.support.fixtures.batches import at_once
from tests.support.fixtures.executions import COMPLETED, RUNNING, ZOMBIE, accumulated, blob, exactly, task
from tests.support.lock_waits import until_waiting

pytestmark = pytest.mark.integration


@pytest.fixture
async def rival(workflow):
    """Another host with the same workflow and range id, so that only the rows keep the two apart."""
    async with Strongroom.open(workflow.cell.config) as other:
        yield workflow.like(cell=other)


@asynccontextmanager
async def halted(workflow, call, one):
    """Start a write of task `one` that waits in the middle of its statement.

    It is committed at the end, once another write, which the block starts, waits for it.
    """
    async with workflow.cell.database.transaction(EVERY_NAMESPACE) as connection:
        # A row under the task's key that may yet be committed.
        await connection.execute(
            "INSERT INTO history_tasks VALUES ($1, 1, 0, $2, $3, '')",
            workflow.shard_id,
            one.key.task_id,
            workflow.namespace_id,
        )
        writing = asyncio.ensure_future(call)
        await until_waiting(workflow.cell, 1)
        assert not writing.done()
        yield
        await until_waiting(workflow.cell, 2)
        await connection.execute("DELETE FROM history_tasks WHERE shard_id = $1", workflow.shard_id)
    await writing


async def test_of_two_creators_at_once_the_second_hears_of_the_first(workflow, rival):
    """A create that raced another one is refused, also if it saw no current run because the first was not committed yet."""
    one = task(TRANSFER)
    first = rival.snapshot(tasks={TRANSFER: [one]})
    async with halted(workflow, rival.create(first), one):
        second = asyncio.ensure_future(workflow.create())
    with exactly(CurrentWorkflowConditionFailed) as raised:
        await second
    assert raised.value.run_id == first.run_id
    assert (await workflow.current()).run_id == first.run_id
    assert len((await workflow.footprint())["executions"]) == 1


async def test_a_refusal_names_a_run_sealed_under_a_key_that_came_meanwhile(workflow, rival):
    """A host with old keys in memory gets the current run, also if another host sealed it with a newer key."""
    await rival.create(rival.like(workflow_id="another").snapshot())  # its keys are opened
    await rotate_data_key(workflow.cell.keyring, workflow.namespace_id)
    first = await workflow.create()
    with exactly(CurrentWorkflowConditionFailed) as raised:
        await rival.create()
    assert raised.value.run_id == first.run_id
    assert (await rival.current()).run_id == first.run_id


async def test_of_two_creators_of_one_run_the_second_hears_of_the_first(workflow, rival):
    """Two creates of one zombie race, and the second is refused because the run exists."""
    one = task(TRANSFER)
    first = rival.snapshot(of=ZOMBIE, tasks={TRANSFER: [one]}, next_event_id=9)
    async with halted(workflow, rival.create_zombie(first), one):
        second = asyncio.ensure_future(workflow.create_zombie(workflow.snapshot(first.run_id, ZOMBIE)))
    with exactly(WorkflowConditionFailed) as raised:
        await second
    assert (raised.value.next_event_id, raised.value.db_record_version) == (9, 1)
    assert await workflow.get(first.run_id) == accumulated(first)


@pytest.mark.parametrize("closed", [True, False])
async def test_a_successor_sees_the_last_change_of_the_run_before(workflow, rival, closed):
    """A create after a closed run is refused if that run was changed or reopened since."""
    first = await workflow.create(workflow.snapshot(of=COMPLETED))
    one = task(TRANSFER)
    mutation = rival.mutation(
        first.run_id, COMPLETED if closed else RUNNING, last_write_version=20 if closed else 10, tasks={TRANSFER: [one]}
    )
    async with halted(workflow, rival.update(mutation), one):
        successor = workflow.create(
            mode=CreateMode.UPDATE_CURRENT, previous_run_id=first.run_id, previous_last_write_version=10
        )
        following = asyncio.ensure_future(successor)
    with exactly(CurrentWorkflowConditionFailed) as raised:
        await following
    assert raised.value.last_write_version == mutation.last_write_version
    assert raised.value.state == mutation.execution_state.state


@pytest.mark.parametrize("mode", UpdateMode)
async def test_of_two_updates_at_once_the_second_is_refused(workflow, rival, mode):
    """The second of two updates is refused, and the error has the version of the first."""
    of = ZOMBIE if mode is UpdateMode.BYPASS_CURRENT else RUNNING
    first = await (workflow.create_zombie() if of is ZOMBIE else workflow.create())
    one = task(TRANSFER)
    mutation = rival.mutation(first.run_id, of, next_event_id=30, tasks={TRANSFER: [one]})
    async with halted(workflow, rival.update(mutation, mode), one):
        second = asyncio.ensure_future(workflow.update(workflow.mutation(first.run_id, of), mode))
    with exactly(WorkflowConditionFailed) as raised:
        await second
    assert (raised.value.next_event_id, raised.value.db_record_version) == (30, 2)
    assert await workflow.get(first.run_id) == accumulated(first, mutation)


async def test_a_run_that_is_continued_meanwhile_is_not_current(workflow, rival):
    """An update of a run that is no longer the current run is refused, and the error has its successor."""
    first = await workflow.create()
    one = task(TRANSFER)
    new = rival.snapshot(tasks={TRANSFER: [one]})
    async with halted(workflow, rival.update(rival.mutation(first.run_id, COMPLETED), new=new), one):
        second = asyncio.ensure_future(workflow.update(workflow.mutation(first.run_id)))
    with exactly(CurrentWorkflowConditionFailed) as raised:
        await second
    assert raised.value.run_id == new.run_id


async def test_batches_of_two_hosts_meet_without_a_deadlock(workflow, rival):
    """Two hosts update the same runs in opposite order: each version of each run is written once, and no error is about a lock."""
    names = [f"order {number}" for number in range(40)]
    places = [workflow.like(workflow_id=name) for name in names]
    runs = [await place.create() for place in places]
    for version in range(2, 7):
        calls = []
        for host, numbers in ((workflow, range(40)), (rival, range(39, -1, -1))):
            for number in numbers:
                place = host.like(workflow_id=names[number])
                calls.append(place.update(place.mutation(runs[number].run_id, db_record_version=version)))
        answers = await at_once(calls)
        assert Counter(map(type, answers)) == {type(None): 40, WorkflowConditionFailed: 40}
        for mine, theirs in zip(answers[:40], reversed(answers[40:]), strict=True):
            assert (mine is None) is not (theirs is None)


async def test_a_node_that_is_deleted_while_a_write_replaces_it_is_written(workflow):
    """A failed attempt left a node, and is deleted between the two statements of the write that repeats the attempt."""
    run_id, history = uuid4(), workflow.cell.history
    branch, place = workflow.branch(run_id), {"node_id": 3, "txn_id": 11}
    first, second = HistoryNode(1, 10, 0, blob()), HistoryNode(3, 11, 10, blob())
    await workflow.create(
        workflow.snapshot(run_id), new_workflow_new_events=[HistoryAppend(branch, [first], is_new_branch=True)]
    )
    await history.append_history_nodes(workflow.namespace_id, branch, [second])
    repeated = workflow.update(
        workflow.mutation(run_id), update_workflow_new_events=[HistoryAppend(branch, [second], is_new_branch=False)]
    )
    calls = (history.delete_history_nodes(workflow.namespace_id, branch, **place), repeated)
    async with asyncio.TaskGroup() as group, workflow.cell.database.transaction(EVERY_NAMESPACE) as holder:
        lock = "SELECT FROM history_node WHERE shard_id = $1 AND tree_id = $2 AND node_id = 3 FOR UPDATE"
        await holder.execute(lock, workflow.shard_id, branch.tree_id)
        for number, call in enumerate(calls, 1):  # the deletion is the first in the queue for the row
            group.create_task(call)
            await until_waiting(workflow.cell, number)
    page = await history.read_history_branch(workflow.namespace_id, branch, page_size=10)
    assert [node.node_id for node in page.nodes] == [1, 3]
    found = await workflow.cell.journal.verify(workflow.shard_id)
    assert found.ok, found
