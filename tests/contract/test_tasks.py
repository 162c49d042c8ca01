from __future__ import annotations

import asyncio
import itertools

import pytest

from strongroom.kms.keys.data_key import MAX_BATCH
from strongroom.storage import (
    ConditionFailed,
    DataBlob,
    Task,
    TaskQueue,
    TaskQueueKey,
)
from strongroom.storage.engine.group_commit_members import DEFAULT_LIMITS
from strongroom.storage.matching.task_batches import MAX_TASKS
from strongroom.storage.matching.task_requests import LAST_TASK_ID
from tests.support.fixtures.contract import new_namespace
from tests.support.fixtures.matching import read_all, some_tasks
from tests.support.lock_waits import until_waiting

pytestmark = pytest.mark.integration


async def test_tasks_come_back_in_order(task_store, task_queue):
    """Tasks are ordered by id, in whatever order they were written. Blobs and encodings are unchanged."""
    written = some_tasks(task_store, [5, 2, 2**62, 0, LAST_TASK_ID - 1])
    await task_store.create_tasks(task_queue, written, range_id=7)
    assert await read_all(task_store, task_queue) == (sorted(written), 1)


async def test_many_tasks_of_many_writers_are_read_page_by_page(task_store, task_queue):
    """The tasks of 32 concurrent writers are read with several page sizes. None is lost, repeated or out of order."""
    batches = [some_tasks(task_store, range(start, 1024, 32)) for start in range(32)]
    await asyncio.gather(*(task_store.create_tasks(task_queue, batch, range_id=7) for batch in batches))
    expected = sorted(task for batch in batches for task in batch)
    for page_size, pages in ((1024, (1, 2)), (1023, (2,)), (100, (11,)), (7, (147,))):
        found, took = await read_all(task_store, task_queue, page_size=page_size)
        assert found == expected
        assert took in pages


async def test_tasks_of_an_unknown_queue_are_none(task_store, task_queue):
    """Reading a queue that does not exist gives no tasks and no error."""
    await task_store.create_tasks(task_queue, some_tasks(task_store, [1]), range_id=7)
    assert await read_all(task_store, task_queue._replace(name="nowhere")) == ([], 1)


async def test_tasks_are_all_written_or_none(task_store, task_queue):
    """An id that exists refuses the whole call, and the stored tasks stay."""
    first = some_tasks(task_store, [10])
    await task_store.create_tasks(task_queue, first, range_id=7)
    with pytest.raises(ConditionFailed) as refused:
        await task_store.create_tasks(task_queue, some_tasks(task_store, [9, 10, 11]), range_id=7)
    assert not refused.value.may_have_been_committed
    with pytest.raises(ConditionFailed):
        await task_store.create_tasks(task_queue, some_tasks(task_store, [20, 20]), range_id=7)
    assert await read_all(task_store, task_queue) == (first, 1)


async def test_a_failed_request_fails_for_its_caller_only(cell, task_store, task_queue):
    """Of many concurrent calls, those with a stale range id, unknown queue or existing task are refused. The others are written."""
    await task_store.create_tasks(task_queue, some_tasks(task_store, [1000]), range_id=7)
    other = TaskQueueKey(await new_namespace(cell), "orders", 1)
    await task_store.create_task_queue(TaskQueue(other, 3, DataBlob(b"")))
    calls = []
    for n in range(DEFAULT_LIMITS.requests * 2):
        calls += [
            task_store.create_tasks(task_queue, some_tasks(task_store, [n]), range_id=7),
            task_store.create_tasks(task_queue, some_tasks(task_store, [100 + n]), range_id=6),
            task_store.create_tasks(other, some_tasks(task_store, [n]), range_id=3),
            task_store.create_tasks(other._replace(name="nowhere"), some_tasks(task_store, [n]), range_id=3),
            task_store.create_tasks(task_queue, some_tasks(task_store, [200 + n, 1000]), range_id=7),
        ]
    outcomes = await asyncio.gather(*calls, return_exceptions=True)
    assert [type(outcome).__name__ for outcome in outcomes] == [
        "NoneType", "ConditionFailed", "NoneType", "ConditionFailed", "ConditionFailed",
    ] * (DEFAULT_LIMITS.requests * 2)  # fmt: skip
    ids = list(range(DEFAULT_LIMITS.requests * 2))
    assert [task.task_id for task in (await read_all(task_store, task_queue))[0]] == [*ids, 1000]
    assert [task.task_id for task in (await read_all(task_store, other))[0]] == ids


