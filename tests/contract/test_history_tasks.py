from __future__ import annotations

import asyncio
import secrets
from uuid import uuid4

import pytest

from strongroom.storage import DataBlob, InvalidPersistenceRequest, ShardInfo, ShardOwnershipLost
from strongroom.storage.errors import ConditionFailed, NamespaceNotFound, PageTokenMismatch, TransactionSizeLimit
from strongroom.storage.executions.tasks import (
    ARCHIVAL,
    REPLICATION,
    TIMER,
    TRANSFER,
    VISIBILITY,
    CategoryType,
    HistoryTask,
    TaskCategory,
    TaskKey,
)
from tests.support.fixtures.contract import new_shard
from tests.support.fixtures.executions import CATEGORIES, blob, exactly, task

pytestmark = pytest.mark.integration

OWN_IMMEDIATE = TaskCategory(1234, CategoryType.IMMEDIATE)
OWN_SCHEDULED = TaskCategory(5678, CategoryType.SCHEDULED)
EVERY = [*CATEGORIES, OWN_IMMEDIATE, OWN_SCHEDULED]
LAST = 2**63 - 1
NOW = 1_700_000_000_000_000_000


def bounds(category):
    """Return keys around every task of a category."""
    return TaskKey(0, 0), TaskKey(LAST if category.type is CategoryType.SCHEDULED else 0, LAST)


def key(category, place, task_id):
    return TaskKey(NOW + place if category.type is CategoryType.SCHEDULED else 0, task_id)


async def add(workflow, tasks, **changes):
    given = {"shard_id": workflow.shard_id, "range_id": workflow.range_id} | changes
    await workflow.cell.history_tasks.add_history_tasks(workflow.namespace_id, tasks, **given)


async def page_of(workflow, category, min_key, max_key, batch_size=100, token=None):
    return await workflow.cell.history_tasks.get_history_tasks(
        category,
        shard_id=workflow.shard_id,
        min_key=min_key,
        max_key=max_key,
        batch_size=batch_size,
        page_token=token,
    )


async def paged(workflow, category, min_key, max_key, batch_size):
    """Read a range page by page; return the pages."""
    pages, token = [], None
    while True:
        page = await page_of(workflow, category, min_key, max_key, batch_size, token)
        assert len(page.tasks) <= batch_size
        assert not page.unreadable
        pages.append(list(page.tasks))
        token = page.next_page_token
        if token is None:
            return pages


async def complete(workflow, category, min_key, max_key):
    await workflow.cell.history_tasks.range_complete_history_tasks(
        category, shard_id=workflow.shard_id, min_key=min_key, max_key=max_key
    )


def owned(workflow, tasks):
    return [one._replace(namespace_id=workflow.namespace_id) for one in tasks]


async def spread(workflow, category, number=20):
    """Add tasks in a random order. Return them in the order of their keys."""
    made = [
        HistoryTask(key(category, place * 1_000_000, 10 * place + 1), blob())
        for place in secrets.SystemRandom().sample(range(1, number + 1), number)
    ]
    await add(workflow, {category: made})
    return owned(workflow, sorted(made, key=lambda one: one.key))


@pytest.mark.parametrize("category", EVERY)
async def test_a_task_is_added_read_and_completed(workflow, category):
    """A task is read with its bytes and namespace. A completed task is gone, and completing it again is not an error."""
    made = task(category)
    await add(workflow, {category: [made]})
    assert await workflow.stored_tasks(category) == owned(workflow, [made])
    for _ in range(2):
        await workflow.cell.history_tasks.complete_history_task(category, made.key, shard_id=workflow.shard_id)
        assert await workflow.stored_tasks(category) == []


@pytest.mark.parametrize("category", EVERY)
@pytest.mark.parametrize("batch_size", [1, 3, 7, 10, 20, 100])
async def test_pages_follow_each_other(workflow, category, batch_size):
    """Pages of any size have all tasks once, in order. A range includes its first key and excludes its last."""
    made = await spread(workflow, category)
    first, last = made[2].key, made[17].key
    pages = await paged(workflow, category, first, last, batch_size)
    assert [one for page in pages for one in page] == made[2:17]
    assert all(len(page) == batch_size for page in pages[:-1])
    await complete(workflow, category, first, last)
    assert await workflow.stored_tasks(category) == made[:2] + made[17:]


@pytest.mark.parametrize("category", [TRANSFER, TIMER])
async def test_a_full_last_page_needs_no_other(workflow, category):
    """A page has a token if a task may follow it, and none otherwise."""
    made = await spread(workflow, category, 4)
    just_behind = made[-1].key._replace(task_id=made[-1].key.task_id + 1)
    assert (await page_of(workflow, category, made[0].key, just_behind, 4)).next_page_token is None
    assert (await page_of(workflow, category, made[0].key, just_behind, 5)).next_page_token is None
    page = await page_of(workflow, category, made[0].key, bounds(category)[1], 4)
    assert page.next_page_token is not None
    rest = await page_of(workflow, category, made[0].key, bounds(category)[1], 4, page.next_page_token)
    assert (rest.tasks, rest.next_page_token) == ([], None)


