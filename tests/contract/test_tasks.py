from __future__ import annotations

import asyncio
from uuid import uuid4

import asyncpg
import pytest

from strongroom.kms import IntegrityError, KekRef
from strongroom.kms.keys.data_key import MAX_BATCH
from strongroom.storage import (
    EVERY_NAMESPACE,
    ConditionFailed,
    Database,
    DataBlob,
    Encoding,
    InvalidPersistenceRequest,
    NamespaceNotFound,
    NotFound,
    Task,
    TaskQueue,
    TaskQueueKey,
    TaskStore,
    TransactionSizeLimit,
)
from strongroom.storage.engine.group_commit_members import DEFAULT_LIMITS
from strongroom.storage.matching.task_batches import MAX_TASKS
from strongroom.storage.matching.task_requests import LAST_TASK_ID
from tests.support.fixtures.contract import new_namespace
from tests.support.fixtures.driver_role import owner_dsn

pytestmark = pytest.mark.integration

PLANTED = "planted-Kühlschrank"


@pytest.fixture
async def by_key(cell):
    """Connections as the driver gives them to stores."""
    database = Database(cell.config.dsn, by_key=True, lock_timeout=5, insecure=True)
    yield database
    await database.aclose()


@pytest.fixture(params=[False, True], ids=["plain", "fair"])
async def task_store(cell, by_key, request):
    """A store of each form."""
    store = TaskStore(by_key, cell.keyring, fair=request.param)
    store.first_pass = int(request.param)
    yield store
    await store.aclose()


@pytest.fixture
async def task_queue(task_store, namespace_id):
    """A task queue at range_id 7."""
    task_queue = TaskQueueKey(namespace_id, "orders", 1)
    await task_store.create_task_queue(TaskQueue(task_queue, 7, DataBlob(b"info")))
    return task_queue


@pytest.fixture
async def owner_session(cell):
    """A connection that sees the rows as they are."""
    connection = await asyncpg.connect(owner_dsn(cell.config), server_settings={"search_path": "strongroom"})
    yield connection
    await connection.close()


def some_tasks(store, numbers, *, subqueue=0):
    """Tasks of the first pass, each with its own blob."""
    return [Task(n, DataBlob(b"task %d" % n, Encoding.JSON), store.first_pass, subqueue) for n in numbers]


async def read_all(store, queue, *, page_size=100, **where):
    """All tasks of a queue, page by page; and how many pages that took."""
    found, token, pages = [], None, 0
    while pages == 0 or token is not None:
        page = await store.get_tasks(queue, page_size=page_size, min_pass=store.first_pass, page_token=token, **where)
        found += page.tasks
        token, pages = page.next_page_token, pages + 1
    return found, pages


# Task queues


@pytest.mark.parametrize("task_type", [0, 1, 2, 3, 2**15 - 1])
async def test_a_task_queue_comes_back_as_it_was_made(task_store, namespace_id, task_type):
    """Range id and blob with its encoding, for any type of queue."""
    made = TaskQueue(TaskQueueKey(namespace_id, "orders", task_type), 2**62, DataBlob(b"\x00info", Encoding.JSON))
    await task_store.create_task_queue(made)
    assert await task_store.get_task_queue(made.queue) == made


async def test_a_sticky_queue_is_kept_after_its_expiry(task_store, namespace_id):
    """The expiry is part of the blob, and the service's own business."""
    sticky = TaskQueue(TaskQueueKey(namespace_id, "sticky:host", 1), 1, DataBlob(b"expired in 1970"))
    await task_store.create_task_queue(sticky)
    updated = TaskQueue(sticky.queue, 2, DataBlob(b"expired in 1971"))
    await task_store.update_task_queue(updated, previous_range_id=1)
    assert await task_store.get_task_queue(sticky.queue) == updated


async def test_a_task_queue_that_is_there_is_not_made_again(task_store, task_queue):
    """The second creator is refused, and the first one's row stays."""
    with pytest.raises(ConditionFailed) as refused:
        await task_store.create_task_queue(TaskQueue(task_queue, 9, DataBlob(b"other")))
    assert not refused.value.may_have_been_committed
    assert await task_store.get_task_queue(task_queue) == TaskQueue(task_queue, 7, DataBlob(b"info"))


