from __future__ import annotations

import secrets
from uuid import uuid4

import pytest

from strongroom.kms import IntegrityError, KeyDestroyed
from strongroom.storage import EVERY_NAMESPACE, DataBlob, InvalidPersistenceRequest
from strongroom.storage.errors import NamespaceNotFound, PageTokenMismatch, TransactionSizeLimit
from strongroom.storage.executions.tasks import HistoryTask, TaskKey
from tests.support.fixtures.contract import new_namespace, new_shard
from tests.support.fixtures.executions import blob, exactly
from tests.support.shredding import shred

pytestmark = pytest.mark.integration

LAST = 2**63 - 1


@pytest.fixture
def cluster():
    """The name of a source cluster that only this test uses."""
    return f"cluster-{secrets.token_hex(4)}"


async def put(workflow, cluster, *task_ids):
    """Add dead letters. Return them as they are read."""
    made = [HistoryTask(TaskKey(0, task_id), blob()) for task_id in task_ids]
    for one in made:
        await workflow.cell.history_tasks.put_replication_task_to_dlq(
            workflow.namespace_id, one, shard_id=workflow.shard_id, source_cluster_name=cluster
        )
    return [one._replace(namespace_id=workflow.namespace_id) for one in made]


async def read(workflow, cluster, least=0, limit=LAST, size=100, token=None):
    return await workflow.cell.history_tasks.get_replication_tasks_from_dlq(
        cluster,
        shard_id=workflow.shard_id,
        min_task_id=least,
        max_task_id=limit,
        batch_size=size,
        page_token=token,
    )


async def is_empty(workflow, cluster, least=0):
    return await workflow.cell.history_tasks.is_replication_dlq_empty(
        cluster, shard_id=workflow.shard_id, min_task_id=least
    )


async def test_dead_letters_come_back(workflow, cluster):
    """Dead letters are read with their bytes, in order, from the first id, inclusive, to the last, exclusive."""
    made = await put(workflow, cluster, 9, 3, 5, 7, 1)
    made.sort(key=lambda one: one.key)
    assert (await read(workflow, cluster)).tasks == made
    assert (await read(workflow, cluster, 3, 7)).tasks == made[1:3]


@pytest.mark.parametrize("size", [1, 2, 3, 7, 8])
async def test_pages_follow_each_other(workflow, cluster, size):
    """Pages have all dead letters once."""
    made = await put(workflow, cluster, *range(10, 17))
    found, token = [], None
    while True:
        page = await read(workflow, cluster, 10, 17, size, token)
        assert len(page.tasks) <= size
        found += page.tasks
        token = page.next_page_token
        if token is None:
            break
    assert found == made


async def test_whether_there_are_any(workflow, cluster):
    """A queue is empty if no dead letter of the cluster and shard is at or after the task id."""
    assert await is_empty(workflow, cluster)
    await put(workflow, cluster, 0, 6)
    assert not await is_empty(workflow, cluster)
    assert not await is_empty(workflow, cluster, 6)
    assert await is_empty(workflow, cluster, 7)
    assert await is_empty(workflow, cluster + "2")


async def test_the_same_id_again_replaces_it(workflow, cluster, cell):
    """A task that fails again replaces its dead letter, also if its namespace is another one."""
    await put(workflow, cluster, 4)
    again = await put(workflow, cluster, 4)
    assert (await read(workflow, cluster)).tasks == again
    other = workflow.like(namespace_id=await new_namespace(cell))
    theirs = await put(other, cluster, 4)
    assert (await read(workflow, cluster)).tasks == theirs


async def test_dead_letters_are_deleted(workflow, cluster, cell):
    """One dead letter, then a range, of a cluster and shard is deleted. Deleting one that is gone is not an error."""
    store, other = cell.history_tasks, workflow.like(shard_id=await new_shard(cell))
    for place, name in ((workflow, cluster), (workflow, cluster + "2"), (other, cluster)):
        await put(place, name, *range(1, 9))
    for _ in range(2):
        await store.delete_replication_task_from_dlq(cluster, 3, shard_id=workflow.shard_id)
    await store.range_delete_replication_tasks_from_dlq(
        cluster, shard_id=workflow.shard_id, min_task_id=5, max_task_id=8
    )
    assert [one.key.task_id for one in (await read(workflow, cluster)).tasks] == [1, 2, 4, 8]
    assert len((await read(workflow, cluster + "2")).tasks) == len((await read(other, cluster)).tasks) == 8


