"""Tenants of one Temporal server: two of its namespaces have their KEKs in another keyring, which a test can take away."""

from __future__ import annotations

import asyncio
import re
from collections import Counter
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING

import httpx
from google.protobuf.duration_pb2 import Duration
from temporalio import activity, workflow
from temporalio.api.common.v1 import WorkflowExecution, WorkflowType
from temporalio.api.taskqueue.v1 import TaskQueue
from temporalio.api.workflowservice.v1 import (
    CountWorkflowExecutionsRequest,
    DescribeWorkflowExecutionRequest,
    GetWorkflowExecutionHistoryRequest,
    ListWorkflowExecutionsRequest,
    RegisterNamespaceRequest,
    SignalWorkflowExecutionRequest,
    StartWorkflowExecutionRequest,
    TerminateWorkflowExecutionRequest,
)
from temporalio.service import RPCError, RPCStatusCode
from temporalio.worker import UnsandboxedWorkflowRunner, Worker

from examples.temporal.scene import connected, until
from strongroom.driver.config import load_config
from strongroom.driver.strongroom import Strongroom
from strongroom.kms import KekRef

if TYPE_CHECKING:
    from temporalio.client import Client

    from tests.integration.temporal.conftest import TemporalStack

WORKFLOWS = 6
"""Workflows of a tenant, so that both tenants have some on most shards."""
PAUSE = 5.0
"""The timer of a workflow, in seconds: longer than keys are cached, so that it is due during an outage."""
PATIENCE = 240
QUEUE = "tenants"
TYPED = {RPCStatusCode.RESOURCE_EXHAUSTED, RPCStatusCode.UNAVAILABLE}
ran: Counter[tuple[str, int]] = Counter()
"""How often each activity of each workflow was run."""


@activity.defn
async def step(number: int) -> int:
    """Count the run, and return the number."""
    ran[activity.info().workflow_id, number] += 1
    return number


@workflow.defn
class Work:
    """Runs an activity, waits for a timer, and runs another activity."""

    @workflow.run
    async def run(self, pause: float) -> list[int]:
        """Return the numbers of the activities."""
        limit = timedelta(seconds=5)
        first = await workflow.execute_activity(step, 1, start_to_close_timeout=limit)
        await workflow.sleep(pause)
        return [first, await workflow.execute_activity(step, 2, start_to_close_timeout=limit)]


@dataclass(frozen=True, slots=True)
class Tenants:
    """A running stack, with the file of the second keyring and the address of the metrics."""

    stack: TemporalStack
    metrics: str

    @property
    def keyring(self):
        """The keyring of the tenants whose KMS can be taken away."""
        return self.stack.cell.folder / "other-keyring.json"

    def failed_calls(self):
        """Return the number of failed calls of the stores so far, by operation."""
        failed = Counter()
        for labels, number in self._samples("strongroom_call_duration"):
            if labels.get("error_type"):
                failed[f"{labels['strongroom_store']}.{labels['strongroom_operation']}"] += number
        return failed

    def kms_calls(self):
        """Return the number of failed calls of a KMS so far."""
        return sum(
            number for labels, number in self._samples("strongroom_kms_call_duration") if labels.get("error_type")
        )

    async def failures(self, seconds):
        """Return how many calls of each operation fail in a time, and how many calls of a KMS."""
        before, kms = self.failed_calls(), self.kms_calls()
        await asyncio.sleep(seconds)
        return self.failed_calls() - before, self.kms_calls() - kms

    def _samples(self, name):
        text = httpx.get(self.metrics).text
        samples = re.findall(rf"^{name}\w*_count\{{(.*)\}} (\S+)$", text, re.MULTILINE)
        assert samples, f"the metrics have no {name}, so that no failure would be counted"
        for labels, number in samples:
            yield dict(re.findall(r'(\w+)="([^"]*)"', labels)), int(float(number))


