from __future__ import annotations

import asyncio

import asyncpg
import pytest

from strongroom.kms import IntegrityError, KekRef
from strongroom.storage import (
    EVERY_NAMESPACE,
    ConditionFailed,
    DataBlob,
    Encoding,
    NotFound,
    Task,
    TaskQueue,
    TaskQueueKey,
    TaskStore,
)
from tests.support.fixtures.driver_role import owner_dsn
from tests.support.fixtures.matching import read_all, some_tasks
from tests.support.registry import authenticate

pytestmark = pytest.mark.integration


@pytest.mark.parametrize("task_type", [0, 1, 2, 3, 2**15 - 1])
async def test_a_task_queue_comes_back_as_it_was_made(task_store, namespace_id, task_type):
    """Range id, blob and encoding are returned unchanged, for any type of queue."""
    made = TaskQueue(TaskQueueKey(namespace_id, "orders", task_type), 2**62, DataBlob(b"\x00info", Encoding.JSON))
    await task_store.create_task_queue(made)
    assert await task_store.get_task_queue(made.queue) == made


async def test_a_sticky_queue_is_kept_after_its_expiry(task_store, namespace_id):
    """The expiry is part of the blob, and only the service acts on it."""
    sticky = TaskQueue(TaskQueueKey(namespace_id, "sticky:host", 1), 1, DataBlob(b"expired in 1970"))
    await task_store.create_task_queue(sticky)
    updated = TaskQueue(sticky.queue, 2, DataBlob(b"expired in 1971"))
    await task_store.update_task_queue(updated, previous_range_id=1)
    assert await task_store.get_task_queue(sticky.queue) == updated


async def test_a_task_queue_that_is_there_is_not_made_again(task_store, task_queue):
    """The second creation is refused, and the first one's row stays."""
    with pytest.raises(ConditionFailed) as refused:
        await task_store.create_task_queue(TaskQueue(task_queue, 9, DataBlob(b"other")))
    assert not refused.value.may_have_been_committed
    assert await task_store.get_task_queue(task_queue) == TaskQueue(task_queue, 7, DataBlob(b"info"))


async def test_of_many_creators_one_wins(task_store, namespace_id):
    """Of concurrent creations, exactly one succeeds."""
    queue = TaskQueueKey(namespace_id, "raced", 2)
    outcomes = await asyncio.gather(
        *(task_store.create_task_queue(TaskQueue(queue, n, DataBlob(b"%d" % n))) for n in range(8)),
        return_exceptions=True,
    )
    assert sorted(type(outcome).__name__ for outcome in outcomes) == ["ConditionFailed"] * 7 + ["NoneType"]
    won = outcomes.index(None)
    assert await task_store.get_task_queue(queue) == TaskQueue(queue, won, DataBlob(b"%d" % won))


async def test_a_task_queue_that_nobody_made_is_not_found(task_store, task_queue):
    """Another type or another name is another queue."""
    for other in (
        task_queue._replace(task_type=2),
        task_queue._replace(name="Orders"),
        task_queue._replace(name="orders "),
    ):
        with pytest.raises(NotFound):
            await task_store.get_task_queue(other)


async def test_update_moves_the_range_id(task_store, task_queue):
    """A caller that names the stored range id takes the queue over."""
    moved = TaskQueue(task_queue, 8, DataBlob(b"moved"))
    await task_store.update_task_queue(moved, previous_range_id=7)
    assert await task_store.get_task_queue(task_queue) == moved


async def test_update_keeps_the_range_id_where_the_owner_only_writes_its_state(task_store, task_queue):
    """An owner can replace the blob and keep the range id."""
    for n in range(3):
        await task_store.update_task_queue(TaskQueue(task_queue, 7, DataBlob(b"ack %d" % n)), previous_range_id=7)
    assert (await task_store.get_task_queue(task_queue)).info == DataBlob(b"ack 2")


@pytest.mark.parametrize("stale", [6, 8, 0])
async def test_a_stale_owner_changes_nothing(task_store, task_queue, stale):
    """Updates, deletions and new tasks of a stale owner are refused, and the row stays."""
    with pytest.raises(ConditionFailed):
        await task_store.update_task_queue(TaskQueue(task_queue, 9, DataBlob(b"x")), previous_range_id=stale)
    with pytest.raises(ConditionFailed):
        await task_store.delete_task_queue(task_queue, range_id=stale)
    with pytest.raises(ConditionFailed) as refused:
        await task_store.create_tasks(task_queue, some_tasks(task_store, [1]), range_id=stale)
    assert not refused.value.may_have_been_committed
    assert await task_store.get_task_queue(task_queue) == TaskQueue(task_queue, 7, DataBlob(b"info"))
    assert await read_all(task_store, task_queue) == ([], 1)


async def test_of_two_owners_that_take_a_queue_at_once_one_wins(task_store, task_queue):
    """Of concurrent takeovers, exactly one succeeds."""
    rivals = [TaskQueue(task_queue, n, DataBlob(b"rival")) for n in range(8, 14)]
    outcomes = await asyncio.gather(
        *(task_store.update_task_queue(rival, previous_range_id=7) for rival in rivals), return_exceptions=True
    )
    assert sorted(type(outcome).__name__ for outcome in outcomes) == ["ConditionFailed"] * 5 + ["NoneType"]


async def test_what_is_not_there_can_neither_be_updated_nor_deleted(task_store, namespace_id):
    """A missing queue is a failed condition, as a wrong range id is."""
    nowhere = TaskQueueKey(namespace_id, "nowhere", 1)
    with pytest.raises(ConditionFailed):
        await task_store.update_task_queue(TaskQueue(nowhere, 2, DataBlob(b"x")), previous_range_id=1)
    with pytest.raises(ConditionFailed):
        await task_store.delete_task_queue(nowhere, range_id=1)
    with pytest.raises(ConditionFailed):
        await task_store.create_tasks(nowhere, some_tasks(task_store, [1]), range_id=1)


