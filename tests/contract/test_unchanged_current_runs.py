"""The row of a workflow's current run is written only if a write changes what it says. The condition is checked each time."""

from __future__ import annotations

from dataclasses import replace
from uuid import uuid4

import pytest

from strongroom.storage.executions.errors import CurrentWorkflowConditionFailed
from strongroom.storage.executions.modes import WorkflowStatus
from tests.support.fixtures.executions import COMPLETED, RUNNING, accumulated, blob, state
from tests.support.processes import new_process

pytestmark = pytest.mark.integration

CHANGES = {
    "state": {"state": COMPLETED, "status": WorkflowStatus.COMPLETED},
    "status": {"status": WorkflowStatus.PAUSED},
    "request id": {"create_request_id": str(uuid4())},
    "start time": {"start_time": 7},
    "blob": {"blob": blob()},
}


async def current_row(workflow):
    """Return the row of the current run as it is stored."""
    (row,) = (await workflow.footprint())["current_executions"]
    return row


@pytest.fixture
async def running_run(workflow):
    """A running run that this process wrote last: its snapshot."""
    return await workflow.create(workflow.snapshot(of=RUNNING))


async def test_an_update_without_a_change_of_the_current_run_keeps_its_row(workflow, running_run):
    """Updates that keep state and version leave the row as it is. The run is written, and the sums of the shard fit."""
    before = await current_row(workflow)
    for version in (2, 3):
        mutation = workflow.mutation(
            running_run.run_id, db_record_version=version, execution_state=running_run.execution_state
        )
        await workflow.update(mutation)
        assert await workflow.get(running_run.run_id) == accumulated(running_run, mutation)
        assert await current_row(workflow) == before
    assert (await workflow.current()).execution_state == running_run.execution_state
    assert (await workflow.cell.journal.verify(workflow.shard_id)).ok


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
async def test_each_change_of_the_state_is_written(workflow, running_run, change):
    """A change of any part of the state is in the row after the update."""
    changed = replace(running_run.execution_state, **change)
    await workflow.update(workflow.mutation(running_run.run_id, execution_state=changed))
    assert (await workflow.current()).execution_state == changed


async def test_a_change_of_the_version_is_written(workflow, running_run):
    """The row has the last write version of the run, also if the state is the same."""
    mutation = workflow.mutation(
        running_run.run_id,
        execution_state=running_run.execution_state,
        last_write_version=running_run.last_write_version + 1,
    )
    await workflow.update(mutation)
    assert (await workflow.current()).last_write_version == mutation.last_write_version


async def test_a_row_of_another_process_is_not_taken_for_the_known_one(workflow, running_run):
    """Another process changed the row. An update that changes nothing of what this process wrote writes the row again."""
    other = workflow.like(cell=new_process(workflow.cell))
    await other.update(workflow.mutation(running_run.run_id, execution_state=state(RUNNING)))
    mutation = workflow.mutation(running_run.run_id, db_record_version=3, execution_state=running_run.execution_state)
    await workflow.update(mutation)
    assert (await workflow.current()).execution_state == running_run.execution_state


async def test_an_older_row_that_was_put_back_is_replaced(workflow, running_run, dba):
    """A row that an administrator put back is not the known one, so an update without a change replaces it."""
    kept = await dba.copies("current_executions")
    changed = state(RUNNING)
    await workflow.update(workflow.mutation(running_run.run_id, execution_state=changed))
    await dba.put_back("current_executions", kept)
    await workflow.update(workflow.mutation(running_run.run_id, db_record_version=3, execution_state=changed))
    assert (await workflow.current()).execution_state == changed


async def test_the_condition_is_checked_without_a_write(workflow, running_run):
    """Another run became the current one. An update of the former run without a change is refused, and changes no row."""
    other = workflow.like(cell=new_process(workflow.cell))
    following = workflow.snapshot(of=RUNNING)
    closed = workflow.mutation(running_run.run_id, of=COMPLETED)
    await other.update(closed, new=following)
    late = workflow.mutation(running_run.run_id, db_record_version=3, execution_state=running_run.execution_state)
    error = await workflow.refused(CurrentWorkflowConditionFailed, workflow.update(late))
    assert error.run_id == following.run_id
