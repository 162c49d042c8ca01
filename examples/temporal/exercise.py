"""Use everything that a Temporal server offers, and check each answer. The same code runs on the sealed and on the plain stores."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from temporalio.api.batch.v1 import BatchOperationTermination
from temporalio.api.common.v1 import WorkflowExecution
from temporalio.api.operatorservice.v1 import DeleteNamespaceRequest
from temporalio.api.workflowservice.v1 import (
    DeleteWorkflowExecutionRequest,
    DescribeNamespaceRequest,
    ResetWorkflowExecutionRequest,
    StartBatchOperationRequest,
)
from temporalio.client import (
    Client,
    Schedule,
    ScheduleActionStartWorkflow,
    ScheduleSpec,
    WorkflowExecutionStatus,
    WorkflowFailureError,
)
from temporalio.service import RPCError, RPCStatusCode

from .nexus_operations import nexus_operations
from .scene import prepare, until
from .workflows import Chain, Conversation, Endless, Family, TwoActivities

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from .scene import Scene


async def two_activities(scene: Scene) -> None:
    """Run two activities, one with a retry, and check the result."""
    handle = await scene.start(TwoActivities.run, "two-activities", scene.order())
    assert await handle.result() == [f"charged {scene.secret}", f"shipped to {scene.secret}"]


async def signals_queries_updates(scene: Scene) -> None:
    """Send signals, ask a query, and run an update."""
    handle = await scene.start(Conversation.run, "conversation", scene.order())
    for number in range(5):
        await handle.signal(Conversation.say, f"{scene.secret} {number}")
    assert await handle.execute_update(Conversation.ask, scene.secret) == 6
    assert len(await handle.query(Conversation.heard)) == 6
    await handle.signal(Conversation.end)
    assert len(await handle.result()) == 6


async def children(scene: Scene) -> None:
    """Run child workflows."""
    handle = await scene.start(Family.run, "family", scene.order(items=4))
    assert await handle.result() == 4


async def continue_as_new(scene: Scene) -> None:
    """Continue a workflow as new."""
    handle = await scene.start(Chain.run, "chain", scene.order(number=3))
    assert await handle.result() == scene.secret


async def cancellation_and_termination(scene: Scene) -> None:
    """Cancel a workflow, terminate another one, and start the same id again."""
    for name in ("cancelled", "terminated"):
        handle = await scene.start(Endless.run, name, scene.order())
        await until(lambda handle=handle: _is_running(handle), f"the start of {name}")  # type: ignore[misc]
        if name == "cancelled":
            await handle.cancel()
        else:
            await handle.terminate(scene.secret)
        try:
            await handle.result()
        except WorkflowFailureError:
            continue
        raise AssertionError(f"the workflow {name} ended without an error")


async def reset(scene: Scene) -> None:
    """Reset a workflow to its first workflow task. It runs again and gives the same result."""
    handle = await scene.start(TwoActivities.run, "reset", scene.order())
    first = await handle.result()
    answer = await scene.client.workflow_service.reset_workflow_execution(
        ResetWorkflowExecutionRequest(
            namespace=scene.client.namespace,
            workflow_execution=WorkflowExecution(workflow_id=handle.id, run_id=handle.first_execution_run_id or ""),
            reason=scene.secret,
            workflow_task_finish_event_id=4,
            request_id=scene.secret,
        )
    )
    again = scene.client.get_workflow_handle_for(TwoActivities.run, handle.id, run_id=answer.run_id)
    assert await again.result() == first


async def schedules(scene: Scene) -> None:
    """Create a schedule, trigger it, and delete it."""
    action = ScheduleActionStartWorkflow(
        TwoActivities.run, scene.order(), id=scene.id("scheduled"), task_queue=scene.queue
    )
    handle = await scene.client.create_schedule(scene.id("schedule"), Schedule(action=action, spec=ScheduleSpec()))
    await handle.trigger()

    async def ran() -> bool:
        return (await handle.describe()).info.num_actions == 1

    await until(ran, "the schedule's action")
    await handle.delete()


async def batch_terminate(scene: Scene) -> None:
    """Terminate several workflows with one batch operation."""
    handles = [await scene.start(Endless.run, f"batch-{number}", scene.order()) for number in range(3)]
    query = f"WorkflowType = 'Endless' AND ExecutionStatus = 'Running' AND Customer = '{scene.secret}'"
    await until(lambda: _count_is(scene.client, query, 3), "the listing of the batch's workflows")
    await scene.client.workflow_service.start_batch_operation(
        StartBatchOperationRequest(
            namespace=scene.client.namespace,
            job_id=scene.id("batch"),
            visibility_query=query,
            reason=scene.secret,
            termination_operation=BatchOperationTermination(identity=scene.secret),
        )
    )
    for handle in handles:
        try:
            await handle.result()
        except WorkflowFailureError:
            continue
        raise AssertionError("a workflow of the batch ended without an error")


async def deletion(scene: Scene) -> None:
    """Delete a workflow. It is neither described nor listed afterwards."""
    handle = await scene.start(TwoActivities.run, "deleted", scene.order())
    await handle.result()
    await scene.client.workflow_service.delete_workflow_execution(
        DeleteWorkflowExecutionRequest(
            namespace=scene.client.namespace, workflow_execution=WorkflowExecution(workflow_id=handle.id)
        )
    )

    async def is_gone() -> bool:
        try:
            await handle.describe()
        except RPCError as error:
            return (
                error.status is RPCStatusCode.NOT_FOUND
                and await _count(scene.client, f"WorkflowId = '{handle.id}'") == 0
            )
        return False

    await until(is_gone, "the deletion of the workflow")


async def lists_and_counts(scene: Scene) -> None:
    """List and count with filters on each type of search attribute."""
    handle = await scene.start(TwoActivities.run, "listed", scene.order(items=7))
    await handle.result()
    for query in (
        f"Customer = '{scene.secret}'",
        "Amount = 92.82",
        "Amount > 92.81 AND Amount < 92.83",
        "Tags = 'second'",
        f"Tags IN ('nothing', '{scene.secret}')",
        "Note = 'words'",
        "Urgent = true",
        "Items >= 7",
        "Due = '2030-01-01T00:00:00Z'",
        f"WorkflowId STARTS_WITH 'listed-{scene.secret[:8]}'",
        "WorkflowType = 'TwoActivities' AND ExecutionStatus = 'Completed'",
        "CloseTime IS NOT NULL",
    ):
        await until(lambda query=query: _lists(scene.client, query, handle.id), f"a list with {query}")  # type: ignore[misc]
    groups = await scene.client.count_workflows("GROUP BY ExecutionStatus")
    assert sum(group.count for group in groups.groups) == groups.count


async def namespace_deletion(scene: Scene) -> None:
    """Delete a namespace with a workflow in it, and register its name again."""
    name = f"gone-{scene.secret}"
    await prepare(scene.client, name)
    client = await Client.connect(
        scene.client.service_client.config.target_host, namespace=name, data_converter=scene.client.data_converter
    )
    await client.start_workflow(Endless.run, scene.order(), id=scene.id("gone"), task_queue=scene.queue)
    answer = await client.operator_service.delete_namespace(DeleteNamespaceRequest(namespace=name))
    assert answer.deleted_namespace

    async def is_gone() -> bool:
        try:
            await client.workflow_service.describe_namespace(
                DescribeNamespaceRequest(namespace=answer.deleted_namespace)
            )
        except RPCError as error:
            return error.status is RPCStatusCode.NOT_FOUND
        return False

    await until(is_gone, "the deletion of the namespace")


STEPS: tuple[tuple[str, Callable[[Scene], Awaitable[None]]], ...] = (
    ("activities with retries", two_activities),
    ("signals, queries, updates, timers", signals_queries_updates),
    ("child workflows", children),
    ("continue as new", continue_as_new),
    ("cancellation and termination", cancellation_and_termination),
    ("reset", reset),
    ("schedules", schedules),
    ("lists and counts with filters", lists_and_counts),
    ("Nexus operations between namespaces", nexus_operations),
    ("batch termination", batch_terminate),
    ("deletion of a workflow", deletion),
    ("deletion of a namespace", namespace_deletion),
)
"""What is used: its name, and the function that uses it and checks the answers."""


async def _is_running(handle: Any) -> bool:
    return bool((await handle.describe()).status == WorkflowExecutionStatus.RUNNING)


async def _count(client: Client, query: str) -> int:
    return (await client.count_workflows(query)).count


async def _count_is(client: Client, query: str, number: int) -> bool:
    return await _count(client, query) == number


async def _lists(client: Client, query: str, workflow_id: str) -> bool:
    return workflow_id in [each.id async for each in client.list_workflows(query, limit=1000)]
