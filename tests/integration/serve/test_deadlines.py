from __future__ import annotations

import asyncio
import inspect
from uuid import UUID, uuid4

import pytest

from strongroom.driver.serve.arguments import LOCAL
from strongroom.driver.stores import STORE_OPERATIONS, STORES
from strongroom.kms import KekRef
from strongroom.storage import DataBlob, NexusEndpoint, ShardInfo
from strongroom.storage.executions.modes import CreateMode, WorkflowState, WorkflowStatus
from strongroom.storage.executions.requests import CreateWorkflowExecutionRequest
from tests.support.bad_values import Samples
from tests.support.fixtures.contract import new_namespace
from tests.support.fixtures.executions import ZOMBIE
from tests.support.search_cell import TYPES, record
from tests.support.serve.client import CALL, CANCEL, PING, CallError, call_message, frame
from tests.support.serve.locks import locked

pytestmark = pytest.mark.integration

TIMEOUT = ["Timeout", "Unavailable", "StrongroomError"]


@pytest.fixture(scope="module")
async def valid_arguments(served_cell):
    """A function that returns valid arguments of an operation, with every optional part in them."""
    namespace_id = await new_namespace(served_cell)
    known = {
        "kek": KekRef.parse("local:contract"),
        "types": TYPES,
        "shard": ShardInfo(7, 2, DataBlob(b"x")),
        "endpoint": NexusEndpoint(uuid4(), 0, DataBlob(b"x")),
        "records": [(1, 1, record(7))],
        "end_node": 5,
        "node_id": 5,
        "fork_node_id": 7,
        "fire_time": 0,
        "region": None,
        "rpc_address": "10.0.0.1",
        "visibility": [],
        "current_workflow_mutation": None,
        UUID: namespace_id,
        WorkflowState: WorkflowState.CREATED,
        WorkflowStatus: WorkflowStatus.RUNNING,
    } | dict.fromkeys(
        ("new_workflow_new_events", "new_workflow_events_new_events", "current_workflow_events_new_events"), ()
    )

    def arguments(name):
        store, _, method = name.partition(".")
        passes = dict.fromkeys(("task_pass", "max_pass"), int(store == "fair_tasks"))
        one_run = {} if method == "create_workflow_execution" else {"new_workflow_snapshot": None}
        return Samples(known | passes | one_run).arguments(getattr(getattr(served_cell, store), method))

    return arguments


WRITES = sorted(name for name, operation in STORE_OPERATIONS.items() if operation.activity != "read")
READS = sorted(name for name, operation in STORE_OPERATIONS.items() if operation.activity == "read")
METHODS = {operation.name: getattr(store.type, operation.method) for store in STORES for operation in store.operations}


async def test_every_write_that_is_given_up_may_have_been_committed(served_cell, serve_client, valid_arguments):
    """A write whose deadline passed is never reported as "not committed". These are all operations that write."""
    async with locked(served_cell):
        answers = await asyncio.gather(*(outcome(serve_client, name, valid_arguments(name)) for name in WRITES))
    faults = [
        f"{name}: {answer}"
        for name, answer in zip(WRITES, answers, strict=True)
        if not (isinstance(answer, CallError) and answer.kinds == TIMEOUT and answer.may_have_been_committed)
    ]
    assert not faults, "\n".join(faults)


async def test_a_read_that_is_given_up(served_cell, serve_client, valid_arguments):
    """A read has no effect, so it is never reported as possibly committed."""
    async with locked(served_cell):
        answer = await outcome(
            serve_client, "executions.get_workflow_execution", valid_arguments("executions.get_workflow_execution")
        )
    assert (answer.kinds, answer.may_have_been_committed, answer.retryable) == (TIMEOUT, False, True)


async def test_writes_with_short_deadlines(remote_workflow, serve_client):
    """Each write either has its answer, or may have been committed. What is stored agrees with the answers."""
    requests = [remote_workflow.snapshot(of=ZOMBIE) for _ in range(60)]
    answers = await asyncio.gather(
        *(
            create(serve_client, remote_workflow, snapshot, milliseconds=1 + number)
            for number, snapshot in enumerate(requests)
        )
    )
    for snapshot, answer in zip(requests, answers, strict=True):
        stored = await exists(remote_workflow, snapshot.run_id)
        assert stored or answer is not None
        assert answer is None or answer.kinds == TIMEOUT
        assert answer is None or answer.may_have_been_committed or not stored


