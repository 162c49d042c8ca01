"""What is accepted at the ends of 64 bits can be read, listed, paged and deleted. What can't is refused when it is written."""

from __future__ import annotations

from dataclasses import replace
from uuid import uuid4

import pytest

from strongroom.kms import StrongroomError
from strongroom.storage import (
    CategoryType,
    HistoryBranch,
    HistoryNode,
    HistoryTask,
    InvalidPersistenceRequest,
    NexusEndpoint,
    NotFound,
    ShardInfo,
    Task,
    TaskKey,
    UserDataUpdate,
)
from strongroom.storage.executions.tasks import TIMER, TRANSFER
from strongroom.visibility import AttributeType, InvalidRecord, VisibilityRecord
from tests.support.fixtures.contract import KEK, new_namespace, new_shard
from tests.support.fixtures.executions import CREATED, Workflow, accumulated, blob, state

pytestmark = pytest.mark.integration

END = 2**63 - 1
ENDS = (0, 1, END - 2, END - 1, END)


async def all_pages(call):
    """Return the rows of all pages of one row each."""
    rows, token = await call(None)
    rows = list(rows)
    while token is not None:
        more, token = await call(token)
        rows += more
    return rows


async def test_tasks(task_store, task_queue):
    """Ids and passes of tasks."""
    first = task_store.first_pass

    async def write(place):
        await task_store.create_tasks(task_queue, [Task(place[1], blob(), place[0])], range_id=7)

    passes = ENDS if first else (0,)
    places = [(task_pass, task_id) for task_pass in passes for task_id in ENDS]
    written = []
    for place in places:
        try:
            await write(place)
        except InvalidPersistenceRequest:
            continue
        written.append(place)
    assert {task_id for _, task_id in written} == set(ENDS) - {END}
    assert {task_pass for task_pass, _ in written} == (set(ENDS) - {0, END} if first else {0})

    async def page(token):
        found = await task_store.get_tasks(task_queue, page_size=1, min_pass=first, page_token=token)
        return found.tasks, found.next_page_token

    assert [(task.task_pass, task.task_id) for task in await all_pages(page)] == sorted(written)
    last = {"max_pass": END - 1 if first else 0, "max_task_id": END}
    assert await task_store.complete_tasks_less_than(task_queue, limit=1000, **last) == len(written)


async def test_range_ids_of_queues_and_shards(cell, task_store, task_queue, shard_id):
    """A queue or a shard at the largest range id is read, written by its owner, and fenced; the queue can be deleted."""
    queue = await task_store.get_task_queue(task_queue)
    await task_store.update_task_queue(replace(queue, range_id=END), previous_range_id=7)
    assert (await task_store.get_task_queue(task_queue)).range_id == END
    await task_store.create_tasks(task_queue, [Task(1, blob(), task_store.first_pass)], range_id=END)
    await task_store.delete_task_queue(task_queue, range_id=END)
    with pytest.raises(NotFound):
        await task_store.get_task_queue(task_queue)
    await cell.shards.update_shard(ShardInfo(shard_id, END, blob()), previous_range_id=1)
    await cell.shards.assert_shard_ownership(shard_id, range_id=END)
    assert (await cell.shards.get_or_create_shard(shard_id)).range_id == END


