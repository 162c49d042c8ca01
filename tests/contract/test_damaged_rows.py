"""A row of a queue that was altered does not stop the queue, is kept as it was found, and is listed for an operator."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from strongroom.kms import IntegrityError
from strongroom.storage import DatabaseUnavailable, DataBlob, Task, TaskQueue, TaskQueueKey
from strongroom.storage.cell.damaged_rows import DamagedRows
from strongroom.storage.executions.tasks import TRANSFER, HistoryTask, TaskKey
from tests.support.fixtures.contract import new_namespace, new_shard
from tests.support.fixtures.executions import task
from tests.support.fixtures.raw_rows import execute, fetch
from tests.support.shredding import shred

pytestmark = pytest.mark.integration

TENANT = "planted tenant"
WHOLE = {"min_key": TaskKey(0, 0), "max_key": TaskKey(0, 2**63 - 1)}
ALTERED = "SET data = set_byte(data, 40, get_byte(data, 40) # 1)"


async def history_tasks(cell, namespace_id):
    """Write three history tasks, and return a function that reads them and one that deletes them."""
    shard_id = await new_shard(cell)
    made = [task(TRANSFER, task_id=number) for number in (1, 2, 3)]
    await cell.history_tasks.add_history_tasks(namespace_id, {TRANSFER: made}, shard_id=shard_id, range_id=1)

    async def read():
        page = await cell.history_tasks.get_history_tasks(TRANSFER, shard_id=shard_id, batch_size=10, **WHOLE)
        return [each.key.task_id for each in page.tasks], [each.key.task_id for each in page.unreadable]

    async def delete():
        await cell.history_tasks.range_complete_history_tasks(TRANSFER, shard_id=shard_id, **WHOLE)

    return read, delete


async def replication_dlq_tasks(cell, namespace_id):
    """Write three dead replication tasks."""
    shard_id = await new_shard(cell)
    for number in (1, 2, 3):
        letter = HistoryTask(TaskKey(0, number), DataBlob(TENANT.encode()))
        await cell.history_tasks.put_replication_task_to_dlq(
            namespace_id, letter, shard_id=shard_id, source_cluster_name="other"
        )
    span = {"shard_id": shard_id, "min_task_id": 0, "max_task_id": 100}

    async def read():
        page = await cell.history_tasks.get_replication_tasks_from_dlq("other", batch_size=10, **span)
        return [each.key.task_id for each in page.tasks], [each.key.task_id for each in page.unreadable]

    async def delete():
        await cell.history_tasks.range_delete_replication_tasks_from_dlq("other", **span)

    return read, delete


async def tasks(cell, namespace_id):
    """Write three tasks of a task queue."""
    queue = TaskQueueKey(namespace_id, TENANT, 1)
    await cell.tasks.create_task_queue(TaskQueue(queue, 7, DataBlob(b"")))
    made = [Task(number, DataBlob(TENANT.encode())) for number in (1, 2, 3)]
    await cell.tasks.create_tasks(queue, made, range_id=7)

    async def read():
        page = await cell.tasks.get_tasks(queue, page_size=10)
        return [each.task_id for each in page.tasks], [each.task_id for each in page.unreadable]

    async def delete():
        await cell.tasks.complete_tasks_less_than(queue, max_task_id=100, limit=100)

    return read, delete


async def queue_messages(cell, _namespace_id):
    """Append three messages to the namespace-replication queue; ids begin with 0, so one more is appended first."""
    queue = cell.namespace_replication_queue
    for _ in range(4):
        await queue.enqueue_message(DataBlob(TENANT.encode()))
    await queue.delete_messages_before(1)

    async def read():
        return parts(await queue.read_messages(max_count=10))

    async def delete():
        await queue.delete_messages_before(10)

    return read, delete


async def queue_v2_messages(cell, namespace_id):
    """Append three messages to a named queue."""
    await cell.queues.create_queue(1, TENANT)
    for _ in range(4):
        await cell.queues.enqueue_message(1, TENANT, data=DataBlob(TENANT.encode()), namespace_id=namespace_id)
    await cell.queues.range_delete_messages(1, TENANT, last_message_id=0)

    async def read():
        return parts((await cell.queues.read_messages(1, TENANT, page_size=10)).messages)

    async def delete():
        await cell.queues.range_delete_messages(1, TENANT, last_message_id=10)

    return read, delete


def parts(messages):
    """Return the ids of the messages that were opened, and of those that were not."""
    return (
        [each.message_id for each in messages if each.unreadable is None],
        [each.message_id for each in messages if isinstance(each.unreadable, IntegrityError) and each.data is None],
    )


QUEUES = {
    "history_tasks": (history_tasks, "task_id"),
    "replication_dlq_tasks": (replication_dlq_tasks, "task_id"),
    "tasks": (tasks, "task_id"),
    "queue_messages": (queue_messages, "message_id"),
    "queue_v2_messages": (queue_v2_messages, "message_id"),
}


@pytest.mark.parametrize("table", QUEUES)
async def test_a_damaged_row_is_kept(own_cell, table):
    """The rows around it are read. Its copy is byte for byte what was found, and stays when the queue's reader deletes the range."""
    write, column = QUEUES[table]
    namespace_id = await new_namespace(own_cell)
    read, delete = await write(own_cell, namespace_id)
    assert await read() == ([1, 2, 3], [])
    kept = DamagedRows(own_cell.database)
    assert (await kept.counts(), await kept.newest(10)) == ({}, [])
    assert await execute(own_cell, f"UPDATE {table} {ALTERED} WHERE {column} = 2") == "UPDATE 1"
    (found,) = await fetch(own_cell, f"SELECT namespace_id, data FROM {table} WHERE {column} = 2")  # noqa: S608
    for _ in range(2):
        assert await read() == ([1, 3], [2])
    await delete()
    assert await read() == ([], [])
    (row,) = await kept.newest(10)
    assert (row.table, row.namespace_id, row.reason, row.size) == (
        table,
        found["namespace_id"],
        "IntegrityError",
        len(found["data"]),
    )
    assert f"{column}=2" in row.key.split(" ")
    assert TENANT not in row.key
    (copy,) = await fetch(own_cell, "SELECT data FROM damaged_rows")
    assert copy["data"] == found["data"]
    assert await kept.counts() == {table: 1}
    if found["namespace_id"] == namespace_id:  # not a message of the cell
        await shred(own_cell, namespace_id)
        assert await kept.counts() == {}