async def test_of_many_creators_one_wins(task_store, namespace_id):
    """A queue has one owner, whoever races."""
    queue = TaskQueueKey(namespace_id, "raced", 2)
    outcomes = await asyncio.gather(
        *(task_store.create_task_queue(TaskQueue(queue, n, DataBlob(b"%d" % n))) for n in range(8)),
        return_exceptions=True,
    )
    assert sorted(type(outcome).__name__ for outcome in outcomes) == ["ConditionFailed"] * 7 + ["NoneType"]
    won = outcomes.index(None)
    assert await task_store.get_task_queue(queue) == TaskQueue(queue, won, DataBlob(b"%d" % won))


async def test_a_task_queue_that_nobody_made_is_not_found(task_store, task_queue):
    """Another type, another name and another namespace are other queues."""
    for other in (
        task_queue._replace(task_type=2),
        task_queue._replace(name="Orders"),
        task_queue._replace(name="orders "),
    ):
        with pytest.raises(NotFound):
            await task_store.get_task_queue(other)


async def test_update_moves_the_range_id(task_store, task_queue):
    """Who knows the previous range id takes the queue over."""
    moved = TaskQueue(task_queue, 8, DataBlob(b"moved"))
    await task_store.update_task_queue(moved, previous_range_id=7)
    assert await task_store.get_task_queue(task_queue) == moved


async def test_update_keeps_the_range_id_where_the_owner_only_writes_its_state(task_store, task_queue):
    """An owner's regular update of the blob."""
    for n in range(3):
        await task_store.update_task_queue(TaskQueue(task_queue, 7, DataBlob(b"ack %d" % n)), previous_range_id=7)
    assert (await task_store.get_task_queue(task_queue)).info == DataBlob(b"ack 2")


@pytest.mark.parametrize("stale", [6, 8, 0])
async def test_a_stale_owner_changes_nothing(task_store, task_queue, stale):
    """Update, deletion and new tasks are refused, and the row stays."""
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
    """A lease has one holder."""
    rivals = [TaskQueue(task_queue, n, DataBlob(b"rival")) for n in range(8, 14)]
    outcomes = await asyncio.gather(
        *(task_store.update_task_queue(rival, previous_range_id=7) for rival in rivals), return_exceptions=True
    )
    assert sorted(type(outcome).__name__ for outcome in outcomes) == ["ConditionFailed"] * 5 + ["NoneType"]


async def test_what_is_not_there_can_neither_be_updated_nor_deleted(task_store, namespace_id):
    """Absence is a failed condition, as a wrong range id is."""
    nowhere = TaskQueueKey(namespace_id, "nowhere", 1)
    with pytest.raises(ConditionFailed):
        await task_store.update_task_queue(TaskQueue(nowhere, 2, DataBlob(b"x")), previous_range_id=1)
    with pytest.raises(ConditionFailed):
        await task_store.delete_task_queue(nowhere, range_id=1)
    with pytest.raises(ConditionFailed):
        await task_store.create_tasks(nowhere, some_tasks(task_store, [1]), range_id=1)


async def test_a_deleted_queue_is_gone(task_store, task_queue):
    """And can be made again."""
    await task_store.delete_task_queue(task_queue, range_id=7)
    with pytest.raises(NotFound):
        await task_store.get_task_queue(task_queue)
    await task_store.create_task_queue(TaskQueue(task_queue, 1, DataBlob(b"new")))


async def test_plain_and_fair_queues_of_one_name_have_nothing_in_common(cell, by_key, namespace_id):
    """The form is part of every key."""
    plain, fair = TaskStore(by_key, cell.keyring), TaskStore(by_key, cell.keyring, fair=True)
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


# Tasks


async def test_tasks_come_back_in_order(task_store, task_queue):
    """By id, whatever the order that they were written in; blobs and encodings as they went in."""
    written = some_tasks(task_store, [5, 2, 2**62, 0, LAST_TASK_ID - 1])
    await task_store.create_tasks(task_queue, written, range_id=7)
    assert await read_all(task_store, task_queue) == (sorted(written), 1)