@pytest.mark.parametrize("category", [TRANSFER, TIMER], ids=["immediate", "scheduled"])
async def test_history_tasks(cell, namespace_id, category):
    """Keys of tasks in a shard: completed one by one, or as one range."""
    scheduled = category.type is CategoryType.SCHEDULED
    keys = [TaskKey(fire_time, task_id) for fire_time in (ENDS if scheduled else (0,)) for task_id in ENDS]
    store, last = cell.history_tasks, TaskKey(END if scheduled else 0, END)
    for single in (True, False):
        shard_id, written = await new_shard(cell), []
        for key in keys:
            task = {category: [HistoryTask(key, blob())]}
            try:
                await store.add_history_tasks(namespace_id, task, shard_id=shard_id, range_id=1)
            except InvalidPersistenceRequest:
                continue
            written.append(key)
        assert max(written) >= TaskKey(END - 1 if scheduled else 0, END - 1)

        async def page(token, shard_id=shard_id):
            found = await store.get_history_tasks(
                category, shard_id=shard_id, min_key=TaskKey(0, 0), max_key=last, batch_size=1, page_token=token
            )
            return found.tasks, found.next_page_token

        assert [task.key for task in await all_pages(page)] == sorted(written)
        if single:
            for key in written:
                await store.complete_history_task(category, key, shard_id=shard_id)
        else:
            await store.range_complete_history_tasks(category, shard_id=shard_id, min_key=TaskKey(0, 0), max_key=last)
        assert await all_pages(page) == []


async def test_history_nodes(cell, namespace_id, shard_id):
    """Ids and transactions of nodes, read both ways and deleted with their branch."""
    tree_id, branch_id = uuid4(), uuid4()
    branch = HistoryBranch(shard_id, tree_id, branch_id)
    written, previous = [], 0
    for node_id in (1, 2, END - 2, END - 1, END):
        txn_id = max(previous + 1, node_id)
        node = HistoryNode(node_id, txn_id, previous, blob())
        try:
            await cell.history.append_history_nodes(namespace_id, branch, [node], is_new_branch=node_id == 1)
        except InvalidPersistenceRequest:
            continue
        written, previous = [*written, node], txn_id
    assert [node.node_id for node in written] == [1, 2, END - 2, END - 1]
    assert previous == END - 1
    for reverse in (False, True):

        async def page(token, reverse=reverse):
            found = await cell.history.read_history_branch(
                namespace_id, branch, page_size=1, page_token=token, reverse=reverse
            )
            return found.nodes, found.next_page_token

        assert await all_pages(page) == (written[::-1] if reverse else written)
    fork = await cell.history.fork_history_branch(namespace_id, branch, fork_node_id=END - 1)
    assert list((await cell.history.read_history_branch(namespace_id, fork)).nodes) == written[:-1]
    last = HistoryNode(END - 1, END, written[-2].txn_id, blob())
    await cell.history.append_history_nodes(namespace_id, branch, [last])
    found = await cell.history.read_history_branch(namespace_id, branch)
    assert found.nodes[-1] == last
    await cell.history.trim_history_branch(namespace_id, branch, node_id=END - 1, txn_id=END)
    await cell.history.delete_history_branch(namespace_id, fork)
    await cell.history.delete_history_branch(namespace_id, branch)
    with pytest.raises(NotFound):
        await cell.history.read_history_branch(namespace_id, branch)


async def test_mutable_state(cell, namespace_id, shard_id):
    """Versions, event ids and the keys of maps of a run."""
    workflow = Workflow(cell, namespace_id, shard_id)
    keys = ("activity_infos", "child_execution_infos", "request_cancel_infos", "signal_infos")
    for version, write_version in ((END - 1, -END - 1), (END - 1, END), (1, 0)):
        maps = {name: {key: blob() for key in (0, END)} for name in keys}
        first = workflow.snapshot(
            next_event_id=END,
            last_write_version=write_version,
            db_record_version=version,
            execution_state=state(CREATED, start_time=abs(write_version) % END),
            **maps,
        )
        await workflow.create(first)
        assert await workflow.get(first.run_id) == accumulated(first)
        second = workflow.mutation(
            first.run_id,
            db_record_version=version + 1,
            next_event_id=END,
            last_write_version=write_version,
            delete_activity_infos=[0, END],
        )
        await workflow.update(second)
        assert await workflow.get(first.run_id) == accumulated(first, second)
        where = {"shard_id": shard_id}
        await cell.executions.delete_current_workflow_execution(
            namespace_id, workflow.workflow_id, first.run_id, archetype_id=0, **where
        )
        await cell.executions.delete_workflow_execution(namespace_id, workflow.workflow_id, first.run_id, **where)
        with pytest.raises(NotFound):
            await workflow.get(first.run_id)


