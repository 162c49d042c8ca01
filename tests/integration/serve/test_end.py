from __future__ import annotations

import asyncio

import msgspec
import pytest

from strongroom.storage.executions.modes import CreateMode
from strongroom.storage.executions.requests import CreateWorkflowExecutionRequest
from tests.support.fixtures.executions import ZOMBIE
from tests.support.serve.client import PING, REFUSED, CallError, Client, frame
from tests.support.serve.locks import locked
from tests.support.serve.running import serving

pytestmark = pytest.mark.integration


async def test_a_drained_server_answers_the_calls_that_it_has(served_cell, remote_workflow):
    """Writes in flight end and are answered, then the connection closes. A later call is refused as not started."""
    async with serving(served_cell) as running:
        client = await Client.open(running.path)
        async with locked(served_cell):
            snapshots = [remote_workflow.snapshot(of=ZOMBIE) for _ in range(20)]
            answers = [start(client, remote_workflow, snapshot) for snapshot in snapshots]
            await received(client)
            draining = asyncio.create_task(running.server.drain(60))
            await asyncio.wait_for(client.goaway.wait(), 60)
            late = start(client, remote_workflow, remote_workflow.snapshot(of=ZOMBIE))
            with pytest.raises(CallError) as refused:
                await asyncio.wait_for(late, 60)
        assert await asyncio.wait_for(asyncio.gather(*answers), 60) == [b"\xc0"] * 20
        await asyncio.wait_for(draining, 60)
        await asyncio.wait_for(client.closed.wait(), 60)
        await client.aclose()
    assert refused.value.kinds == ["Unavailable", "StrongroomError"]
    assert (refused.value.retryable, refused.value.may_have_been_committed) == (True, False)
    for snapshot in snapshots:
        await remote_workflow.get(snapshot.run_id)


async def test_a_drained_server_takes_no_connection(served_cell):
    """A connection that is not welcomed yet gets the reason."""
    async with serving(served_cell) as running:
        new = Client(*await asyncio.open_unix_connection(running.path))
        idle = await Client.open(running.path)
        await running.server.drain(60)
        kind, _, message = await new.read()
        assert kind == REFUSED
        assert msgspec.msgpack.decode(message)["kind"] == "ShuttingDown"
        await asyncio.wait_for(idle.closed.wait(), 60)
        assert idle.goaway.is_set()
        await asyncio.gather(new.aclose(), idle.aclose())


async def test_calls_that_do_not_end_in_time_are_given_up(served_cell, remote_workflow):
    """At the end of the time the client learns that its writes may have been committed."""
    async with serving(served_cell) as running:
        client = await Client.open(running.path)
        async with locked(served_cell):
            answer = start(client, remote_workflow, remote_workflow.snapshot(of=ZOMBIE))
            await received(client)
            await running.server.drain(0.2)
            with pytest.raises(CallError) as given_up:
                await asyncio.wait_for(answer, 60)
        assert given_up.value.kinds[0] == "Timeout"
        assert given_up.value.may_have_been_committed
        await asyncio.wait_for(client.closed.wait(), 60)
        await client.aclose()


def start(client, workflow, snapshot):
    """Send a create; return the future of its answer."""
    request = CreateWorkflowExecutionRequest(
        shard_id=workflow.shard_id, range_id=1, mode=CreateMode.BYPASS_CURRENT, new_workflow_snapshot=snapshot
    )
    return client.start("executions.create_workflow_execution", request=request)[1]


async def received(client):
    """Wait until the server has received the calls so far: it answers a ping that was sent after them."""
    client.writer.write(frame(PING, 0, b""))
    await asyncio.wait_for(client.ponged.wait(), 60)