async def test_many_tasks_of_many_writers_are_read_page_by_page(task_store, task_queue):
    """Nothing is lost, repeated or out of order: 32 writers of 32 tasks at once, read with several sizes of pages."""
    batches = [some_tasks(task_store, range(start, 1024, 32)) for start in range(32)]
    await asyncio.gather(*(task_store.create_tasks(task_queue, batch, range_id=7) for batch in batches))
    expected = sorted(task for batch in batches for task in batch)
    for page_size, pages in ((1024, (1, 2)), (1023, (2,)), (100, (11,)), (7, (147,))):
        found, took = await read_all(task_store, task_queue, page_size=page_size)
        assert found == expected
        assert took in pages


async def test_tasks_of_an_unknown_queue_are_none(task_store, task_queue):
    """Reading is not a condition."""
    await task_store.create_tasks(task_queue, some_tasks(task_store, [1]), range_id=7)
    assert await read_all(task_store, task_queue._replace(name="nowhere")) == ([], 1)


async def test_tasks_are_all_written_or_none(task_store, task_queue):
    """One id that is taken refuses the whole call; what was there stays as it was."""
    first = some_tasks(task_store, [10])
    await task_store.create_tasks(task_queue, first, range_id=7)
    with pytest.raises(ConditionFailed) as refused:
        await task_store.create_tasks(task_queue, some_tasks(task_store, [9, 10, 11]), range_id=7)
    assert not refused.value.may_have_been_committed
    with pytest.raises(ConditionFailed):
        await task_store.create_tasks(task_queue, some_tasks(task_store, [20, 20]), range_id=7)
    assert await read_all(task_store, task_queue) == (first, 1)


async def test_a_failed_request_fails_for_its_caller_only(cell, task_store, task_queue):
    """Of many at once, in one statement or not: stale, unknown and duplicate are refused, the others are written."""
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
    """What was acknowledged at the old range id is there when the new owner has the queue; afterwards nothing more comes."""
    written, refused, at_takeover = [], [], []
    busy = asyncio.Event()

    async def old_owner(start):
        for n in range(start, start + 40):
            try:
                await task_store.create_tasks(task_queue, some_tasks(task_store, [n]), range_id=7)
                written.append(n)
                if len(written) == 30:
                    busy.set()
            except ConditionFailed:
                refused.append(n)

    async def new_owner():
        await busy.wait()
        await task_store.update_task_queue(TaskQueue(task_queue, 8, DataBlob(b"mine")), previous_range_id=7)
        at_takeover.extend(task.task_id for task in (await read_all(task_store, task_queue))[0])

    await asyncio.gather(new_owner(), *(old_owner(start * 100) for start in range(8)))
    assert refused
    assert sorted(written) == at_takeover


async def test_a_new_owner_waits_for_a_write_that_is_under_way(task_store, task_queue, owner_session):
    """A write that has looked at the range id keeps it until its commit; the update comes after it, and later writes are refused."""
    async with asyncio.timeout(20):
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
        blocked = "SELECT bool_or($1 = ANY (pg_blocking_pids(pid))) FROM pg_stat_activity"
        while not await owner_session.fetchval(blocked, owner_session.get_server_pid()):  # noqa: ASYNC110 - a server has no event
            await asyncio.sleep(0.01)
        moved = TaskQueue(task_queue, 8, DataBlob(b"mine"))
        update = asyncio.create_task(task_store.update_task_queue(moved, previous_range_id=7))
        await task_store.create_tasks(
            task_queue, some_tasks(task_store, [6]), range_id=7
        )  # other writers go on meanwhile
        await asyncio.sleep(0.2)
        assert not update.done()
        await transaction.rollback()
        await asyncio.gather(write, update)
    assert [task.task_id for task in (await read_all(task_store, task_queue))[0]] == [5, 6]
    with pytest.raises(ConditionFailed):
        await task_store.create_tasks(task_queue, some_tasks(task_store, [7]), range_id=7)