async def test_a_write_that_is_cancelled(served_cell, remote_workflow, serve_client):
    """The caller's CANCEL is answered at once, and the answer leaves open whether the write was committed. The connection goes on."""
    async with locked(served_cell):
        call_id, answer = start(serve_client, remote_workflow, remote_workflow.snapshot(of=ZOMBIE))
        await in_flight(serve_client)
        serve_client.writer.write(frame(CANCEL, call_id, b""))
        with pytest.raises(CallError) as cancelled:
            await asyncio.wait_for(answer, 60)
    assert (cancelled.value.kinds, cancelled.value.may_have_been_committed) == (TIMEOUT, True)
    await remote_workflow.create()


async def test_a_call_that_is_cancelled_in_the_same_breath(remote_workflow, serve_client):
    """A write that was cancelled before it started was not committed, and leaves nothing behind."""
    snapshot = remote_workflow.snapshot(of=ZOMBIE)
    call_id, answer = start(serve_client, remote_workflow, snapshot)
    serve_client.writer.write(frame(CANCEL, call_id, b""))
    with pytest.raises(CallError) as cancelled:
        await asyncio.wait_for(answer, 60)
    assert cancelled.value.kinds == TIMEOUT
    assert cancelled.value.may_have_been_committed or not await exists(remote_workflow, snapshot.run_id)


async def test_a_call_that_is_cancelled_before_its_last_part(serve_client):
    """The parts are forgotten, the caller gets an answer, and its id can be used again."""
    message = call_message("shards.get_or_create_shard", {"shard_id": 16384})
    serve_client.writer.write(frame(CALL, 900, message[:5], is_last=False) + frame(CANCEL, 900, b""))
    with pytest.raises(CallError) as cancelled:
        await asyncio.wait_for(serve_client.expect(900), 60)
    assert (cancelled.value.kinds, cancelled.value.may_have_been_committed) == (TIMEOUT, False)
    serve_client.writer.write(frame(CALL, 900, message))
    with pytest.raises(CallError, match="shard 16384 does not exist yet"):
        await asyncio.wait_for(serve_client.expect(900), 60)


async def test_a_cancel_of_nothing_is_ignored(serve_client):
    """The answer may have crossed the CANCEL."""
    serve_client.writer.write(frame(CANCEL, 901, b""))
    with pytest.raises(CallError, match="shard 16384 does not exist yet"):
        await serve_client.call("shards.get_or_create_shard", shard_id=16384)


def start(client, workflow, snapshot, milliseconds=0):
    """Send a create; return the call's id and the future of its answer."""
    request = CreateWorkflowExecutionRequest(
        shard_id=workflow.shard_id, range_id=1, mode=CreateMode.BYPASS_CURRENT, new_workflow_snapshot=snapshot
    )
    return client.start("executions.create_workflow_execution", request=request, milliseconds=milliseconds)


async def create(client, workflow, snapshot, milliseconds):
    """Create a run; return the error, or None if there is none."""
    try:
        await asyncio.wait_for(start(client, workflow, snapshot, milliseconds)[1], 60)
    except CallError as error:
        return error
    return None


async def exists(workflow, run_id):
    """Return whether a run is stored."""
    try:
        await workflow.get(run_id)
    except CallError as error:
        if error.kinds[0] == "NotFound":
            return False
        raise
    return True


async def in_flight(client):
    """Wait until the server has received the calls so far: it answers a ping that was sent after them."""
    client.writer.write(frame(PING, 0, b""))
    await asyncio.wait_for(client.ponged.wait(), 60)


async def outcome(client, name, arguments):
    """Call an operation with a deadline; return its answer or its error."""
    sent = {key: value for key, value in arguments.items() if key not in LOCAL and key in parameters(name)}
    if "kek" in sent:
        sent["kek"] = str(sent["kek"])
    try:
        return await client.call(name, milliseconds=1500, **sent)
    except CallError as error:
        return error


def parameters(name):
    """Return the names of the parameters of an operation."""
    return set(inspect.signature(inspect.unwrap(METHODS[name])).parameters)