async def test_a_new_owner_never_overlooks_a_task_of_the_old_one(task_store, task_queue):
    """Tasks acknowledged at the old range id are there once a new owner has the queue, and no more are added."""
    written, refused, at_takeover = [], [], []
    busy = asyncio.Event()

    async def old_owner(start):
        for n in itertools.count(start):
            try:
                await task_store.create_tasks(task_queue, some_tasks(task_store, [n]), range_id=7)
            except ConditionFailed:
                refused.append(n)
                return
            written.append(n)
            if len(written) == 30:
                busy.set()

    async def new_owner():
        await busy.wait()
        await task_store.update_task_queue(TaskQueue(task_queue, 8, DataBlob(b"mine")), previous_range_id=7)
        at_takeover.extend(task.task_id for task in (await read_all(task_store, task_queue))[0])

    async with asyncio.timeout(60):
        await asyncio.gather(new_owner(), *(old_owner(start * 10**6) for start in range(8)))
    assert len(refused) == 8
    assert sorted(written) == at_takeover


async def test_a_new_owner_waits_for_a_write_that_is_under_way(cell, task_store, task_queue, owner_session):
    """A write locks the range id until its commit. The update waits for it, and later writes are refused."""
    async with asyncio.timeout(60):
        transaction = owner_session.transaction()
        await transaction.start()
        # The write looks at the range id, and then waits for this row of the same key.
        await owner_session.execute(
            "INSERT INTO tasks SELECT range_hash, namespace_id, task_queue_id, task_type, fair, $2, 5, '' "
            "FROM task_queues WHERE namespace_id = $1",
            task_queue.namespace_id,
            task_store.first_pass,
        )
        write = asyncio.create_task(task_store.create_tasks(task_queue, some_tasks(task_store, [5]), range_id=7))
        await until_waiting(cell)
        moved = TaskQueue(task_queue, 8, DataBlob(b"mine"))
        update = asyncio.create_task(task_store.update_task_queue(moved, previous_range_id=7))
        await task_store.create_tasks(
            task_queue, some_tasks(task_store, [6]), range_id=7
        )  # other writers go on meanwhile
        await until_waiting(cell, 2)
        assert not update.done()
        await transaction.rollback()
        await asyncio.gather(write, update)
    assert [task.task_id for task in (await read_all(task_store, task_queue))[0]] == [5, 6]
    with pytest.raises(ConditionFailed):
        await task_store.create_tasks(task_queue, some_tasks(task_store, [7]), range_id=7)


async def test_subqueues_share_the_lease_and_nothing_else(task_store, task_queue):
    """Tasks of several subqueues are written at once under the queue's range id, and read and completed separately."""
    ids = {0: [1, 2], 1: [1, 5], 7: [2]}
    written = {subqueue: some_tasks(task_store, numbers, subqueue=subqueue) for subqueue, numbers in ids.items()}
    everything = [task for several in written.values() for task in several]
    with pytest.raises(ConditionFailed):
        await task_store.create_tasks(task_queue, written[7], range_id=6)
    await task_store.create_tasks(task_queue, everything, range_id=7)
    await task_store.create_tasks(task_queue, some_tasks(task_store, [9], subqueue=7), range_id=7)
    for subqueue in (0, 1):
        assert await read_all(task_store, task_queue, subqueue=subqueue) == (written[subqueue], 1)
    assert [task.task_id for task in (await read_all(task_store, task_queue, subqueue=7))[0]] == [2, 9]
    deleted = await task_store.complete_tasks_less_than(
        task_queue, max_task_id=LAST_TASK_ID, max_pass=task_store.first_pass, limit=100, subqueue=1
    )
    assert deleted == 2
    assert await read_all(task_store, task_queue, subqueue=1) == ([], 1)
    assert await read_all(task_store, task_queue) == (written[0], 1)