async def test_subqueues_share_the_lease_and_nothing_else(task_store, task_queue):
    """Tasks of several subqueues are written at once, under the queue's range id, and read and completed apart."""
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
    """Up to the limit, from the lowest on, never the task that is named."""
    await task_store.create_tasks(task_queue, some_tasks(task_store, range(20)), range_id=7)
    complete = {"max_pass": task_store.first_pass, "max_task_id": 15}
    assert await task_store.complete_tasks_less_than(task_queue, limit=4, **complete) == 4
    assert [task.task_id for task in (await read_all(task_store, task_queue))[0]] == list(range(4, 20))
    assert await task_store.complete_tasks_less_than(task_queue, limit=100, **complete) == 11
    assert await task_store.complete_tasks_less_than(task_queue, limit=100, **complete) == 0
    assert [task.task_id for task in (await read_all(task_store, task_queue))[0]] == list(range(15, 20))


async def test_two_that_complete_at_once_count_each_task_once(task_store, task_queue):
    """The sum of what they report is what was there."""
    await task_store.create_tasks(task_queue, some_tasks(task_store, range(200)), range_id=7)
    counts = await asyncio.gather(
        *(
            task_store.complete_tasks_less_than(task_queue, max_pass=task_store.first_pass, max_task_id=200, limit=200)
            for _ in range(4)
        )
    )
    assert sum(counts) == 200


async def test_tasks_stay_when_their_queue_is_deleted(task_store, task_queue):
    """As Temporal's: the scavenger deletes them first."""
    await task_store.create_tasks(task_queue, some_tasks(task_store, [1]), range_id=7)
    await task_store.delete_task_queue(task_queue, range_id=7)
    assert len((await read_all(task_store, task_queue))[0]) == 1


async def test_the_same_queue_of_two_namespaces_is_two(cell, task_store, task_queue):
    """Names meet nowhere."""
    other = task_queue._replace(namespace_id=await new_namespace(cell))
    await task_store.create_task_queue(TaskQueue(other, 1, DataBlob(b"other")))
    await task_store.create_tasks(task_queue, some_tasks(task_store, [1]), range_id=7)
    assert await read_all(task_store, other) == ([], 1)
    assert (await task_store.get_task_queue(task_queue)).info == DataBlob(b"info")


async def test_large_tasks_pass(task_store, task_queue):
    """A blob of the full 4 MiB is legal, and several in one call."""
    written = [Task(n, DataBlob(bytes([n]) * 2**22), task_store.first_pass) for n in range(3)]
    await task_store.create_tasks(task_queue, written, range_id=7)
    assert await read_all(task_store, task_queue) == (written, 1)


async def test_as_many_tasks_as_are_allowed_pass(task_store, task_queue):
    """The largest call is written, read and completed."""
    await task_store.create_tasks(task_queue, some_tasks(task_store, range(MAX_TASKS)), range_id=7)
    assert len((await read_all(task_store, task_queue, page_size=10_000))[0]) == MAX_TASKS
    complete = {"max_pass": task_store.first_pass, "max_task_id": LAST_TASK_ID}
    assert await task_store.complete_tasks_less_than(task_queue, limit=2**20, **complete) == MAX_TASKS


def test_the_largest_statement_is_within_a_batch_of_the_sealed_format():
    """Whatever callers come together: more than 2^16 records would fail all of them."""
    assert MAX_TASKS * DEFAULT_LIMITS.requests <= MAX_BATCH


# Lists of task queues


async def list_all(store, *, page_size):
    """All queues, page by page."""
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
    """Each once, with name, range id and blob, whatever the size of a page; and of a shredded namespace, that they are there."""
    kek = KekRef.parse("local:contract")
    store = TaskStore(own_cell.database, own_cell.keyring, fair=fair)
    other_form = TaskStore(own_cell.database, own_cell.keyring, fair=not fair)
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
    """Destroy the keys of a namespace and leave its rows, as a shredding that broke off does."""
    await cell.keyring.open(namespace_id)
    connection = await asyncpg.connect(owner_dsn(cell.config))
    await connection.execute(
        "UPDATE strongroom.data_keys SET wrapped = NULL, state = 'destroyed', destroyed_at = now() WHERE namespace_id = $1",
        namespace_id,
    )
    await connection.close()
    cell.keyring.evict(namespace_id)


