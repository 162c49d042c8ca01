"""Ids of 10,000 bytes in every store and in visibility: Temporal's `limit.maxIDLength` may be higher than 1,000."""

from __future__ import annotations

from uuid import uuid4

import pytest

from strongroom.storage import (
    ChasmNode,
    DataBlob,
    NotFound,
    Task,
    TaskQueue,
    TaskQueueKey,
    UserDataUpdate,
)
from tests.support.fixtures.executions import RUNNING, accumulated, blob, state
from tests.support.search_cell import TYPES, record

pytestmark = pytest.mark.integration

LENGTH = 10_000


def long(name):
    """Return an id of 10,000 bytes that begins as every other one."""
    return "ä" * ((LENGTH - len(name)) // 2) + name


async def test_runs(cell, workflow):
    """A run, its names and its request id are written, read and deleted. Ids that differ at their end are different ids."""
    workflow.workflow_id, other = long("1234"), long("5678")
    snapshot = workflow.snapshot(
        of=RUNNING,
        execution_state=state(RUNNING, create_request_id=long("request1")),
        timer_infos={long("timer 12"): blob(), long("timer 34"): blob()},
        signal_requested_ids={long("signal 1")},
        chasm_nodes={long("chasm ab"): ChasmNode(blob(), blob())},
    )
    await workflow.create(snapshot)
    changes = workflow.mutation(snapshot.run_id, delete_timer_infos=[long("timer 12")])
    await workflow.update(changes)
    assert await workflow.get(snapshot.run_id) == accumulated(snapshot, changes)
    assert (await workflow.current()).run_id == snapshot.run_id
    place = {"shard_id": workflow.shard_id}
    with pytest.raises(NotFound):
        await cell.executions.get_workflow_execution(workflow.namespace_id, other, snapshot.run_id, **place)
    run = (workflow.namespace_id, workflow.workflow_id, snapshot.run_id)
    await cell.executions.delete_current_workflow_execution(*run, **place)
    await cell.executions.delete_workflow_execution(*run, **place)
    with pytest.raises(NotFound):
        await workflow.get(snapshot.run_id)


async def test_task_queues(cell, namespace_id):
    """A queue, its tasks, its user data and its build ids are written, read, listed and deleted."""
    queue = TaskQueueKey(namespace_id, long("queue 12"), 1)
    await cell.tasks.create_task_queue(TaskQueue(queue, 1, DataBlob(b"info")))
    task = Task(7, DataBlob(b"task"))
    await cell.tasks.create_tasks(queue, [task], range_id=1)
    assert list((await cell.tasks.get_tasks(queue, page_size=10)).tasks) == [task]
    page = await cell.tasks.list_task_queue(page_size=10_000)
    assert queue in [listed.queue for listed in page.queues]
    data, build_id = cell.task_queue_user_data, long("build 12")
    await data.update_task_queue_user_data(namespace_id, {queue.name: UserDataUpdate(0, DataBlob(b"data"), [build_id])})
    assert (await data.get_task_queue_user_data(namespace_id, queue.name)).data == DataBlob(b"data")
    entries = (await data.list_task_queue_user_data_entries(namespace_id, page_size=10)).entries
    assert [each.task_queue for each in entries] == [queue.name]
    assert list(await data.get_task_queues_by_build_id(namespace_id, build_id)) == [queue.name]
    await cell.tasks.delete_task_queue(queue, range_id=1)
    with pytest.raises(NotFound):
        await cell.tasks.get_task_queue(queue)


async def test_named_queues(cell):
    """A queue of QueueV2 is made, written, read and listed."""
    name = long("dlq " + uuid4().hex)
    await cell.queues.create_queue(2, name)
    await cell.queues.enqueue_message(2, name, data=DataBlob(b"message"))
    assert [each.data for each in (await cell.queues.read_messages(2, name, page_size=9)).messages] == [
        DataBlob(b"message")
    ]
    assert name in [each.queue_name for each in (await cell.queues.list_queues(2, page_size=10_000)).queues]


async def test_visibility(cell, namespace_id, shard_id):
    """A record is written, found by its whole id and by a prefix, read and deleted."""
    stored = record(1)._replace(workflow_id=long("1234"), task_queue=long("queue"), parent_workflow_id=long("parent"))
    other = record(2)._replace(workflow_id=long("5678"))
    visibility = cell.visibility
    await visibility.record_workflow_executions(namespace_id, [(shard_id, 1, stored), (shard_id, 1, other)], TYPES)
    for query in (f"WorkflowId = '{stored.workflow_id}'", f"TaskQueue = '{stored.task_queue}'"):
        page = await visibility.list_workflow_executions(namespace_id, query, TYPES)
        assert [each.workflow_id for each in page.executions] == [stored.workflow_id]
    page = await visibility.list_workflow_executions(namespace_id, f"WorkflowId STARTS_WITH '{long('')[:4990]}'", TYPES)
    assert {each.workflow_id for each in page.executions} == {stored.workflow_id, other.workflow_id}
    run = {"shard_id": shard_id, "workflow_id": stored.workflow_id, "run_id": stored.run_id}
    assert (await visibility.get_workflow_execution(namespace_id, **run)).task_queue == stored.task_queue
    await visibility.delete_workflow_execution(namespace_id, **run, version=2)
    with pytest.raises(NotFound):
        await visibility.get_workflow_execution(namespace_id, **run)
