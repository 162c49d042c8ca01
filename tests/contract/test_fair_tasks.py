from __future__ import annotations

import pytest

from strongroom.storage import Database, DataBlob, InvalidPersistenceRequest, Task, TaskQueue, TaskQueueKey, TaskStore
from strongroom.storage.matching.task_requests import LAST_TASK_ID
from tests.support.fixtures.contract import PATIENCE

pytestmark = pytest.mark.integration


@pytest.fixture
async def fair_tasks(cell):
    """A store of fair queues. test_tasks.py tests what they share with plain queues."""
    distributed = cell.config.cell.distributed
    database = Database(cell.config.dsn, by_key=True, lock_timeout=PATIENCE, distributed=distributed, insecure=True)
    store = TaskStore(database, cell.keyring, cell.journal.journal, fair=True, distributed=distributed)
    yield store
    await store.aclose()
    await database.aclose()


@pytest.fixture
async def fair_queue(fair_tasks, namespace_id):
    """A fair queue at range_id 1."""
    fair_queue = TaskQueueKey(namespace_id, "orders", 1)
    await fair_tasks.create_task_queue(TaskQueue(fair_queue, 1, DataBlob(b"info")))
    return fair_queue


def levels(tasks):
    """Return the pass and id of each task."""
    return [(task.task_pass, task.task_id) for task in tasks]


async def create(store, queue, *several):
    """Write tasks with the given passes and ids."""
    written = [Task(task_id, DataBlob(b"%d %d" % (task_pass, task_id)), task_pass) for task_pass, task_id in several]
    await store.create_tasks(queue, written, range_id=1)
    return {(task.task_pass, task.task_id): task for task in written}


async def test_tasks_are_ordered_by_pass_then_id(fair_tasks, fair_queue):
    """Every task of a lower pass comes before the tasks of a higher pass."""
    written = await create(fair_tasks, fair_queue, (2, 10), (1, 20), (1, 5), (2, 15), (2**62, 0))
    page = await fair_tasks.get_tasks(fair_queue, page_size=10, min_pass=1)
    assert page.tasks == [written[level] for level in sorted(written)]
    assert page.next_page_token is None


async def test_an_id_may_be_used_once_in_each_pass(fair_tasks, fair_queue):
    """Pass and id together are the key of a task."""
    await create(fair_tasks, fair_queue, (1, 5), (2, 5), (3, 5))
    assert levels((await fair_tasks.get_tasks(fair_queue, page_size=10, min_pass=1)).tasks) == [(1, 5), (2, 5), (3, 5)]


@pytest.mark.parametrize(
    ("start", "found"),
    [
        ((1, 0), [(1, 5), (1, 20), (2, 3), (2, 10), (4, 1)]),
        ((1, 5), [(1, 5), (1, 20), (2, 3), (2, 10), (4, 1)]),
        ((1, 6), [(1, 20), (2, 3), (2, 10), (4, 1)]),
        ((1, 21), [(2, 3), (2, 10), (4, 1)]),
        ((2, 10), [(2, 10), (4, 1)]),
        ((3, 100), [(4, 1)]),
        ((5, 0), []),
    ],
)
async def test_reading_starts_at_a_pass_and_an_id_inclusive(fair_tasks, fair_queue, start, found):
    """The lower bound's id applies to its own pass only."""
    await create(fair_tasks, fair_queue, (1, 5), (1, 20), (2, 3), (2, 10), (4, 1))
    page = await fair_tasks.get_tasks(fair_queue, page_size=10, min_pass=start[0], min_task_id=start[1])
    assert levels(page.tasks) == found


@pytest.mark.parametrize("page_size", [1, 2, 3, 12, 13])
async def test_pages_cross_passes(fair_tasks, fair_queue, page_size):
    """Nothing is lost or repeated if a page ends between two passes, or at the highest id of a pass."""
    every = [(task_pass, task_id) for task_pass in (1, 2, 3) for task_id in (0, 1, 7, LAST_TASK_ID - 1)]
    await create(fair_tasks, fair_queue, *reversed(every))
    found, token = [], None
    while not found or token is not None:
        page = await fair_tasks.get_tasks(fair_queue, page_size=page_size, min_pass=1, page_token=token)
        assert len(page.tasks) <= page_size
        found += levels(page.tasks)
        token = page.next_page_token
    assert found == every