async def test_queues(own_cell):
    """Bounds of reads and of deletions in queues, whose messages the database numbers."""
    queue, cell_queues = own_cell.namespace_replication_queue, own_cell.queues
    first = await queue.enqueue_message(blob())
    assert await queue.read_messages(last_message_id=END, max_count=1) == ()
    assert len(await queue.read_messages(last_message_id=-1, max_count=2**31 - 1)) == 1
    await queue.delete_messages_before(END)
    assert await queue.read_messages(last_message_id=first - 1, max_count=9) == ()
    await queue.enqueue_message_to_dlq(blob())
    bounds = {"first_message_id": -1, "last_message_id": END}
    assert len((await queue.read_messages_from_dlq(**bounds, page_size=9)).messages) == 1
    await queue.range_delete_messages_from_dlq(**bounds)
    assert (await queue.read_messages_from_dlq(**bounds, page_size=9)).messages == ()
    await cell_queues.create_queue(1, "ends")
    await cell_queues.enqueue_message(1, "ends", data=blob(), namespace_id=None)
    assert await cell_queues.range_delete_messages(1, "ends", last_message_id=END) in (0, 1)


async def test_versions_that_the_database_numbers(own_cell):
    """A version that a row never had is a conflict or refused, at the ends too, and never an error of the database."""
    for version in ENDS[1:]:
        for call in (
            own_cell.cluster_metadata.save_cluster_metadata("west", data=blob(), version=version),
            own_cell.nexus_endpoints.create_or_update_nexus_endpoint(
                NexusEndpoint(uuid4(), version, blob()), last_known_table_version=version
            ),
            own_cell.task_queue_user_data.update_task_queue_user_data(
                await new_namespace(own_cell), {"orders": UserDataUpdate(version, blob())}
            ),
        ):
            with pytest.raises(StrongroomError) as refused:
                await call
            assert "SQLSTATE" not in str(refused.value)
            assert not refused.value.may_have_been_committed


async def test_visibility(own_cell):
    """Versions, times and integers of records: listed, counted by conditions at both ends, and deleted."""
    cell = own_cell
    namespace = await cell.namespaces.create("ends", kek=KEK, search_attributes={"Amount": "Int"})
    types, where = {"Amount": AttributeType.INT}, namespace.namespace_id
    written = []
    for number, (version, amount, at) in enumerate(
        [(0, -END - 1, 0), (1, -END, 1), (END - 1, END - 1, END - 1), (END, END, END), (END, 0, -END - 1)]
    ):
        record = VisibilityRecord(
            workflow_id=f"w{number}",
            run_id=str(uuid4()),
            workflow_type="t",
            execution_status="Running",
            task_queue="q",
            start_time=at,
            execution_time=at,
            search_attributes={"Amount": amount},
        )
        try:
            await cell.visibility.record_workflow_executions(where, [(1, version, record)], types)
        except (InvalidPersistenceRequest, InvalidRecord):
            continue
        written.append((record, version))
    assert {record.search_attributes["Amount"] for record, _ in written} >= {-END, END - 1, END}

    async def page(token, query=""):
        found = await cell.visibility.list_workflow_executions(where, query, types, page_size=1, page_token=token)
        return found.executions, found.next_page_token

    listed = await all_pages(page)
    assert {each.run_id for each in listed} == {record.run_id for record, _ in written}
    for record, _ in written:
        amount = record.search_attributes["Amount"]
        for query in (f"Amount = {amount}", f"Amount >= {amount} AND Amount <= {amount}"):
            found = await all_pages(lambda token, query=query: page(token, query))
            assert [each.run_id for each in found] == [record.run_id], query
    for record, version in written:
        await cell.visibility.delete_workflow_execution(
            where, shard_id=1, workflow_id=record.workflow_id, run_id=record.run_id, version=version
        )
    assert await all_pages(page) == []