@pytest.mark.parametrize("table", QUEUES)
async def test_a_row_that_cannot_be_kept_stops_its_queue(own_cell, table, monkeypatch):
    """Nothing is returned without the row before its copy is stored, because the reader would delete the row."""
    write, column = QUEUES[table]
    read, _ = await write(own_cell, await new_namespace(own_cell))
    await execute(own_cell, f"UPDATE {table} {ALTERED} WHERE {column} = 2")

    async def fails(*_):
        raise DatabaseUnavailable

    monkeypatch.setattr(DamagedRows, "keep", fails)
    with pytest.raises(DatabaseUnavailable):
        await read()


async def test_rows_are_deleted_by_the_time_at_which_they_were_found(own_cell):
    """`forget` deletes the rows that were found before a time, and no later one."""
    read, _ = await history_tasks(own_cell, await new_namespace(own_cell))
    await execute(own_cell, f"UPDATE history_tasks {ALTERED}")
    assert await read() == ([], [1, 2, 3])
    await execute(own_cell, "UPDATE damaged_rows SET found_at = now() - interval '1 hour' WHERE key LIKE '%task_id=2'")
    kept = DamagedRows(own_cell.database)
    assert await kept.forget(datetime.now(UTC) - timedelta(minutes=30)) == 1
    assert {each.key.rpartition("=")[2] for each in await kept.newest(10)} == {"1", "3"}
    assert len(await kept.newest(1)) == 1
