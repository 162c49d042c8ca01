"""The example of a worker with the payload codec runs a workflow on a Temporal server, which sees no payload."""

from __future__ import annotations

import asyncio
import sys
from base64 import b64encode
from contextlib import ExitStack

from examples.temporal.processes import run, start, stopped_at_the_end
from examples.temporal.scene import connected, prepare, until
from tests.support.tree import ROOT

PROGRAM = ROOT / "examples" / "worker" / "worker.py"
NAMESPACE = "greetings"
IN_CLEAR = b64encode(b'"Ana Ruiz"').decode()
"""A payload in the JSON of a history."""


async def test_a_workflow_of_the_example(temporal_stack, tmp_path):
    """Its result opens with the keys of the namespace. Its history, as the server has it, has no name."""
    address = temporal_stack.server.address
    await prepare(await connected(address, "default"), NAMESPACE)
    command = [sys.executable, PROGRAM, temporal_stack.cell.config, NAMESPACE, "--address", address]
    client = await connected(address, NAMESPACE)
    with ExitStack() as stack:
        stopped_at_the_end(stack, start("worker", command, tmp_path))
        assert await asyncio.to_thread(run, [*command, "--start", "Ana Ruiz"], tmp_path) == "Hello, Ana Ruiz\n"
    listed = []

    async def is_listed() -> bool:  # the server records a run in its own time
        listed[:] = [each.id async for each in client.list_workflows("ExecutionStatus = 'Completed'")]
        return bool(listed)

    await until(is_listed, "the run in a list")
    sealed = (await client.get_workflow_handle(*listed).fetch_history()).to_json()
    assert "EVENT_TYPE_WORKFLOW_EXECUTION_COMPLETED" in sealed
    plain = await client.start_workflow("Greeting", "Ana Ruiz", id="plain", task_queue="nobody")
    for history, shown in ((sealed, False), ((await plain.fetch_history()).to_json(), True)):
        assert (IN_CLEAR in history) == shown
