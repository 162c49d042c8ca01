from __future__ import annotations

import pytest

from strongroom.kms import IntegrityError, KeyDestroyed
from strongroom.storage import EVERY_NAMESPACE
from strongroom.storage.executions.tasks import OUTBOUND, TIMER, TRANSFER, CategoryType, TaskCategory, TaskKey
from tests.support.fixtures.contract import new_namespace
from tests.support.fixtures.executions import task
from tests.support.shredding import shred

pytestmark = pytest.mark.integration

OWN_SCHEDULED = TaskCategory(5678, CategoryType.SCHEDULED)
RANGE = {"min_key": TaskKey(0, 0), "max_key": TaskKey(0, 2**63 - 1)}
END = {CategoryType.IMMEDIATE: (0, 2**63 - 1), CategoryType.SCHEDULED: (2**63 - 1, 0)}
NOW = 1_700_000_000_000_000_000


async def add(workflow, category, *task_ids):
    """Add tasks under these ids."""
    made = [task(category, fire_time=NOW + task_id, task_id=task_id) for task_id in task_ids]
    await workflow.cell.history_tasks.add_history_tasks(
        workflow.namespace_id, {category: made}, shard_id=workflow.shard_id, range_id=1
    )


async def whole(workflow, category):
    """Return all tasks of a category on one page."""
    return await workflow.cell.history_tasks.get_history_tasks(
        category,
        shard_id=workflow.shard_id,
        batch_size=100,
        min_key=TaskKey(0, 0),
        max_key=TaskKey(*END[category.type]),
    )


async def test_a_namespace_without_keys_hides_no_other(workflow, cell):
    """Tasks of a shredded namespace are returned with the reason, in order. They count as read, and the next pages follow."""
    other = workflow.like(namespace_id=await new_namespace(cell))
    for number in range(1, 13):
        place = other if number % 3 == 0 else workflow
        await add(place, OUTBOUND, number)
    # As a crash would leave it between destroying the keys and deleting the rows.
    async with cell.database.connection(EVERY_NAMESPACE) as connection:
        kept = await connection.fetch("SELECT * FROM history_tasks WHERE namespace_id = $1", other.namespace_id)
    await shred(cell, other.namespace_id)
    async with cell.database.connection(EVERY_NAMESPACE) as connection:
        for row in kept:
            await connection.execute("INSERT INTO history_tasks VALUES ($1, $2, $3, $4, $5, $6)", *row.values())
    read, unreadable, token = [], [], None
    while True:
        page = await cell.history_tasks.get_history_tasks(
            OUTBOUND, shard_id=workflow.shard_id, batch_size=3, page_token=token, **RANGE
        )
        assert len(page.tasks) + len(page.unreadable) <= 3
        read += [one.key.task_id for one in page.tasks]
        unreadable += page.unreadable
        token = page.next_page_token
        if token is None:
            break
    assert read == [1, 2, 4, 5, 7, 8, 10, 11]
    assert [one.key.task_id for one in unreadable] == [3, 6, 9, 12]
    assert {(one.namespace_id, type(one.reason)) for one in unreadable} == {(other.namespace_id, KeyDestroyed)}
    await cell.history_tasks.range_complete_history_tasks(OUTBOUND, shard_id=workflow.shard_id, **RANGE)
    assert await workflow.stored_tasks(OUTBOUND) == []


@pytest.mark.parametrize(
    "edit",
    [
        "SET data = (SELECT o.data FROM history_tasks o WHERE o.shard_id = h.shard_id AND o.task_id <> h.task_id LIMIT 1)",
        "SET task_id = task_id + 500",
        "SET fire_time = fire_time + 1",
        "SET category_id = 5678",
    ],
)
async def test_a_moved_task_is_noticed(workflow, edit):
    """A task that is swapped, or moved to another id, time or category, does not open."""
    await add(workflow, TIMER, 1, 2)
    async with workflow.cell.database.connection(EVERY_NAMESPACE) as connection:
        await connection.execute(f"UPDATE history_tasks h {edit} WHERE shard_id = $1", workflow.shard_id)
    page = await whole(workflow, OWN_SCHEDULED if "5678" in edit else TIMER)
    assert page.tasks == []
    assert [type(one.reason) for one in page.unreadable] == [IntegrityError] * 2


async def test_a_task_given_to_another_namespace_is_noticed(workflow, cell):
    """A task that is moved to another namespace does not open with that namespace's keys."""
    other = await new_namespace(cell)
    await add(workflow, TRANSFER, 1, 2)
    async with cell.database.connection(EVERY_NAMESPACE) as connection:
        await connection.execute(
            "UPDATE history_tasks SET namespace_id = $2 WHERE shard_id = $1", workflow.shard_id, other
        )
    page = await whole(workflow, TRANSFER)
    assert page.tasks == []
    assert {(one.namespace_id, type(one.reason)) for one in page.unreadable} == {(other, IntegrityError)}


async def test_one_damaged_task_hides_no_other(workflow):
    """A changed task is returned in its place with the error. It is found again by its own key, and can be completed."""
    await add(workflow, TRANSFER, 1, 2, 3)
    async with workflow.cell.database.connection(EVERY_NAMESPACE) as connection:
        await connection.execute(
            "UPDATE history_tasks SET data = set_byte(data, 40, 255 - get_byte(data, 40)) WHERE shard_id = $1 AND task_id = 2",
            workflow.shard_id,
        )
    page = await whole(workflow, TRANSFER)
    assert [one.key.task_id for one in page.tasks] == [1, 3]
    ((damaged,), store) = page.unreadable, workflow.cell.history_tasks
    assert (damaged.key, damaged.namespace_id) == (TaskKey(0, 2), workflow.namespace_id)
    assert type(damaged.reason) is IntegrityError
    alone = {"shard_id": workflow.shard_id, "min_key": damaged.key, "max_key": TaskKey(0, 3), "batch_size": 1}
    again = await store.get_history_tasks(TRANSFER, **alone)
    assert [type(one.reason) for one in again.unreadable] == [IntegrityError]
    await store.complete_history_task(TRANSFER, damaged.key, shard_id=workflow.shard_id)
    assert [one.key.task_id for one in await workflow.stored_tasks(TRANSFER)] == [1, 3]