async def test_an_altered_queue_hides_no_other_from_the_list(own_cell):
    """It is listed as unreadable, and get refuses it."""
    kek = KekRef.parse("local:contract")
    namespace = await own_cell.namespaces.create("list", kek=kek)
    store = TaskStore(own_cell.database, own_cell.keyring)
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


# What a thief or a forger can do


async def test_nothing_of_a_tenant_is_in_clear(task_store, namespace_id, owner_session):
    """Names and payloads are in no column of any row; the scan finds them where they do stand in clear."""
    queue = TaskQueueKey(namespace_id, PLANTED, 1)
    await task_store.create_task_queue(TaskQueue(queue, 1, DataBlob(f"info of {PLANTED}".encode())))
    planted = [Task(n, DataBlob(PLANTED.encode()), task_store.first_pass, n) for n in range(2)]
    await task_store.create_tasks(queue, planted, range_id=1)
    for statement, count in (
        ("SELECT * FROM task_queues WHERE namespace_id = $1", 1),
        ("SELECT * FROM tasks WHERE namespace_id = $1", 2),
    ):
        rows = await owner_session.fetch(statement, namespace_id)
        assert len(rows) == count
        assert not any(holds(row, PLANTED) for row in rows)
        assert not any(holds(row, "contract") for row in rows)
    control = await owner_session.fetchrow("SELECT $1::bytea AS data, 5 AS number", b"xx" + PLANTED.encode())
    assert holds(control, PLANTED)


def holds(row, text):
    """Whether any column of a row holds a text, in bytes, in hexadecimal or as text."""
    values = [value if isinstance(value, bytes) else str(value).encode() for value in row.values()]
    return any(text.encode() in value or text.encode().hex().encode() in value for value in values)


async def test_the_same_name_has_other_tokens_in_another_namespace(cell, task_store, namespace_id, owner_session):
    """Rows of two namespaces tell nothing of each other: token and range_hash are keyed."""
    other = await new_namespace(cell)
    for one in (namespace_id, other):
        await task_store.create_task_queue(TaskQueue(TaskQueueKey(one, "same", 1), 1, DataBlob(b"")))
    rows = await owner_session.fetch(
        "SELECT range_hash, task_queue_id FROM task_queues WHERE namespace_id = ANY($1)", [namespace_id, other]
    )
    assert len({row["range_hash"] for row in rows}) == 2
    assert len({row["task_queue_id"] for row in rows}) == 2


@pytest.mark.parametrize("form", ["swapped", "moved to another id", "moved to a subqueue", "from another namespace"])
async def test_a_task_opens_only_where_it_was_written(cell, task_store, task_queue, owner_session, form):
    """A value that was put elsewhere is refused."""
    other = task_queue._replace(namespace_id=await new_namespace(cell))
    await task_store.create_task_queue(TaskQueue(other, 1, DataBlob(b"other")))
    for one, range_id in ((task_queue, 7), (other, 1)):
        await task_store.create_tasks(one, some_tasks(task_store, [1, 2]), range_id=range_id)
        await task_store.create_tasks(one, some_tasks(task_store, [1, 2], subqueue=1), range_id=range_id)
    assert len((await read_all(task_store, task_queue))[0]) == 2
    taken = (
        "UPDATE tasks AS a SET data = b.data FROM tasks AS b WHERE a.namespace_id = $1 "
        "AND a.task_queue_id = (SELECT task_queue_id FROM task_queues WHERE namespace_id = $1) "
    )
    statements = {
        "swapped": "AND b.namespace_id = $1 AND a.task_queue_id = b.task_queue_id AND a.task_id <> b.task_id",
        "moved to a subqueue": "AND b.namespace_id = $1 AND a.task_queue_id <> b.task_queue_id AND a.task_id = b.task_id",
        "from another namespace": "AND b.namespace_id = $2 AND a.task_id = b.task_id",
    }
    moved = "UPDATE tasks SET task_id = task_id + 10 WHERE namespace_id = $1"
    statement = taken + statements[form] if form in statements else moved
    parameters = [task_queue.namespace_id] + [other.namespace_id] * (form == "from another namespace")
    assert await owner_session.execute(statement, *parameters) != "UPDATE 0"
    with pytest.raises(IntegrityError):
        await read_all(task_store, task_queue)


