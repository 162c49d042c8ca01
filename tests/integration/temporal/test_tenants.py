"""What happens to one tenant does not stop the others: its KMS is away, it is shredded, or one of its tasks is damaged."""

from __future__ import annotations

import asyncio
import json
import re
from collections import Counter
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING
from urllib.parse import urlsplit
from uuid import UUID

import asyncpg
import httpx
import pytest
from google.protobuf.duration_pb2 import Duration
from temporalio import activity, workflow
from temporalio.api.common.v1 import WorkflowExecution, WorkflowType
from temporalio.api.enums.v1 import EventType
from temporalio.api.operatorservice.v1 import DeleteNamespaceRequest
from temporalio.api.taskqueue.v1 import TaskQueue
from temporalio.api.workflowservice.v1 import (
    CountWorkflowExecutionsRequest,
    DescribeNamespaceRequest,
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

from examples.temporal.processes import free_ports
from examples.temporal.scene import connected, until
from strongroom.driver.config import load_config
from strongroom.driver.strongroom import Strongroom
from strongroom.kms import KekRef
from tests.integration.temporal.conftest import running_stack

if TYPE_CHECKING:
    from temporalio.client import Client

    from examples.temporal.sealed import SealedCell
    from tests.integration.temporal.conftest import TemporalStack

WORKFLOWS = 6
"""Workflows of a tenant, so that both tenants have some on most shards."""
PAUSE = 5.0
"""The timer of a workflow, in seconds: longer than keys are cached, so that it is due during an outage."""
PATIENCE = 240
WINDOW = 1.0
"""Time in which failing calls are counted, in seconds."""
MOST_FAILURES = 5 * WORKFLOWS
"""Calls of the stores that may fail in this time. Without pauses between them it would be hundreds."""
QUEUE = "tenants"
CONFIG = """
[keys]
soft_ttl_seconds = 0.5
encrypt_ttl_seconds = 1
decrypt_ttl_seconds = 1.5

[kms.other]
type = "local"
keyring = "other-keyring.json"

[serve]
metrics = "127.0.0.1:{port}"
"""
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

    def calls(self):
        """Return the numbers of all calls of the stores so far, and of failed ones, by operation."""
        text = httpx.get(self.metrics).text
        called, failed = Counter(), Counter()
        for labels, number in re.findall(r"^strongroom_call_duration\w*_count\{(.*)\} (\S+)$", text, re.MULTILINE):
            operation = ".".join(re.findall(r'strongroom_(?:store|operation)="(\w+)"', labels))
            called[operation] += int(float(number))
            if 'error_type="' in labels and 'error_type=""' not in labels:
                failed[operation] += int(float(number))
        return called, failed

    async def failures(self, seconds):
        """Return how many calls of each operation fail in a time."""
        _, before = self.calls()
        await asyncio.sleep(seconds)
        _, after = self.calls()
        return after - before


@pytest.fixture(scope="module")
def tenants(temporal_binary, tmp_path_factory):
    """A cell with two keyrings, and a Temporal server on it."""
    (port,) = free_ports(1)

    def configure(cell: SealedCell) -> None:
        text = cell.config.read_text().replace("\n[namespaces]", "\n[namespaces]\nshred_after_days = 0")
        cell.config.write_text(text + CONFIG.format(port=port))
        cell.strongroom("init")

    folder = tmp_path_factory.mktemp("tenants")
    with running_stack(temporal_binary, folder, workers=1, configure=configure) as running:
        yield Tenants(running, f"http://127.0.0.1:{port}/metrics")


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


async def test_kms_outage_of_one_tenant(tenants):
    """The other tenant's workflows go on. This tenant's calls fail with a type, and its workflows end after the outage."""
    away, stays = await registered(tenants, "away", kek="other:away"), await registered(tenants, "stays")
    moved = tenants.keyring.with_suffix(".moved")

    async def refused() -> bool:
        request = DescribeWorkflowExecutionRequest(
            namespace=away.namespace, execution=WorkflowExecution(workflow_id=waiting[0].id)
        )
        try:
            await away.workflow_service.describe_workflow_execution(request, retry=False)
        except RPCError:
            answers = await statuses(away, waiting[0].id)
        else:
            return False
        assert RPCStatusCode.NOT_FOUND not in answers.values()
        return set(answers.values()) <= TYPED

    async with working(away, stays):
        waiting = await started(away, "open", PAUSE)
        going = await started(stays, "open", PAUSE)
        tenants.keyring.rename(moved)
        try:
            await until(refused, "the end of the cached keys")
            await finished(going)
            late = [handle.id for handle in waiting if not ran[handle.id, 2]]
            await finished(await started(stays, "new", 0))
            failing = await tenants.failures(WINDOW)
            assert failing.total() <= MOST_FAILURES, failing
        finally:
            moved.rename(tenants.keyring)
        await finished(waiting)
    assert late, "no timer was due during the outage"


async def shred(tenants: Tenants, client: Client) -> None:
    """Shred a namespace as an operator does."""
    cell, name = tenants.stack.cell, client.namespace
    arguments = ("namespace", "shred", name, "--json")
    first = await asyncio.to_thread(cell.strongroom, *arguments, "--confirm", name, "--grace", "0s")
    code = json.loads(first)["code"]
    certificate = cell.folder / "certificate.json"
    await asyncio.to_thread(cell.strongroom, *arguments, "--final", code, "--certificate", str(certificate))


async def delete(tenants: Tenants, client: Client) -> None:
    """Delete a namespace by Temporal, whose keys are then shredded."""
    await client.operator_service.delete_namespace(DeleteNamespaceRequest(namespace=client.namespace))

    async def shredded() -> bool:
        done = await asyncio.to_thread(tenants.stack.cell.strongroom, "namespace", "shred-due", "--json")
        return bool(json.loads(done)["namespaces"])

    await until(shredded, "the shredding")


@pytest.mark.parametrize("end", [shred, delete])
async def test_a_namespace_ends_with_open_workflows(tenants, end):
    """The tasks of its workflows are dropped. Workflows of others go on, and no call fails again and again."""
    gone = await registered(tenants, f"{end.__name__}-gone")
    stays = await registered(tenants, f"{end.__name__}-stays")
    async with working(stays):
        async with working(gone):
            lost = await started(gone, "open", PAUSE)
        going = await started(stays, "open", PAUSE)
        await end(tenants, gone)
        await finished(going)
        await finished(await started(stays, "new", 0))

        async def settled() -> bool:
            return (await tenants.failures(WINDOW)).total() == 0

        await until(settled, "the end of failing calls")
    answers = await statuses(gone, lost[0].id)
    assert set(answers.values()) == {RPCStatusCode.NOT_FOUND}


async def execute(tenants: Tenants, statement: str, *arguments):
    """Run a statement as the database's superuser."""
    cell = tenants.stack.cell
    connection = await asyncpg.connect(cell.superuser_dsn, database=urlsplit(cell.dsn).path[1:])
    try:
        return await connection.fetch(statement, *arguments)
    finally:
        await connection.close()


async def test_a_damaged_history_task(tenants):
    """It becomes a dead letter, and the other workflows go on. A timer is damaged while the server is stopped, so it is read again."""
    client = await registered(tenants, "damaged")
    describe = DescribeNamespaceRequest(namespace=client.namespace)
    namespace_id = (await client.workflow_service.describe_namespace(describe)).namespace_info.id
    async with working(client):
        [victim] = await started(client, "victim", 3 * PAUSE, 1)
        others = await started(client, "open", PAUSE)

        async def due() -> int | None:
            events = [event async for event in victim.fetch_history_events()]
            timers = [event.event_time for event in events if event.event_type == EventType.EVENT_TYPE_TIMER_STARTED]
            return timers[0].ToNanoseconds() + int(3 * PAUSE * 1e9) if timers else None

        async def waits() -> bool:
            return await due() is not None

        await until(waits, "the start of the timer")
        at = await due()
        await asyncio.to_thread(tenants.stack.server.stop)
        rows = await execute(
            tenants,
            "UPDATE strongroom.history_tasks SET data = set_byte(data, octet_length(data) - 1, "
            "get_byte(data, octet_length(data) - 1) # 1)"
            " WHERE category_id = 2 AND namespace_id = $1 AND abs(fire_time - $2) < 1000000000 RETURNING fire_time",
            UUID(namespace_id),
            at,
        )
        assert len(rows) == 1
        before = await execute(tenants, "SELECT count(*) FROM strongroom.queue_v2_messages")
        await asyncio.to_thread(tenants.stack.server.start)
        await finished(others)
        await finished(await started(client, "new", 0))

        async def buried() -> bool:
            letters = await execute(tenants, "SELECT count(*) FROM strongroom.queue_v2_messages")
            return letters[0][0] == before[0][0] + 1

        await until(buried, "the dead letter")
        assert not ran[victim.id, 2]
        await victim.terminate()