async def test_completing_deletes_the_first_and_says_how_many(task_store, task_queue):
    """Tasks are deleted from the lowest on, up to the limit, and never the named task."""
    await task_store.create_tasks(task_queue, some_tasks(task_store, range(20)), range_id=7)
    complete = {"max_pass": task_store.first_pass, "max_task_id": 15}
    assert await task_store.complete_tasks_less_than(task_queue, limit=4, **complete) == 4
    assert [task.task_id for task in (await read_all(task_store, task_queue))[0]] == list(range(4, 20))
    assert await task_store.complete_tasks_less_than(task_queue, limit=100, **complete) == 11
    assert await task_store.complete_tasks_less_than(task_queue, limit=100, **complete) == 0
    assert [task.task_id for task in (await read_all(task_store, task_queue))[0]] == list(range(15, 20))


async def test_two_that_complete_at_once_count_each_task_once(task_store, task_queue):
    """The sum of the reported numbers is the number of tasks."""
    await task_store.create_tasks(task_queue, some_tasks(task_store, range(200)), range_id=7)
    counts = await asyncio.gather(
        *(
            task_store.complete_tasks_less_than(task_queue, max_pass=task_store.first_pass, max_task_id=200, limit=200)
            for _ in range(4)
        )
    )
    assert sum(counts) == 200


async def test_tasks_stay_when_their_queue_is_deleted(task_store, task_queue):
    """As in Temporal, the tasks of a deleted queue stay, because the scavenger deletes them first."""
    await task_store.create_tasks(task_queue, some_tasks(task_store, [1]), range_id=7)
    await task_store.delete_task_queue(task_queue, range_id=7)
    assert len((await read_all(task_store, task_queue))[0]) == 1


async def test_the_same_queue_of_two_namespaces_is_two(cell, task_store, task_queue):
    """Queues of the same name in two namespaces are separate."""
    other = task_queue._replace(namespace_id=await new_namespace(cell))
    await task_store.create_task_queue(TaskQueue(other, 1, DataBlob(b"other")))
    await task_store.create_tasks(task_queue, some_tasks(task_store, [1]), range_id=7)
    assert await read_all(task_store, other) == ([], 1)
    assert (await task_store.get_task_queue(task_queue)).info == DataBlob(b"info")


async def test_large_tasks_pass(task_store, task_queue):
    """Blobs of 4 MiB are accepted, several in one call."""
    written = [Task(n, DataBlob(bytes([n]) * 2**22), task_store.first_pass) for n in range(3)]
    await task_store.create_tasks(task_queue, written, range_id=7)
    assert await read_all(task_store, task_queue) == (written, 1)


async def test_as_many_tasks_as_are_allowed_pass(task_store, task_queue):
    """The largest request is written, read and completed."""
    await task_store.create_tasks(task_queue, some_tasks(task_store, range(MAX_TASKS)), range_id=7)
    assert len((await read_all(task_store, task_queue, page_size=10_000))[0]) == MAX_TASKS
    complete = {"max_pass": task_store.first_pass, "max_task_id": LAST_TASK_ID}
    assert await task_store.complete_tasks_less_than(task_queue, limit=2**20, **complete) == MAX_TASKS


def test_the_largest_statement_is_within_a_batch_of_the_sealed_format():
    """Any requests may share a statement, and more than 2^16 records would fail all of them."""
    assert MAX_TASKS * DEFAULT_LIMITS.requests <= MAX_BATCH