async def test_completing_goes_up_to_a_pass_and_an_id(fair_tasks, fair_queue):
    """All tasks of lower passes are deleted, and those of the named pass up to the id."""
    await create(fair_tasks, fair_queue, *((number, number) for number in range(1, 6)))
    assert await fair_tasks.complete_tasks_less_than(fair_queue, max_pass=3, max_task_id=0, limit=10) == 2
    assert levels((await fair_tasks.get_tasks(fair_queue, page_size=10, min_pass=1)).tasks) == [(3, 3), (4, 4), (5, 5)]
    assert await fair_tasks.complete_tasks_less_than(fair_queue, max_pass=4, max_task_id=5, limit=10) == 2
    assert levels((await fair_tasks.get_tasks(fair_queue, page_size=10, min_pass=1)).tasks) == [(5, 5)]


async def test_completing_spares_the_same_id_of_a_later_pass(fair_tasks, fair_queue):
    """Pass and id identify a task, so no waiting task is deleted."""
    await create(fair_tasks, fair_queue, (1, 5), (2, 5), (3, 5))
    assert await fair_tasks.complete_tasks_less_than(fair_queue, max_pass=2, max_task_id=0, limit=10) == 1
    assert levels((await fair_tasks.get_tasks(fair_queue, page_size=10, min_pass=1)).tasks) == [(2, 5), (3, 5)]


async def test_a_limit_completes_the_lowest_first(fair_tasks, fair_queue):
    """The limit deletes tasks in the order in which they are read."""
    await create(fair_tasks, fair_queue, (2, 1), (1, 9), (1, 8), (3, 0))
    assert await fair_tasks.complete_tasks_less_than(fair_queue, max_pass=9, max_task_id=0, limit=3) == 3
    assert levels((await fair_tasks.get_tasks(fair_queue, page_size=10, min_pass=1)).tasks) == [(3, 0)]


async def test_the_range_of_a_fair_queue_has_no_end(fair_tasks, fair_queue):
    """An upper bound by id is refused, because passes come first."""
    with pytest.raises(InvalidPersistenceRequest):
        await fair_tasks.get_tasks(fair_queue, page_size=1, min_pass=1, max_task_id=100)
    with pytest.raises(InvalidPersistenceRequest):
        await fair_tasks.get_tasks(fair_queue, page_size=1)  # passes begin at 1


async def test_a_plain_queue_reads_up_to_an_id(cell, fair_tasks, namespace_id):
    """A plain range is [min, max), without a token if no task can follow before its end."""
    distributed = cell.config.cell.distributed
    plain = TaskStore(cell.database, cell.keyring, cell.journal.journal, distributed=distributed)
    queue = TaskQueueKey(namespace_id, "plain", 1)
    await plain.create_task_queue(TaskQueue(queue, 1, DataBlob(b"")))
    await plain.create_tasks(queue, [Task(n, DataBlob(b"")) for n in range(10)], range_id=1)

    async def read(low, high, size):
        page = await plain.get_tasks(queue, min_task_id=low, max_task_id=high, page_size=size)
        return [task.task_id for task in page.tasks], page.next_page_token is not None

    assert await read(3, 7, 10) == ([3, 4, 5, 6], False)
    assert await read(3, 7, 4) == ([3, 4, 5, 6], False)  # full, and 7 is the end
    assert await read(3, 8, 4) == ([3, 4, 5, 6], True)
    assert await read(3, 3, 4) == ([], False)
    assert await read(7, 3, 4) == ([], False)
    assert await read(10, 20, 4) == ([], False)
    token = (await plain.get_tasks(queue, min_task_id=0, max_task_id=8, page_size=4)).next_page_token
    page = await plain.get_tasks(queue, min_task_id=0, max_task_id=8, page_size=10, page_token=token)
    assert [task.task_id for task in page.tasks] == [4, 5, 6, 7]
    with pytest.raises(InvalidPersistenceRequest):
        await fair_tasks.get_tasks(queue, page_size=4, min_pass=1, page_token=token)  # of a plain queue