async def test_a_deleted_queue_is_gone(task_store, task_queue):
    """A deleted queue is not found, and can be created again."""
    await task_store.delete_task_queue(task_queue, range_id=7)
    with pytest.raises(NotFound):
        await task_store.get_task_queue(task_queue)
    await task_store.create_task_queue(TaskQueue(task_queue, 1, DataBlob(b"new")))


async def test_plain_and_fair_queues_of_one_name_have_nothing_in_common(cell, by_key, namespace_id):
    """A plain and a fair queue of the same name share nothing, because the form is part of every key."""
    plain, fair = (
        TaskStore(by_key, cell.keyring, cell.journal.journal, fair=fair, distributed=cell.config.cell.distributed)
        for fair in (False, True)
    )
    queue = TaskQueueKey(namespace_id, "both", 1)
    await plain.create_task_queue(TaskQueue(queue, 1, DataBlob(b"plain")))
    with pytest.raises(NotFound):
        await fair.get_task_queue(queue)
    await fair.create_task_queue(TaskQueue(queue, 2, DataBlob(b"fair")))
    await plain.create_tasks(queue, [Task(1, DataBlob(b"plain"))], range_id=1)
    await fair.create_tasks(queue, [Task(1, DataBlob(b"fair"), 1)], range_id=2)
    assert (await plain.get_tasks(queue, page_size=9)).tasks == [Task(1, DataBlob(b"plain"))]
    assert (await fair.get_tasks(queue, page_size=9, min_pass=1)).tasks == [Task(1, DataBlob(b"fair"), 1)]
    assert await plain.complete_tasks_less_than(queue, max_task_id=9, limit=9) == 1
    assert len((await fair.get_tasks(queue, page_size=9, min_pass=1)).tasks) == 1


async def list_all(store, *, page_size):
    """Return all queues, page by page."""
    queues, unreadable, token = [], [], None
    while not queues + unreadable or token is not None:
        page = await store.list_task_queue(page_size=page_size, page_token=token)
        assert len(page.queues) + len(page.unreadable) <= page_size
        queues += page.queues
        unreadable += page.unreadable
        token = page.next_page_token
    return queues, unreadable


@pytest.mark.parametrize("fair", [False, True], ids=["plain", "fair"])
async def test_all_queues_are_listed_and_a_shredded_namespace_hides_none(own_cell, fair):
    """Every queue is listed once, with any page size. Queues of a shredded namespace are listed as unreadable."""
    kek = KekRef.parse("local:contract")
    store, other_form = (
        TaskStore(
            own_cell.database,
            own_cell.keyring,
            own_cell.journal.journal,
            fair=form,
            distributed=own_cell.config.cell.distributed,
        )
        for form in (fair, not fair)
    )
    made, lost = [], []
    for number in range(4):
        namespace = await own_cell.namespaces.create(f"list-{number}", kek=kek)
        for task_type in (1, 2, 3):
            queue = TaskQueue(TaskQueueKey(namespace.namespace_id, f"queue-{number}", task_type), 5, DataBlob(b"i"))
            await store.create_task_queue(queue)
            (lost if number == 2 else made).append(queue)
            if task_type == 1:
                await other_form.create_task_queue(queue)
        if number == 2:
            await shred_keys(own_cell, namespace.namespace_id)
    for page_size in (1, 5, 11, 12, 13):
        queues, unreadable = await list_all(store, page_size=page_size)
        assert sorted(queues, key=repr) == sorted(made, key=repr)
        assert sorted((one.namespace_id, one.task_type, one.range_id) for one in unreadable) == sorted(
            (one.queue.namespace_id, one.queue.task_type, 5) for one in lost
        )
        assert all(type(one.reason).__name__ == "KeyDestroyed" for one in unreadable)


async def shred_keys(cell, namespace_id):
    """Destroy the keys of a namespace and leave its rows, as an interrupted shredding does."""
    await cell.keyring.open(namespace_id)
    connection = await asyncpg.connect(owner_dsn(cell.config))
    await connection.execute(
        "UPDATE strongroom.data_keys SET wrapped = NULL, state = 'destroyed', destroyed_at = now() WHERE namespace_id = $1",
        namespace_id,
    )
    await connection.close()
    await authenticate(cell)
    cell.keyring.evict(namespace_id)


async def test_an_altered_queue_hides_no_other_from_the_list(own_cell):
    """An altered queue is listed as unreadable, and `get_task_queue` refuses it."""
    kek = KekRef.parse("local:contract")
    namespace = await own_cell.namespaces.create("list", kek=kek)
    distributed = own_cell.config.cell.distributed
    store = TaskStore(own_cell.database, own_cell.keyring, own_cell.journal.journal, distributed=distributed)
    made = [TaskQueue(TaskQueueKey(namespace.namespace_id, f"queue-{n}", 1), n, DataBlob(b"i")) for n in range(3)]
    for queue in made:
        await store.create_task_queue(queue)
    async with own_cell.database.connection(EVERY_NAMESPACE) as connection:
        await connection.execute("UPDATE task_queues SET range_id = 9 WHERE range_id = 1")
    page = await store.list_task_queue(page_size=10)
    assert sorted(page.queues, key=repr) == [made[0], made[2]]
    assert [(one.range_id, type(one.reason)) for one in page.unreadable] == [(9, IntegrityError)]
    with pytest.raises(IntegrityError):
        await store.get_task_queue(made[1].queue)