@pytest.mark.parametrize("column", ["data", "range_id"])
async def test_a_queue_opens_only_where_it_was_written(task_store, task_queue, owner_session, column):
    """Neither blob nor range id can be changed unseen."""
    other = task_queue._replace(task_type=2)
    await task_store.create_task_queue(TaskQueue(other, 8, DataBlob(b"other")))
    statements = {
        "data": "UPDATE task_queues AS a SET data = b.data FROM task_queues AS b ",
        "range_id": "UPDATE task_queues AS a SET range_id = b.range_id FROM task_queues AS b ",
    }
    where = "WHERE a.namespace_id = $1 AND b.namespace_id = $1 AND a.task_type = 1 AND b.task_type = 2"
    assert await owner_session.execute(statements[column] + where, task_queue.namespace_id) == "UPDATE 1"
    with pytest.raises(IntegrityError):
        await task_store.get_task_queue(task_queue)
    assert (await task_store.get_task_queue(other)).range_id == 8


# Bad input

ALL_CALLS = [
    lambda store, queue: store.create_task_queue(TaskQueue(queue, 1, DataBlob(b""))),
    lambda store, queue: store.get_task_queue(queue),
    lambda store, queue: store.update_task_queue(TaskQueue(queue, 1, DataBlob(b"")), previous_range_id=7),
    lambda store, queue: store.delete_task_queue(queue, range_id=7),
    lambda store, queue: store.create_tasks(queue, some_tasks(store, [1]), range_id=7),
    lambda store, queue: store.get_tasks(queue, page_size=1, min_pass=store.first_pass),
    lambda store, queue: store.complete_tasks_less_than(queue, max_pass=store.first_pass, max_task_id=9, limit=1),
]


@pytest.mark.parametrize("call", range(len(ALL_CALLS)))
async def test_what_names_no_queue_is_refused(task_store, task_queue, call):
    """By every operation: wrong ids, names and types."""
    wrong = [
        task_queue._replace(namespace_id=str(task_queue.namespace_id)),
        task_queue._replace(namespace_id=None),
        *(task_queue._replace(name=name) for name in ("", "x" * 1001, "\ud800", b"orders", None, 5)),
        *(task_queue._replace(task_type=task_type) for task_type in (-1, 2**15, "1", None, True)),
        tuple(task_queue),
    ]
    for one in wrong:
        with pytest.raises(InvalidPersistenceRequest):
            await ALL_CALLS[call](task_store, one)
    with pytest.raises(NamespaceNotFound):
        await ALL_CALLS[call](task_store, task_queue._replace(namespace_id=uuid4()))


async def test_wrong_tasks_are_refused(task_store, task_queue):
    """And nothing of the call is written."""
    good, *_ = some_tasks(task_store, [1])
    wrong = [
        [],
        *([good, good._replace(task_id=task_id)] for task_id in (-1, LAST_TASK_ID, 2**63, "1", None)),
        *([good, good._replace(task_pass=task_pass)] for task_pass in (-1, 1 - task_store.first_pass, 2**63 - 1, None)),
        *([good, good._replace(subqueue=subqueue)] for subqueue in (-1, 2**31, None)),
        *([good, good._replace(blob=blob)] for blob in (b"bytes", None, DataBlob("text"))),
        some_tasks(task_store, range(MAX_TASKS + 1)),
    ]
    for several in wrong:
        with pytest.raises(InvalidPersistenceRequest):
            await task_store.create_tasks(task_queue, several, range_id=7)
    with pytest.raises(TransactionSizeLimit):
        await task_store.create_tasks(task_queue, [good, good._replace(blob=DataBlob(b"x" * (2**22 + 1)))], range_id=7)
    for range_id in (-1, 2**63, None, "7"):
        with pytest.raises(InvalidPersistenceRequest):
            await task_store.create_tasks(task_queue, [good], range_id=range_id)
    assert await read_all(task_store, task_queue) == ([], 1)


