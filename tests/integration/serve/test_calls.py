from __future__ import annotations

from dataclasses import fields
from datetime import UTC, datetime, timedelta
from uuid import uuid4

import pytest

from strongroom.storage import (
    EVERY_NAMESPACE,
    CurrentWorkflowConditionFailed,
    DataBlob,
    ServiceRole,
    ShardInfo,
    TaskKey,
    TaskQueue,
    TaskQueueKey,
    WorkflowConditionFailed,
)
from strongroom.storage.executions.modes import CreateMode
from strongroom.storage.executions.tasks import TRANSFER
from strongroom.visibility import AttributeType
from tests.support.fixtures.executions import CATEGORIES, COMPLETED, accumulated, blob, state
from tests.support.search_cell import record
from tests.support.serve.client import CallError
from tests.support.shredding import shred

pytestmark = pytest.mark.integration


async def test_a_run_is_the_same_on_both_sides(serve_client, remote_workflow):
    """Every part of a run's state, its history and its tasks arrive as they were sent, and are read as the store returns them."""
    run_id = uuid4()
    full = remote_workflow.full(run_id)
    events = remote_workflow.events(run_id)
    await remote_workflow.create(full, new_workflow_new_events=events)
    mutation = remote_workflow.mutation(
        run_id,
        upsert_activity_infos={7: blob()},
        delete_activity_infos=[5],
        upsert_signal_requested_ids={"signal c"},
        new_buffered_events=blob(),
    )
    await remote_workflow.update(mutation)
    assert await remote_workflow.get(run_id) == accumulated(full, mutation)
    page = await serve_client.call(
        "history.read_history_branch", namespace_id=remote_workflow.namespace_id, branch=remote_workflow.branch(run_id)
    )
    assert page == {"nodes": [[1, 1, 0, [*events[0].nodes[0].events]]], "next_page_token": None}
    for category in CATEGORIES:
        assert [task.blob for task in await remote_workflow.stored_tasks(category)] == [
            task.blob for task in full.tasks[category]
        ]
    current = await remote_workflow.current()
    assert (current.run_id, current.execution_state.blob) == (run_id, mutation.execution_state.blob)


async def test_a_large_run_arrives_in_parts(remote_workflow):
    """A request and an answer of several mebibytes are the same after their many frames."""
    run_id = uuid4()
    full = remote_workflow.snapshot(run_id, activity_infos={number: blob(2**20) for number in range(5)})
    await remote_workflow.create(full)
    assert await remote_workflow.get(run_id) == accumulated(full)


async def test_a_shard_is_created_once(remote):
    """The function that makes a shard is the shard itself on the wire. The loser of a race gets the first one's row."""
    first, second = ShardInfo(16000, 1, DataBlob(b"first")), ShardInfo(16000, 2, DataBlob(b"second"))
    with pytest.raises(CallError) as missing:
        await remote.shards.get_or_create_shard(16000)
    assert missing.value.kinds == ["NotFound", "StorageError", "StrongroomError"]
    assert missing.value.message == "shard 16000 does not exist yet"
    assert await remote.shards.get_or_create_shard(16000, lambda: first) == first
    assert await remote.shards.get_or_create_shard(16000, lambda: second) == first


async def test_times_and_spans(remote):
    """A time is a timestamp and a span an ISO 8601 duration, to the microsecond."""
    host_id, start = uuid4(), datetime(2026, 11, 30, 12, 0, 0, 123456, UTC)
    await remote.cluster_metadata.upsert_cluster_membership(
        host_id=host_id,
        role=ServiceRole.HISTORY,
        rpc_address="10.0.0.1",
        rpc_port=7234,
        session_start=start,
        record_expiry=timedelta(seconds=3600.5),
    )
    (member,) = (await remote.cluster_metadata.get_cluster_members(host_id=host_id, page_size=10)).members
    assert (member.session_start, member.role) == (start, ServiceRole.HISTORY)
    assert member.record_expiry - member.last_heartbeat == timedelta(seconds=3600.5)


