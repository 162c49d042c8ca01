"""Nexus operations between namespaces. Each side seals payloads with its own keys, and opens those of the other side."""

from __future__ import annotations

from contextlib import AsyncExitStack
from typing import TYPE_CHECKING

import nexusrpc
import nexusrpc.handler
from temporalio import nexus, workflow
from temporalio.api.common.v1 import Payload
from temporalio.api.nexus.v1 import EndpointSpec, EndpointTarget
from temporalio.api.operatorservice.v1 import CreateNexusEndpointRequest
from temporalio.client import Client
from temporalio.worker import UnsandboxedWorkflowRunner, Worker

from .scene import connected, id_of, prepare
from .workflows import ACTIVITIES, Order, TwoActivities

if TYPE_CHECKING:
    from .scene import Scene


@nexusrpc.service
class Billing:
    """Operations that another namespace offers: one that answers at once, and one that is a workflow there."""

    quote: nexusrpc.Operation[Order, str]
    bill: nexusrpc.Operation[Order, list[str]]


@nexusrpc.handler.service_handler(service=Billing)
class BillingHandler:
    """Handles the operations of `Billing`."""

    @nexusrpc.handler.sync_operation
    async def quote(self, _: nexusrpc.handler.StartOperationContext, order: Order) -> str:
        """Return a text with the planted string."""
        return f"quote for {order.customer}"

    @nexus.workflow_run_operation
    async def bill(self, context: nexus.WorkflowRunOperationContext, order: Order) -> nexus.WorkflowHandle[list[str]]:
        """Start a workflow whose result is the operation's."""
        return await context.start_workflow(TwoActivities.run, order, id=f"billed-{order.customer}")


@workflow.defn
class Buyer:
    """Calls both operations of another namespace."""

    @workflow.run
    async def run(self, order: Order) -> list[str]:
        """Return the results of both operations."""
        billing = workflow.create_nexus_client(service=Billing, endpoint=_endpoint(order.customer))
        quoted = await billing.execute_operation(Billing.quote, order)
        return [quoted, *await billing.execute_operation(Billing.bill, order)]


async def nexus_operations(scene: Scene) -> None:
    """Create an endpoint for a second namespace, and call its operations from a workflow of the first one."""
    caller, handler = scene.client.namespace, f"billing-{scene.secret}"
    address = scene.client.service_client.config.target_host
    second = await connected(address, handler)
    await prepare(second, handler)
    ids = await id_of(scene.client, caller), await id_of(second, handler)
    calling = await Client.connect(address, namespace=caller, data_converter=scene.converter(*ids))
    handling = await Client.connect(address, namespace=handler, data_converter=scene.converter(*reversed(ids)))
    queue = f"nexus-{scene.secret}"
    await second.operator_service.create_nexus_endpoint(
        CreateNexusEndpointRequest(
            spec=EndpointSpec(
                name=_endpoint(scene.secret),
                description=Payload(metadata={"encoding": b"json/plain"}, data=f'"{scene.secret}"'.encode()),
                target=EndpointTarget(worker=EndpointTarget.Worker(namespace=handler, task_queue=queue)),
            )
        )
    )
    runner = UnsandboxedWorkflowRunner()
    async with AsyncExitStack() as stack:
        await stack.enter_async_context(Worker(calling, task_queue=queue, workflows=[Buyer], workflow_runner=runner))
        await stack.enter_async_context(
            Worker(
                handling,
                task_queue=queue,
                workflows=[TwoActivities],
                activities=ACTIVITIES,
                nexus_service_handlers=[BillingHandler()],
                workflow_runner=runner,
            )
        )
        results = await calling.execute_workflow(Buyer.run, scene.order(), id=scene.id("buyer"), task_queue=queue)
    secret = scene.secret
    assert results == [f"quote for {secret}", f"charged {secret}", f"shipped to {secret}"]


def _endpoint(customer: str) -> str:
    """Return the name of the endpoint, with the planted string in it."""
    return f"billing-{customer}"
