"""The client of a run, the strings that it plants, and the namespace that it uses."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any
from uuid import UUID

from google.protobuf.duration_pb2 import Duration
from temporalio.api.enums.v1 import IndexedValueType
from temporalio.api.operatorservice.v1 import AddSearchAttributesRequest, ListSearchAttributesRequest
from temporalio.api.workflowservice.v1 import DescribeNamespaceRequest, RegisterNamespaceRequest
from temporalio.client import Client
from temporalio.common import SearchAttributePair, TypedSearchAttributes
from temporalio.service import RPCError, RPCStatusCode

from .workflows import AMOUNT, CUSTOMER, DUE, ITEMS, NOTE, SEARCH_ATTRIBUTES, TAGS, URGENT, Order

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from temporalio.common import SearchAttributeKey
    from temporalio.converter import DataConverter

PATIENCE = 120.0
"""Time that a condition may take to become true, in seconds. It is reached only if something is wrong."""


@dataclass(frozen=True, slots=True)
class Scene:
    """The client and the strings of a run.

    Attributes:
        client: The client, in the namespace of the run.
        queue: The task queue of the worker.
        secret: A planted string. It is in every id, name, payload and search attribute of the run.
        converter: Returns the data converter of a namespace, which opens the payloads of other namespaces too, by their ids.
    """

    client: Client
    queue: str
    secret: str
    converter: Callable[..., DataConverter]

    def id(self, name: str) -> str:
        """Return a workflow id with the planted string."""
        return f"{name}-{self.secret}"

    def order(self, number: int = 2, items: int = 2) -> Order:
        """Return an argument with the planted string."""
        return Order(number, self.secret, items)

    async def start(self, run: Any, name: str, argument: Order, **options: Any) -> Any:
        """Start a workflow with the planted string in its id, memo and search attributes."""
        return await self.client.start_workflow(
            run,
            argument,
            id=self.id(name),
            task_queue=self.queue,
            memo={"note": self.secret},
            search_attributes=TypedSearchAttributes(
                [
                    SearchAttributePair(CUSTOMER, self.secret),
                    SearchAttributePair(AMOUNT, 92.82),
                    SearchAttributePair(TAGS, [self.secret, "second"]),
                    SearchAttributePair(NOTE, f"a note of {self.secret} with words"),
                    SearchAttributePair(URGENT, True),
                    SearchAttributePair(ITEMS, argument.items),
                    SearchAttributePair(DUE, datetime(2030, 1, 1, tzinfo=UTC)),
                ]
            ),
            **options,
        )


async def until(condition: Callable[[], Awaitable[bool]], what: str) -> None:
    """Wait for a condition.

    Raises:
        AssertionError: It did not become true.
    """
    loop = asyncio.get_running_loop()
    end = loop.time() + PATIENCE
    while not await condition():
        assert loop.time() < end, f"{what} did not happen in {PATIENCE:.0f} s"
        await asyncio.sleep(0.1)


async def connected(address: str, namespace: str, **options: Any) -> Client:
    """Return a connected client. A server that starts listens before it answers.

    Args:
        address: The address of the frontend.
        namespace: The namespace of the client.
        options: Further arguments of `Client.connect`.
    """
    end = asyncio.get_running_loop().time() + PATIENCE
    while True:
        try:
            return await Client.connect(address, namespace=namespace, **options)
        except RuntimeError:
            if asyncio.get_running_loop().time() > end:
                raise
        await asyncio.sleep(0.2)


async def id_of(client: Client, namespace: str) -> UUID:
    """Return the id of a namespace."""
    described = await client.workflow_service.describe_namespace(DescribeNamespaceRequest(namespace=namespace))
    return UUID(described.namespace_info.id)


async def prepare(
    client: Client, namespace: str, attributes: Sequence[SearchAttributeKey[Any]] = SEARCH_ATTRIBUTES
) -> None:
    """Register a namespace with custom search attributes, and wait until the server uses them."""
    service, operator = client.workflow_service, client.operator_service
    try:
        await service.register_namespace(
            RegisterNamespaceRequest(namespace=namespace, workflow_execution_retention_period=Duration(seconds=86400))
        )
    except RPCError as error:
        if error.status is not RPCStatusCode.ALREADY_EXISTS:
            raise

    async def registered() -> bool:
        try:
            await service.describe_namespace(DescribeNamespaceRequest(namespace=namespace))
            await operator.add_search_attributes(
                AddSearchAttributesRequest(
                    namespace=namespace,
                    search_attributes={
                        key.name: IndexedValueType.ValueType(key.indexed_value_type) for key in attributes
                    },
                )
            )
        except RPCError as error:
            return error.status is RPCStatusCode.ALREADY_EXISTS
        listed = await operator.list_search_attributes(ListSearchAttributesRequest(namespace=namespace))
        return {key.name for key in attributes} <= set(listed.custom_attributes)

    async def searchable() -> bool:
        try:
            for key in attributes:
                await client.count_workflows(f"{key.name} IS NULL")
        except RPCError as error:
            if error.status not in {RPCStatusCode.INVALID_ARGUMENT, RPCStatusCode.NOT_FOUND}:
                raise
            return False  # the frontend has not read the new attributes yet
        return True

    await until(registered, "the registration of the namespace")
    if client.namespace == namespace:
        await until(searchable, "the use of the search attributes")