async def test_wrong_requests_are_refused(workflow, cluster):
    """Requests with a field that is not valid are refused before they are sent."""
    store, place = workflow.cell.history_tasks, {"shard_id": workflow.shard_id}
    for name in ("", None, b"cluster", "x" * 1001):
        for call in (put(workflow, name, 1), read(workflow, name), is_empty(workflow, name)):
            with exactly(InvalidPersistenceRequest):
                await call
        with exactly(InvalidPersistenceRequest):
            await store.delete_replication_task_from_dlq(name, 1, **place)
    for wrong in (-1, LAST + 1, "1", None):
        for call in (put(workflow, cluster, wrong), read(workflow, cluster, wrong), is_empty(workflow, cluster, wrong)):
            with exactly(InvalidPersistenceRequest):
                await call
        with exactly(InvalidPersistenceRequest):
            await store.delete_replication_task_from_dlq(cluster, wrong, **place)
    for size in (None, "1", True):
        with exactly(InvalidPersistenceRequest):
            await read(workflow, cluster, size=size)
    stranger = workflow.like(namespace_id=uuid4())
    with exactly(NamespaceNotFound):
        await put(stranger, cluster, 1)
    huge = HistoryTask(TaskKey(0, 1), DataBlob(bytes(4 * 2**20 + 1)))
    with exactly(TransactionSizeLimit):
        await store.put_replication_task_to_dlq(workflow.namespace_id, huge, source_cluster_name=cluster, **place)
    assert await is_empty(workflow, cluster)


async def test_a_token_is_of_one_cluster_and_shard(workflow, cluster):
    """A token of another shard, cluster or operation is refused."""
    await put(workflow, cluster, 1, 2, 3)
    token = (await read(workflow, cluster, size=1)).next_page_token
    for place, name, bad in (
        (workflow, cluster + "2", token),
        (workflow.like(shard_id=workflow.shard_id + 1), cluster, token),
        (workflow, cluster, token[4:]),
    ):
        with exactly(PageTokenMismatch):
            await read(place, name, token=bad)


async def test_a_namespace_without_keys_hides_no_other(workflow, cluster, cell):
    """Dead letters of a shredded namespace are returned with the reason."""
    other = workflow.like(namespace_id=await new_namespace(cell))
    (mine,) = await put(workflow, cluster, 1)
    await put(other, cluster, 2)
    async with cell.database.connection(EVERY_NAMESPACE) as connection:
        (kept,) = await connection.fetch(
            "SELECT * FROM replication_dlq_tasks WHERE namespace_id = $1", other.namespace_id
        )
    await shred(cell, other.namespace_id)
    async with cell.database.connection(EVERY_NAMESPACE) as connection:
        await connection.execute(
            "INSERT INTO replication_dlq_tasks VALUES ($1, $2, $3, $4, $5) ON CONFLICT DO NOTHING", *kept.values()
        )
    page = await read(workflow, cluster)
    assert page.tasks == [mine]
    assert [(one.key.task_id, type(one.reason)) for one in page.unreadable] == [(2, KeyDestroyed)]


@pytest.mark.parametrize("edit", ["task_id = task_id + 1", "source_cluster_name = source_cluster_name || '2'"])
async def test_a_moved_dead_letter_is_noticed(workflow, cluster, edit):
    """A dead letter that is moved to another id or cluster does not open."""
    await put(workflow, cluster, 1)
    async with workflow.cell.database.connection(EVERY_NAMESPACE) as connection:
        await connection.execute(f"UPDATE replication_dlq_tasks SET {edit} WHERE source_cluster_name = $1", cluster)  # noqa: S608 - above
    page = await read(workflow, cluster + "2" if "2" in edit else cluster)
    assert page.tasks == []
    assert [type(one.reason) for one in page.unreadable] == [IntegrityError]