@pytest.mark.parametrize("category", [TIMER, ARCHIVAL, OWN_SCHEDULED])
async def test_scheduled_tasks_are_ordered_by_fire_time(workflow, category):
    """Timers are in the order of nanoseconds, then of task ids, also across pages."""
    keys = [TaskKey(NOW + 10, 100), TaskKey(NOW + 20, 50), *(TaskKey(NOW + 20, number) for number in range(51, 60))]
    await add(workflow, {category: [HistoryTask(one, blob()) for one in reversed(keys)]})
    for size in (1, 3, 100):
        pages = await paged(workflow, category, TaskKey(NOW, 0), TaskKey(NOW + 10**9, 0), size)
        assert [one.key for page in pages for one in page] == keys
    within = await page_of(workflow, category, TaskKey(NOW + 20, 52), TaskKey(NOW + 20, 55))
    assert [one.key.task_id for one in within.tasks] == [52, 53, 54]
    await complete(workflow, category, TaskKey(NOW, 0), TaskKey(NOW + 10**9, 0))
    assert await workflow.stored_tasks(category) == []


@pytest.mark.parametrize("category", [TRANSFER, TIMER])
async def test_the_greatest_keys_are_read(workflow, category):
    """The largest ids and times are read, page by page."""
    top = LAST - 1
    made = [HistoryTask(bounds(category)[0], blob()), HistoryTask(bounds(category)[1]._replace(task_id=top), blob())]
    await add(workflow, {category: made})
    pages = await paged(workflow, category, *bounds(category), 1)
    assert [one for page in pages for one in page] == owned(workflow, made)


async def test_categories_and_shards_are_apart(workflow, cell):
    """Each category may have the same task id. Reading or completing one does not affect the others."""
    other = workflow.like(shard_id=await new_shard(cell))
    made = {category: [task(category, task_id=7)] for category in EVERY}
    for place in (workflow, other):
        await add(place, made)
    await complete(workflow, TRANSFER, *bounds(TRANSFER))
    await complete(workflow, TIMER, *bounds(TIMER))
    for category in EVERY:
        gone = category in {TRANSFER, TIMER}
        assert await workflow.stored_tasks(category) == ([] if gone else owned(workflow, made[category]))
        assert await other.stored_tasks(category) == owned(other, made[category])


async def test_a_stale_owner_adds_nothing(workflow, cell):
    """Adding tasks with a stale range id or to a missing shard is refused. Completing tasks needs no range id."""
    await add(workflow, {TRANSFER: [task(TRANSFER)]})
    await cell.shards.update_shard(ShardInfo(workflow.shard_id, 2, DataBlob(b"")), previous_range_id=1)
    for host in (workflow, workflow.like(range_id=3), workflow.like(shard_id=14_001)):
        error = await host.refused(ShardOwnershipLost, add(host, {one: [task(one)] for one in EVERY}))
        assert error.shard_id == host.shard_id
    await add(workflow.like(range_id=2), {TRANSFER: [task(TRANSFER)]})
    await complete(workflow, TRANSFER, *bounds(TRANSFER))
    assert await workflow.stored_tasks(TRANSFER) == []


async def test_an_id_that_is_taken_refuses_the_whole(workflow):
    """A second task with the same key is refused, and the first does not change."""
    taken = task(TIMER)
    await add(workflow, {TIMER: [taken]})
    await workflow.refused(
        ConditionFailed, add(workflow, {TRANSFER: [task(TRANSFER)], TIMER: [taken._replace(blob=blob())]})
    )
    twice = task(VISIBILITY)
    before = await workflow.footprint()
    with pytest.raises((ConditionFailed, InvalidPersistenceRequest)):
        await add(workflow, {VISIBILITY: [twice, twice]})
    assert await workflow.footprint() == before


async def test_nothing_is_added_when_there_is_nothing(workflow):
    """Adding no tasks writes nothing, but the range id is checked."""
    await add(workflow, {})
    await add(workflow, {TRANSFER: []})
    await workflow.refused(ShardOwnershipLost, add(workflow.like(range_id=2), {}))


async def test_many_callers_add_at_once(workflow):
    """Tasks that many callers add are all stored once."""
    made = [task(category) for category in EVERY for _ in range(20)]
    categories = [category for category in EVERY for _ in range(20)]
    await asyncio.gather(*(add(workflow, {category: [one]}) for category, one in zip(categories, made, strict=True)))
    stored = [one.key for category in EVERY for one in await workflow.stored_tasks(category)]
    assert len(stored) == 160
    assert set(stored) == {one.key for one in made}


