from __future__ import annotations

import pytest

from strongroom.kms import IntegrityError, KeyNotFound
from strongroom.storage import (
    DataBlob,
    Task,
    TaskQueue,
    TaskQueueKey,
)
from tests.support.fixtures.contract import new_namespace
from tests.support.fixtures.matching import read_all, some_tasks

pytestmark = pytest.mark.integration


PLANTED = "planted-Kühlschrank"


async def test_nothing_of_a_tenant_is_in_clear(task_store, namespace_id, owner_session):
    """Names and payloads are in no column of any row. The same scan finds a value that is in clear."""
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
    """Return whether any column of a row contains a text, as bytes, hexadecimal or text."""
    values = [value if isinstance(value, bytes) else str(value).encode() for value in row.values()]
    return any(text.encode() in value or text.encode().hex().encode() in value for value in values)


async def test_the_same_name_has_other_tokens_in_another_namespace(cell, task_store, namespace_id, owner_session):
    """Token and range hash are keyed, so rows of two namespaces can't be compared."""
    other = await new_namespace(cell)
    for one in (namespace_id, other):
        await task_store.create_task_queue(TaskQueue(TaskQueueKey(one, "same", 1), 1, DataBlob(b"")))
    rows = await owner_session.fetch(
        "SELECT range_hash, task_queue_id FROM task_queues WHERE namespace_id = ANY($1)", [namespace_id, other]
    )
    assert len({row["range_hash"] for row in rows}) == 2
    assert len({row["task_queue_id"] for row in rows}) == 2


def is_of_this_namespace(row, other):
    return row["namespace_id"] == other["namespace_id"]


TAKEN = {
    "swapped": lambda row, other: row["task_queue_id"] == other["task_queue_id"] and row["task_id"] != other["task_id"],
    "moved to a subqueue": lambda row, other: (
        is_of_this_namespace(row, other)
        and row["task_queue_id"] != other["task_queue_id"]
        and row["task_id"] == other["task_id"]
    ),
    "from another namespace": lambda row, other: (
        not is_of_this_namespace(row, other) and row["task_id"] == other["task_id"]
    ),
}
"""Whether a task takes the sealed value of another one."""


@pytest.mark.parametrize("form", ["swapped", "moved to another id", "moved to a subqueue", "from another namespace"])
async def test_a_task_opens_only_where_it_was_written(cell, task_store, task_queue, owner_session, form):
    """A sealed value that was moved to another row is refused."""
    other = task_queue._replace(namespace_id=await new_namespace(cell))
    await task_store.create_task_queue(TaskQueue(other, 1, DataBlob(b"other")))
    for one, range_id in ((task_queue, 7), (other, 1)):
        await task_store.create_tasks(one, some_tasks(task_store, [1, 2]), range_id=range_id)
        await task_store.create_tasks(one, some_tasks(task_store, [1, 2], subqueue=1), range_id=range_id)
    assert len((await read_all(task_store, task_queue))[0]) == 2
    rows = await owner_session.fetch(
        "SELECT * FROM tasks WHERE namespace_id = ANY($1)", [task_queue.namespace_id, other.namespace_id]
    )
    queue_id = await owner_session.fetchval(
        "SELECT task_queue_id FROM task_queues WHERE namespace_id = $1", task_queue.namespace_id
    )
    for row in [each for each in rows if each["task_queue_id"] == queue_id]:
        taken = next((each for each in rows if form in TAKEN and TAKEN[form](row, each)), row)
        place = await owner_session.execute(
            "UPDATE tasks SET data = $1, task_id = task_id + $2 WHERE range_hash = $3 AND task_queue_id = $4 AND task_id = $5",
            *(taken["data"], 10 * (form not in TAKEN), row["range_hash"], queue_id, row["task_id"]),
        )
        assert place == "UPDATE 1"
    page = await task_store.get_tasks(task_queue, page_size=100, min_pass=task_store.first_pass)
    assert page.tasks == []
    assert [type(one.reason) for one in page.unreadable] == [IntegrityError] * 2


async def test_one_damaged_task_hides_no_other(task_store, task_queue, owner_session):
    """A changed task is returned in its place with the error, and the pages go on behind it."""
    await task_store.create_tasks(task_queue, some_tasks(task_store, [1, 2, 3, 4]), range_id=7)
    changed = (
        "UPDATE tasks SET data = set_byte(data, 40, 255 - get_byte(data, 40)) WHERE namespace_id = $1 AND task_id = 2"
    )
    assert await owner_session.execute(changed, task_queue.namespace_id) == "UPDATE 1"
    page = await task_store.get_tasks(task_queue, page_size=2, min_pass=task_store.first_pass)
    assert [one.task_id for one in page.tasks] == [1]
    assert [(one.task_id, one.subqueue, type(one.reason)) for one in page.unreadable] == [(2, 0, IntegrityError)]
    rest = {"min_pass": task_store.first_pass, "page_token": page.next_page_token}
    page = await task_store.get_tasks(task_queue, page_size=2, **rest)
    assert ([one.task_id for one in page.tasks], page.unreadable) == ([3, 4], ())


@pytest.mark.parametrize("column", ["data", "range_id"])
async def test_a_queue_opens_only_where_it_was_written(task_store, task_queue, owner_session, column):
    """A changed blob or range id is refused."""
    other = task_queue._replace(task_type=2)
    await task_store.create_task_queue(TaskQueue(other, 8, DataBlob(b"other")))
    of_type = f"SELECT {column} FROM task_queues WHERE namespace_id = $1 AND task_type = 2"  # noqa: S608 - our own name
    taken = await owner_session.fetchval(of_type, task_queue.namespace_id)
    changed = f"UPDATE task_queues SET {column} = $2 WHERE namespace_id = $1 AND task_type = 1"  # noqa: S608
    assert await owner_session.execute(changed, task_queue.namespace_id, taken) == "UPDATE 1"
    with pytest.raises(IntegrityError):
        await task_store.get_task_queue(task_queue)
    assert (await task_store.get_task_queue(other)).range_id == 8


async def test_a_task_whose_key_version_is_unknown_stops_the_queue(task_store, task_queue, owner_session):
    """A key may be registered again, for example from a backup. So the task is an error, and is never left out."""
    await task_store.create_tasks(task_queue, some_tasks(task_store, [1, 2, 3]), range_id=7)
    changed = "UPDATE tasks SET data = set_byte(data, 7, 99) WHERE namespace_id = $1 AND task_id = 2"
    assert await owner_session.execute(changed, task_queue.namespace_id) == "UPDATE 1"
    with pytest.raises(KeyNotFound):
        await task_store.get_tasks(task_queue, page_size=10, min_pass=task_store.first_pass)
