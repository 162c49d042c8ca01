"""Only the owner of a queue deletes its tasks, where the caller names the range id that it holds.

A new owner of a fair queue gives its tasks passes from the ack level that it loaded on, which may be below that of the former owner.
"""

from __future__ import annotations

import asyncio

import pytest

from strongroom.storage import ConditionFailed, DataBlob, TaskQueue
from tests.support.fixtures.matching import read_all, some_tasks
from tests.support.lock_waits import until_waiting

pytestmark = pytest.mark.integration


@pytest.fixture
def complete(task_store, task_queue):
    """Return a function that deletes all tasks below id 100 for an owner."""

    async def run(range_id, queue=task_queue, **arguments):
        bounds = {"max_pass": task_store.first_pass, "max_task_id": 100, "limit": 100}
        return await task_store.complete_tasks_less_than(queue, range_id=range_id, **bounds | arguments)

    return run


async def take_over(task_store, task_queue):
    """Raise the queue's range id from 7, the fixture's, to 8."""
    await task_store.update_task_queue(TaskQueue(task_queue, 8, DataBlob(b"mine")), previous_range_id=7)


async def test_the_owner_deletes_and_nobody_else(task_store, task_queue, complete):
    """A former owner, one that never was and the owner of a queue that does not exist are refused, and nothing is deleted."""
    written = some_tasks(task_store, range(4))
    await task_store.create_tasks(task_queue, written, range_id=7)
    assert await complete(7, limit=1) == 1
    await take_over(task_store, task_queue)
    for range_id, queue in (
        (7, task_queue),
        (9, task_queue),
        (0, task_queue),
        (8, task_queue._replace(name="nowhere")),
    ):
        with pytest.raises(ConditionFailed) as refused:
            await complete(range_id, queue)
        assert not refused.value.may_have_been_committed
    assert await read_all(task_store, task_queue) == (written[1:], 1)
    assert [await complete(8) for _ in range(2)] == [3, 0]


async def test_subqueues_are_deleted_by_the_owner_of_the_queue(task_store, task_queue, complete):
    """A subqueue has no range id of its own."""
    await task_store.create_tasks(task_queue, some_tasks(task_store, [1, 2], subqueue=3), range_id=7)
    with pytest.raises(ConditionFailed):
        await complete(6, subqueue=3)
    assert await complete(7, subqueue=3) == 2


async def test_no_range_id_means_any_owner(task_store, task_queue, complete):
    """Callers that do not know their range id, as before version 1.32 of Temporal, delete as they did."""
    await task_store.create_tasks(task_queue, some_tasks(task_store, [1]), range_id=7)
    await take_over(task_store, task_queue)
    assert await complete(None) == 1


async def test_a_new_owner_waits_for_a_deletion_that_is_under_way(
    cell, task_store, task_queue, complete, owner_session
):
    """A deletion locks the range id until its commit, so that no task of the new owner is among its tasks."""
    await task_store.create_tasks(task_queue, some_tasks(task_store, [5]), range_id=7)
    async with asyncio.timeout(60):
        async with owner_session.transaction():
            place = "SELECT range_hash FROM task_queues WHERE namespace_id = $1"
            range_hash = await owner_session.fetchval(place, task_queue.namespace_id)
            lock = "SELECT FROM tasks WHERE range_hash = $1 AND namespace_id = $2 FOR UPDATE"  # a cluster locks in one partition
            await owner_session.execute(lock, range_hash, task_queue.namespace_id)
            deletion = asyncio.create_task(complete(7))
            await until_waiting(cell)
            update = asyncio.create_task(take_over(task_store, task_queue))
            await until_waiting(cell, 2)
            assert not update.done()
        deleted, _ = await asyncio.gather(deletion, update)
    assert deleted == 1
    with pytest.raises(ConditionFailed):
        await complete(7)


async def test_a_former_owner_never_deletes_tasks_of_the_next_one(task_store, task_queue, complete):
    """Former owners delete all the time while the queue changes hands. Each task of the new owner stays."""
    await task_store.create_tasks(task_queue, some_tasks(task_store, range(50, 60)), range_id=7)
    refused = []

    async def former_owner():
        while not refused:
            try:
                await complete(7)
            except ConditionFailed as error:
                refused.append(error)

    async def new_owner():
        await take_over(task_store, task_queue)
        await task_store.create_tasks(task_queue, some_tasks(task_store, range(10)), range_id=8)

    async with asyncio.timeout(60):
        await asyncio.gather(new_owner(), *(former_owner() for _ in range(4)))
    found, _ = await read_all(task_store, task_queue)
    assert [task.task_id for task in found if task.task_id < 10] == list(range(10))