async def registered(tenants: Tenants, name: str, kek: str | None = None) -> Client:
    """Register a namespace, and return a client in it."""
    address = tenants.stack.server.address
    if kek is not None:
        async with Strongroom.open(load_config(tenants.stack.cell.config)) as strongroom:
            await strongroom.create_kek(KekRef.parse(kek))
    service = (await connected(address, "default")).workflow_service
    await service.register_namespace(
        RegisterNamespaceRequest(
            namespace=name,
            workflow_execution_retention_period=Duration(seconds=86400),
            data={} if kek is None else {"strongroom.kek": kek},
        ),
        retry=True,
    )
    client = await connected(address, name)

    async def known() -> bool:
        try:
            await client.count_workflows()
        except RPCError as error:
            if error.status is not RPCStatusCode.NOT_FOUND:
                raise
            return False
        return True

    await until(known, f"the registration of {name}")
    return client


@asynccontextmanager
async def working(*clients: Client):
    """Run a worker in each namespace."""
    workers = [
        Worker(
            client,
            task_queue=QUEUE,
            workflows=[Work],
            activities=[step],
            workflow_runner=UnsandboxedWorkflowRunner(),
            graceful_shutdown_timeout=timedelta(0),
        )
        for client in clients
    ]
    async with asyncio.timeout(PATIENCE):
        for worker in workers:
            await worker.__aenter__()
        try:
            yield
        finally:
            for worker in workers:
                await worker.__aexit__(None, None, None)


async def started(client: Client, name: str, pause: float, number: int = WORKFLOWS):
    """Start workflows, and wait until each has run its first activity."""
    handles = await asyncio.gather(
        *(
            client.start_workflow(Work.run, pause, id=f"{client.namespace}-{name}-{each}", task_queue=QUEUE)
            for each in range(number)
        )
    )

    async def began() -> bool:
        return all(ran[handle.id, 1] for handle in handles)

    await until(began, "the first activity of each workflow")
    return handles


async def finished(handles) -> None:
    """Wait for workflows, and check their results. The SDK gives up too early while a namespace has no keys."""

    async def result(handle):
        while True:
            try:
                return await handle.result()
            except RPCError as error:
                if error.status not in TYPED:
                    raise

    assert handles
    results = await asyncio.gather(*(result(handle) for handle in handles))
    assert results == [[1, 2]] * len(handles)


async def statuses(client: Client, workflow_id: str) -> dict[str, RPCStatusCode | None]:
    """Return how the server answers the calls of a tenant; None for a call that succeeds.

    A description of the namespace is not among them: the server answers it from what it read last.
    """
    service, namespace = client.workflow_service, client.namespace
    run = WorkflowExecution(workflow_id=workflow_id)
    calls = {
        "start": service.start_workflow_execution(
            StartWorkflowExecutionRequest(
                namespace=namespace,
                workflow_id="another",
                workflow_type=WorkflowType(name="Work"),
                task_queue=TaskQueue(name=QUEUE),
                request_id="another",
            ),
            retry=False,
        ),
        "signal": service.signal_workflow_execution(
            SignalWorkflowExecutionRequest(namespace=namespace, workflow_execution=run, signal_name="s"), retry=False
        ),
        "terminate": service.terminate_workflow_execution(
            TerminateWorkflowExecutionRequest(namespace=namespace, workflow_execution=run), retry=False
        ),
        "describe": service.describe_workflow_execution(
            DescribeWorkflowExecutionRequest(namespace=namespace, execution=run), retry=False
        ),
        "history": service.get_workflow_execution_history(
            GetWorkflowExecutionHistoryRequest(namespace=namespace, execution=run), retry=False
        ),
        "list": service.list_workflow_executions(ListWorkflowExecutionsRequest(namespace=namespace), retry=False),
        "count": service.count_workflow_executions(CountWorkflowExecutionsRequest(namespace=namespace), retry=False),
    }
    answers = {}
    for name, call in calls.items():
        try:
            await call
            answers[name] = None
        except RPCError as error:
            answers[name] = error.status
    return answers