async def test_task_queues_and_their_tasks(remote, served_namespace):
    """A queue is a map, its key an array or a map as its type is, and tasks are read as they were written."""
    queue = TaskQueueKey(served_namespace, "orders", 1)
    await remote.tasks.create_task_queue(TaskQueue(queue, 1, DataBlob(b"owner")))
    assert (await remote.tasks.get_task_queue(queue)).info == DataBlob(b"owner")


async def test_visibility(remote, served_namespace):
    """Records are written and found through the wire; search attributes keep their types."""
    types = {"Customer": AttributeType.KEYWORD, "Total": AttributeType.DOUBLE, "Tags": AttributeType.KEYWORD_LIST}
    run = record(7)._replace(search_attributes={"Customer": "c-7", "Total": 2.5, "Tags": ("a", "b")})
    assert await remote.visibility.record_workflow_executions(served_namespace, [(1, 1, run)], types) == 1
    page = await remote.visibility.list_workflow_executions(served_namespace, "Customer = 'c-7'", types)
    assert page.executions == (run,)
    got = await remote.visibility.get_workflow_execution(
        served_namespace, shard_id=1, workflow_id=run.workflow_id, run_id=run.run_id
    )
    assert got == run
    with pytest.raises(CallError) as invalid:
        await remote.visibility.list_workflow_executions(served_namespace, "Customer = ", types)
    assert invalid.value.kinds[:2] == ["MalformedQuery", "InvalidQuery"]
    assert isinstance(invalid.value.fields["position"], int)


async def test_a_lost_shard(remote_workflow):
    """The error names the shard by Temporal's number, in its field and in its message."""
    await remote_workflow.create()
    with pytest.raises(CallError) as lost:
        await remote_workflow.like(range_id=9).create()
    assert lost.value.kinds == ["ShardOwnershipLost", "ConditionFailed", "StorageError", "StrongroomError"]
    assert lost.value.fields == {"shard_id": remote_workflow.shard_id}
    assert f"shard {remote_workflow.shard_id} has another owner" in lost.value.message
    assert not lost.value.may_have_been_committed


async def test_a_run_at_another_version(remote_workflow):
    """The error has the stored numbers, which Temporal compares."""
    created = await remote_workflow.create()
    with pytest.raises(CallError) as failed:
        await remote_workflow.update(remote_workflow.mutation(created.run_id, db_record_version=7))
    assert failed.value.kinds[0] == WorkflowConditionFailed.__name__
    assert failed.value.fields == {"next_event_id": 3, "db_record_version": 1}


async def test_another_current_run(remote_workflow):
    """The error describes the current run, with the blob that Temporal reads its request ids from."""
    started = state(COMPLETED)
    created = await remote_workflow.create(remote_workflow.snapshot(execution_state=started))
    with pytest.raises(CallError) as failed:
        await remote_workflow.create(mode=CreateMode.BRAND_NEW)
    assert failed.value.kinds[0] == CurrentWorkflowConditionFailed.__name__
    assert failed.value.fields == {
        "run_id": created.run_id.bytes,
        "create_request_id": started.create_request_id,
        "state": int(started.state),
        "status": int(started.status),
        "last_write_version": 10,
        "start_time": started.start_time,
        "execution_state": [started.blob.data, int(started.blob.encoding)],
    }


async def test_a_row_that_does_not_open(served_cell, serve_client, remote_workflow):
    """A page has the reason why a row does not open as the map of an error, and whether it can never be opened."""
    await remote_workflow.create(remote_workflow.full())
    # As a crash would leave it between destroying the keys and deleting the rows.
    async with served_cell.database.connection(EVERY_NAMESPACE) as connection:
        kept = await connection.fetch(
            "SELECT * FROM history_tasks WHERE namespace_id = $1", remote_workflow.namespace_id
        )
    await shred(served_cell, remote_workflow.namespace_id)
    async with served_cell.database.connection(EVERY_NAMESPACE) as connection:
        for row in kept:
            await connection.execute("INSERT INTO history_tasks VALUES ($1, $2, $3, $4, $5, $6)", *row.values())
    page = await serve_client.call(
        "history_tasks.get_history_tasks",
        category=TRANSFER,
        shard_id=remote_workflow.shard_id,
        min_key=TaskKey(0, 0),
        max_key=TaskKey(0, 2**62),
        batch_size=10,
    )
    assert page["tasks"] == []
    (unreadable,) = page["unreadable"]
    assert unreadable["namespace_id"] == remote_workflow.namespace_id.bytes
    assert unreadable["reason"]["kinds"][0] == "KeyDestroyed"
    assert unreadable["reason"]["permanent"] is True


