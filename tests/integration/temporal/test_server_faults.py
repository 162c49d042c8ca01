"""Workflows end as without a fault, whatever happens to `strongroom serve` while they run."""

from __future__ import annotations

import asyncio
import os
import re
import signal
from datetime import timedelta

import pytest
from temporalio import activity, workflow
from temporalio.client import Client
from temporalio.service import RPCError, RPCStatusCode
from temporalio.worker import UnsandboxedWorkflowRunner, Worker

from examples.temporal.scene import connected, prepare
from tests.integration.temporal.conftest import running_stack

WORKFLOWS = 8
STEPS = 3
QUEUE = "faults"
PATIENCE = 240
"""Time until all workflows have ended, in seconds."""


@activity.defn
async def step(number: int) -> int:
    """Return the number."""
    return number


@workflow.defn
class Steps:
    """Runs activities one after the other. A lost answer of one is noticed after five seconds."""

    @workflow.run
    async def run(self) -> list[int]:
        """Return the numbers of the activities."""
        limit = timedelta(seconds=5)
        return [await workflow.execute_activity(step, number, start_to_close_timeout=limit) for number in range(STEPS)]


@pytest.fixture(scope="module")
def broken_stack(temporal_binary, tmp_path_factory):
    """A cell and a server whose workers the tests of this file kill."""
    with running_stack(temporal_binary, tmp_path_factory.mktemp("faults")) as running:
        yield running


def kill_workers(stack):
    """Kill every worker; the supervisor starts them again."""
    log = (stack.cell.folder / f"{stack.cell.name}.log").read_text()
    for worker in range(stack.cell.workers):
        os.kill(int(re.findall(rf"worker {worker} serves, process (\d+)", log)[-1]), signal.SIGKILL)


def kill_serve(stack):
    """Kill the supervisor, and start `strongroom serve` again."""
    stack.cell.process.stop(signal.SIGKILL)
    stack.cell.serve()


def other_workers(stack):
    """Restart `strongroom serve` in order, with another number of workers."""
    stack.cell.stop()
    stack.cell.workers = 3 if stack.cell.workers == 1 else 1
    stack.cell.serve()


async def result_of(handle):
    """Return a workflow's result. The SDK gives up too early while the server acquires its shards again."""
    while True:
        try:
            return await handle.result()
        except RPCError as error:
            if error.status is not RPCStatusCode.UNAVAILABLE:
                raise


@pytest.mark.parametrize("harm", [kill_workers, kill_serve, other_workers])
async def test_workflows_end_as_without_a_fault(broken_stack, harm):
    """Every workflow that was started before the fault ends with its result."""
    address = broken_stack.server.address
    await prepare(await connected(address, "default"), "faults")
    client = await Client.connect(address, namespace="faults")
    async with (
        asyncio.timeout(PATIENCE),
        Worker(
            client,
            task_queue=QUEUE,
            workflows=[Steps],
            activities=[step],
            workflow_runner=UnsandboxedWorkflowRunner(),
        ),
    ):
        handles = [
            await client.start_workflow(Steps.run, id=f"{harm.__name__}-{number}", task_queue=QUEUE)
            for number in range(WORKFLOWS)
        ]
        await asyncio.to_thread(harm, broken_stack)
        results = await asyncio.gather(*(result_of(handle) for handle in handles))
    assert results == [list(range(STEPS))] * WORKFLOWS
