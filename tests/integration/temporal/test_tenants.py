"""What happens to one tenant does not stop the others: its KMS is away, it is shredded, or one of its tasks is damaged."""

from __future__ import annotations

import asyncio
import json
import signal
from collections import Counter
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import asyncpg
import pytest
from temporalio.api.common.v1 import WorkflowExecution
from temporalio.api.enums.v1 import EventType
from temporalio.api.operatorservice.v1 import DeleteNamespaceRequest
from temporalio.api.taskqueue.v1 import TaskQueue
from temporalio.api.workflowservice.v1 import (
    DescribeWorkflowExecutionRequest,
    GetWorkflowExecutionHistoryRequest,
    PollWorkflowTaskQueueRequest,
)
from temporalio.service import RPCError, RPCStatusCode

from examples.temporal.processes import free_ports
from examples.temporal.scene import id_of, until
from tests.integration.temporal.conftest import running_stack
from tests.support.temporal.tenants import (
    PAUSE,
    TYPED,
    WORKFLOWS,
    Tenants,
    finished,
    ran,
    registered,
    started,
    statuses,
    working,
)

if TYPE_CHECKING:
    from temporalio.client import Client

    from examples.temporal.sealed import SealedCell

WINDOW = 5.0
"""Time in which failing calls are counted, in seconds."""
MOST_FAILURES = 5 * WORKFLOWS * int(WINDOW)
"""Calls of the stores that may fail in this time. Without pauses between them it would be hundreds."""
MOST_KMS_CALLS = 6
"""Calls of the KMS that may fail in this time, for each namespace that has its keys there. The first pause is at least 0.5 s,
and later ones are 2.5 to 5 s."""
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


@asynccontextmanager
async def outage(tenants: Tenants):
    """Take the keyring of the tenants away."""
    moved = tenants.keyring.with_suffix(".moved")
    tenants.keyring.rename(moved)
    try:
        yield
    finally:
        moved.rename(tenants.keyring)


async def refused(client: Client, workflow_id: str) -> None:
    """Wait until each call of a tenant fails with a type, and never with NOT_FOUND: workers would end and tasks be lost."""

    async def all_fail() -> bool:
        request = DescribeWorkflowExecutionRequest(
            namespace=client.namespace, execution=WorkflowExecution(workflow_id=workflow_id)
        )
        try:
            await client.workflow_service.describe_workflow_execution(request, retry=False)
        except RPCError as error:
            answers = {"first": error.status, **await statuses(client, workflow_id)}
        else:
            return False
        assert RPCStatusCode.NOT_FOUND not in answers.values()
        return set(answers.values()) <= TYPED

    await until(all_fail, "the end of the cached keys")


async def few_failures(tenants: Tenants, client: Client, namespaces: int) -> None:
    """Check that the stores and the KMS get few calls, however often clients call."""
    request = GetWorkflowExecutionHistoryRequest(
        namespace=client.namespace, execution=WorkflowExecution(workflow_id="none")
    )
    calls = Counter()

    async def call_again_and_again() -> None:
        while True:
            try:
                await client.workflow_service.get_workflow_execution_history(request, retry=False)
            except RPCError as error:
                calls[error.status] += 1
            else:
                calls[None] += 1

    callers = [asyncio.create_task(call_again_and_again()) for _ in range(4)]
    failing, asked = await tenants.failures(WINDOW)
    for caller in callers:
        caller.cancel()
    ended = await asyncio.gather(*callers, return_exceptions=True)
    assert {type(each) for each in ended} == {asyncio.CancelledError}
    assert calls
    assert set(calls) <= TYPED
    # The control: the metrics have the failures of this outage.
    assert tenants.failed_calls().total() > 0
    assert tenants.kms_calls() > 0
    # A call of a client fails in one call of a store, or in two if the server repeats it.
    assert failing.total() <= MOST_FAILURES + 2 * calls.total(), failing
    assert asked <= MOST_KMS_CALLS * namespaces


async def test_kms_outage_of_one_tenant(tenants):
    """The other tenant's workflows go on. This tenant's calls fail with a type, and its workflows end after the outage."""
    away, stays = await registered(tenants, "away", kek="other:away"), await registered(tenants, "stays")
    async with working(away, stays):
        going = await started(stays, "open", PAUSE)
        waiting = await started(away, "open", PAUSE)  # last, so that its timers are due in the outage
        async with outage(tenants):
            await refused(away, waiting[0].id)
            await finished(going)
            late = [handle.id for handle in waiting if not ran[handle.id, 2]]
            await finished(await started(stays, "new", 0))
            await few_failures(tenants, away, namespaces=1)
        await finished(waiting)
    assert late, "no timer was due during the outage"