@pytest.mark.parametrize(
    ("category", "wrong"),
    [
        (TRANSFER, TaskKey(NOW, 1)),
        (TRANSFER, TaskKey(0, -1)),
        (TRANSFER, TaskKey(0, LAST)),
        (TIMER, TaskKey(-1, 1)),
        (TIMER, TaskKey(LAST + 1, 1)),
        (TIMER, TaskKey(NOW, "1")),
        (TIMER, TaskKey(float(NOW), 1)),
        (TaskCategory(0, CategoryType.IMMEDIATE), TaskKey(0, 1)),
        (TaskCategory(2**15, CategoryType.IMMEDIATE), TaskKey(0, 1)),
        (TaskCategory(9, 3), TaskKey(0, 1)),
        ("transfer", TaskKey(0, 1)),
        (1, TaskKey(0, 1)),
    ],
)
async def test_a_wrong_key_is_refused(workflow, category, wrong):
    """A key that is not valid is refused, when it is added and when it is read."""
    store = workflow.cell.history_tasks
    await workflow.refused(InvalidPersistenceRequest, add(workflow, {category: [HistoryTask(wrong, blob())]}))
    if wrong == TaskKey(0, LAST):
        return  # the end of a range may be that value
    for call in (
        store.complete_history_task(category, wrong, shard_id=workflow.shard_id),
        page_of(workflow, category, wrong, wrong),
        complete(workflow, category, wrong, wrong),
    ):
        with exactly(InvalidPersistenceRequest):
            await call


async def test_wrong_requests_are_refused(workflow):
    """Blobs, shards, ranges, sizes and tokens that are not valid are refused. A token belongs to its own queue."""
    one = task(TRANSFER)
    for wrong, error in (
        (one._replace(blob=b"bytes"), InvalidPersistenceRequest),
        (one._replace(blob=DataBlob(bytes(4 * 2**20 + 1))), TransactionSizeLimit),
    ):
        await workflow.refused(error, add(workflow, {TRANSFER: [wrong]}))
    for wrong in ({"shard_id": 0}, {"shard_id": "1"}, {"range_id": "1"}, {"range_id": -1}):
        await workflow.refused(InvalidPersistenceRequest, add(workflow, {TRANSFER: [one]}, **wrong))
    stranger = workflow.like(namespace_id=uuid4())
    await stranger.refused(NamespaceNotFound, add(stranger, {TRANSFER: [one]}))
    for size in ("1", None, True):
        with exactly(InvalidPersistenceRequest):
            await page_of(workflow, TRANSFER, *bounds(TRANSFER), size)
    await spread(workflow, TRANSFER)
    token = (await page_of(workflow, TRANSFER, *bounds(TRANSFER), 2)).next_page_token
    for category, shard_id, bad in (
        (REPLICATION, workflow.shard_id, token),
        (TRANSFER, workflow.shard_id + 1, token),
        (TRANSFER, workflow.shard_id, token[:-4]),
        (TRANSFER, workflow.shard_id, b"\xff\x00"),
        (TRANSFER, workflow.shard_id, "text"),
    ):
        with exactly(PageTokenMismatch):
            await page_of(workflow.like(shard_id=shard_id), category, *bounds(category), 2, bad)


async def test_a_token_never_leads_out_of_the_range(workflow):
    """A token of a wider range never reads before the start of a narrower one."""
    made = await spread(workflow, TRANSFER)
    token = (await page_of(workflow, TRANSFER, *bounds(TRANSFER), 2)).next_page_token
    page = await page_of(workflow, TRANSFER, made[10].key, made[12].key, 100, token)
    assert page.tasks == made[10:12]


async def test_reads_of_many_queues_at_once(workflow, cell):
    """Reads of several shards and categories that share a statement get their own tasks, whatever their bounds and pages are."""
    places = [workflow, *[workflow.like(shard_id=await new_shard(cell)) for _ in range(3)]]
    stored = {}
    for place in places:
        for category in (TRANSFER, TIMER):
            stored[place.shard_id, category] = await spread(place, category)
    wanted = [
        (place, category, size) for place in places for category in (TRANSFER, TIMER, VISIBILITY) for size in (3, 100)
    ]
    pages = await asyncio.gather(
        *(page_of(place, category, *bounds(category), size) for place, category, size in wanted)
    )
    for (place, category, size), page in zip(wanted, pages, strict=True):
        assert page.tasks == stored.get((place.shard_id, category), [])[:size]


async def test_a_read_sees_what_another_owner_wrote_before_it(workflow, cell):
    """An empty queue is never answered from memory: a host that has lost its shard must see the new owner's tasks."""
    assert (await page_of(workflow, TIMER, *bounds(TIMER), 10)).tasks == []
    taken = ShardInfo(workflow.shard_id, 2, DataBlob(b"new owner"))
    await cell.shards.update_shard(taken, previous_range_id=1)
    made = await spread(workflow.like(range_id=2), TIMER)
    assert (await page_of(workflow, TIMER, *bounds(TIMER), 100)).tasks == made