@pytest.mark.parametrize(
    ("operation", "arguments", "message"),
    [
        ("shards.no_such_operation", {}, "there is no operation 'shards.no_such_operation'"),
        ("", {}, "there is no operation ''"),
        ("shards.get_or_create_shard", {}, "missing required field `shard_id`"),
        ("shards.get_or_create_shard", {"shard_id": "1"}, "Expected `int`, got `str`"),
        ("shards.get_or_create_shard", {"shard_id": 1, "shard": 1}, "unknown field `shard`"),
        ("shards.update_shard", {"shard": [1, 2], "previous_range_id": 1}, "Expected `object`, got `array`"),
        ("history.append_history_nodes", {"transaction": 1}, "unknown field `transaction`"),
        ("executions.create_workflow_execution", {"barrier": 1}, "unknown field `barrier`"),
        ("namespaces.create", {"name": "a", "kek": "no-uri"}, "a KEK must be written PROVIDER:KEY"),
    ],
)
async def test_a_call_that_is_not_of_the_table(serve_client, operation, arguments, message):
    """The client gets an error that says what does not fit, and can go on."""
    with pytest.raises(CallError) as refused:
        await serve_client.call(operation, **arguments)
    assert refused.value.kinds[0] in ("InvalidPersistenceRequest", "InvalidRequest")
    assert not refused.value.may_have_been_committed
    assert message in refused.value.message
    with pytest.raises(CallError, match="does not exist yet"):
        await serve_client.call("shards.get_or_create_shard", shard_id=16001)


@pytest.mark.parametrize("changes", [{"hashes": (1,)}, {"hashes": (None,) * 7}, {"id": b"short"}, {"id": bytes(17)}])
async def test_a_visibility_row_of_another_form_is_refused(remote_workflow, changes):
    """A row whose parts have another length is refused as a request, and is no defect of the server."""
    with pytest.raises(CallError, match="a visibility record has an id of 16 bytes") as refused:
        await remote_workflow.create(visibility=[remote_workflow.record(**changes)])
    assert refused.value.kinds[0] == "InvalidPersistenceRequest"


async def test_an_unknown_field_within_a_value_is_refused(serve_client, remote_workflow):
    """A field that only a newer client knows is not left out silently: its value would be lost."""
    snapshot = remote_workflow.full()
    request = {
        "shard_id": remote_workflow.shard_id,
        "range_id": 1,
        "mode": 0,
        "new_workflow_snapshot": {
            **{field.name: getattr(snapshot, field.name) for field in fields(snapshot)},
            "new_in_temporal": 1,
        },
    }
    for _ in range(2):  # the connection has made a hundred calls of the operation before the second one
        with pytest.raises(CallError, match=r"unknown field `new_in_temporal`.*differ in version") as refused:
            await serve_client.call("executions.create_workflow_execution", request=request)
        assert refused.value.kinds[0] == "InvalidPersistenceRequest"
        assert not refused.value.may_have_been_committed
        # With the range id of another owner, so that nothing is written.
        known = {**request, "new_workflow_snapshot": snapshot, "range_id": 77}
        for _ in range(100):
            with pytest.raises(CallError, match="another owner"):
                await serve_client.call("executions.create_workflow_execution", request=known)


async def test_a_value_of_the_client_is_not_repeated(serve_client):
    """A tenant's text at the place of another type is in no message, because messages are logged."""
    written = "customer 4711"
    for types in ({"Total": written}, {written: 7}, {"Total": {"name": written, "type": written}}):
        with pytest.raises(CallError) as refused:
            await serve_client.call(
                "visibility.count_workflow_executions", namespace_id=uuid4(), query=written, types=types
            )
        assert written not in refused.value.message