def restart_server(tenants: Tenants) -> None:
    """Kill the Temporal server, whose registry of namespaces is empty at its start."""
    tenants.stack.server.process.stop(signal.SIGKILL)
    tenants.stack.server.start()


def restart_serve(tenants: Tenants) -> None:
    """Restart `strongroom serve`, which has no keys at its start."""
    tenants.stack.cell.stop()
    tenants.stack.cell.serve()


def restart_both(tenants: Tenants) -> None:
    """Restart both, so that nothing is left of what was read before the outage."""
    tenants.stack.server.stop()
    restart_serve(tenants)
    tenants.stack.server.start()


@pytest.mark.parametrize("restart", [restart_server, restart_serve, restart_both])
async def test_a_restart_in_an_outage(tenants, restart):
    """The other tenant goes on after the restart. This tenant's calls fail with a type, and its workflows end after the outage."""
    away = await registered(tenants, f"{restart.__name__}-away", kek=f"other:{restart.__name__}")
    stays = await registered(tenants, f"{restart.__name__}-stays")
    async with working(away, stays):
        going = await started(stays, "open", PAUSE)
        waiting = await started(away, "open", PAUSE)  # last, so that its timers are due in the outage
        async with outage(tenants):
            await refused(away, waiting[0].id)
            await asyncio.to_thread(restart, tenants)
            await finished(going)
            await finished(await started(stays, "new", 0))
            await refused(away, waiting[0].id)
            await few_failures(tenants, away, namespaces=4)
        await finished(waiting)
        await finished(await started(away, "new", 0))


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


async def polled(client: Client) -> RPCStatusCode | None:
    """Poll for a task once as a worker does, and return the error; None if the poll was answered."""
    request = PollWorkflowTaskQueueRequest(
        namespace=client.namespace, task_queue=TaskQueue(name="polled"), identity="poller"
    )
    try:
        await client.workflow_service.poll_workflow_task_queue(request, retry=False, timeout=timedelta(seconds=2))
    except RPCError as error:
        return error.status
    return None


@pytest.mark.parametrize("end", [shred, delete])
async def test_a_namespace_ends_with_open_workflows(tenants, end):
    """The tasks of its workflows are dropped. Workflows of others go on, and no call fails again and again.

    A worker of the namespace polls until it is refused. The control: before the end, its poll was not refused.
    """
    gone = await registered(tenants, f"{end.__name__}-gone")
    stays = await registered(tenants, f"{end.__name__}-stays")
    async with working(stays):
        async with working(gone):
            lost = await started(gone, "open", PAUSE)
        going = await started(stays, "open", PAUSE)
        assert await polled(gone) is not RPCStatusCode.NOT_FOUND
        assert RPCStatusCode.NOT_FOUND not in (await statuses(gone, lost[0].id)).values()
        await end(tenants, gone)

        async def is_refused() -> bool:
            return await polled(gone) is RPCStatusCode.NOT_FOUND

        await until(is_refused, "the refusal of a worker of the namespace")
        await finished(going)
        await finished(await started(stays, "new", 0))

        async def settled() -> bool:
            return (await tenants.failures(1.0))[0].total() == 0

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
    client, pause = await registered(tenants, "damaged"), 6 * PAUSE
    async with working(client):
        others = await started(client, "open", PAUSE)
        # Last, so that the server stops long before its timer is due.
        [victim] = await started(client, "victim", pause, 1)

        async def due() -> int | None:
            events = [event async for event in victim.fetch_history_events()]
            timers = [event.event_time for event in events if event.event_type == EventType.EVENT_TYPE_TIMER_STARTED]
            return timers[0].ToNanoseconds() + int(pause * 1e9) if timers else None

        async def waits() -> bool:
            return await due() is not None

        await until(waits, "the start of the timer")
        place = await id_of(client, client.namespace), await due()
        await asyncio.to_thread(tenants.stack.server.stop)
        rows = await execute(
            tenants,
            "UPDATE strongroom.history_tasks SET data = set_byte(data, octet_length(data) - 1, "
            "get_byte(data, octet_length(data) - 1) # 1)"
            " WHERE category_id = 2 AND namespace_id = $1 AND abs(fire_time - $2) < 1000000000 RETURNING fire_time",
            *place,
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