async def test_wrong_ranges_are_refused(task_store, task_queue):
    """Page sizes, ids, passes and limits that can't be."""
    good = {"page_size": 1, "min_pass": task_store.first_pass}
    wrong = [
        *({"page_size": size} for size in (0, -1, 10_001, None)),
        *({"min_task_id": number} for number in (-1, 2**63, None)),
        *({"max_task_id": number} for number in (-1, 2**63, None)),
        *({"min_pass": number} for number in (-1, 1 - task_store.first_pass, 2**63 - 1, None)),
        *({"subqueue": number} for number in (-1, 2**31)),
    ]
    for one in wrong:
        with pytest.raises(InvalidPersistenceRequest):
            await task_store.get_tasks(task_queue, **good | one)
    good = {"max_pass": task_store.first_pass, "max_task_id": 1, "limit": 1}
    wrong = [
        *({"limit": size} for size in (0, -1, 2**31, None)),
        *({"max_task_id": number} for number in (-1, 2**63, None)),
        *({"max_pass": number} for number in (-1, 1 - task_store.first_pass, None)),
        {"subqueue": -1},
    ]
    for one in wrong:
        with pytest.raises(InvalidPersistenceRequest):
            await task_store.complete_tasks_less_than(task_queue, **good | one)
    for size in (0, -1, 10_001):
        with pytest.raises(InvalidPersistenceRequest):
            await task_store.list_task_queue(page_size=size)


async def test_wrong_queues_are_refused(task_store, task_queue):
    """Range ids and blobs that can't be."""
    for range_id in (-1, 2**63, None, True):
        with pytest.raises(InvalidPersistenceRequest):
            await task_store.create_task_queue(TaskQueue(task_queue._replace(name="new"), range_id, DataBlob(b"")))
        with pytest.raises(InvalidPersistenceRequest):
            await task_store.update_task_queue(TaskQueue(task_queue, 8, DataBlob(b"")), previous_range_id=range_id)
        with pytest.raises(InvalidPersistenceRequest):
            await task_store.delete_task_queue(task_queue, range_id=range_id)
    with pytest.raises(TransactionSizeLimit):
        await task_store.update_task_queue(TaskQueue(task_queue, 8, DataBlob(b"x" * (2**22 + 1))), previous_range_id=7)
    assert (await task_store.get_task_queue(task_queue)).range_id == 7


async def test_a_page_token_of_another_call_is_refused(task_store, task_queue):
    """It names its queue, type and subqueue; text that is no token is refused too."""
    both = some_tasks(task_store, [1, 2]) + some_tasks(task_store, [1, 2], subqueue=1)
    await task_store.create_tasks(task_queue, both, range_id=7)
    read = {"page_size": 1, "min_pass": task_store.first_pass}
    token = (await task_store.get_tasks(task_queue, **read)).next_page_token
    assert token is not None
    assert (await task_store.get_tasks(task_queue, page_token=token, **read)).tasks == [both[1]]
    for one, subqueue in ((task_queue._replace(name="x"), 0), (task_queue._replace(task_type=2), 0), (task_queue, 1)):
        with pytest.raises(InvalidPersistenceRequest):
            await task_store.get_tasks(one, subqueue=subqueue, page_token=token, **read)
    for wrong in (b"", b"x", token[:-4], token + b"AAAA"):
        with pytest.raises(InvalidPersistenceRequest):
            await task_store.get_tasks(task_queue, page_token=wrong, **read)
        with pytest.raises(InvalidPersistenceRequest):
            await task_store.list_task_queue(page_size=1, page_token=wrong)
    with pytest.raises(InvalidPersistenceRequest):
        await task_store.list_task_queue(page_size=1, page_token=token)


async def test_no_message_holds_what_a_tenant_wrote(task_store, namespace_id):
    """Errors go to logs."""
    queue = TaskQueueKey(namespace_id, PLANTED, 1)
    there = queue._replace(task_type=2)
    await task_store.create_task_queue(TaskQueue(there, 7, DataBlob(b"")))
    calls = [call(task_store, queue) for call in ALL_CALLS[1:5]]
    calls += [
        ALL_CALLS[0](task_store, there),
        task_store.create_tasks(there, some_tasks(task_store, [1, 1]), range_id=7),
    ]
    for call in calls:
        with pytest.raises((ConditionFailed, NotFound)) as refused:
            await call
        assert PLANTED not in str(refused.value)
        assert refused.value.__context__ is None
