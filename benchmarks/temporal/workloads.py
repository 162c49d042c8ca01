"""Workloads of a Temporal server.

Each starts workflows with bounded concurrency, waits for their results, and returns the latencies.
"""

from __future__ import annotations

import asyncio
import time
import uuid
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from examples.temporal.workflows import Conversation, Family, Order, TwoActivities

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from temporalio.client import Client


@dataclass(frozen=True, slots=True)
class Load:
    """The size of a workload.

    Attributes:
        count: The number of workflows.
        at_once: The number of workflows that run at once.
    """

    count: int
    at_once: int


async def two_activities(client: Client, queue: str, load: Load) -> list[float]:
    """Run workflows of two activities, from their start to their close."""

    async def one() -> None:
        await client.execute_workflow(TwoActivities.run, _order(), id=_id(), task_queue=queue)

    return await _timed(one, load)


async def signals(client: Client, queue: str, load: Load) -> list[float]:
    """Send 20 signals to each workflow as fast as the server takes them, then end it. A quarter of the load's workflows run."""

    async def one() -> None:
        handle = await client.start_workflow(Conversation.run, _order(), id=_id(), task_queue=queue)
        await asyncio.gather(*[handle.signal(Conversation.say, "x" * 100) for _ in range(20)])
        await handle.signal(Conversation.end)
        assert len(await handle.result()) == 20

    return await _timed(one, Load(max(1, load.count // 4), max(1, load.at_once // 4)))


async def fan_out(client: Client, queue: str, load: Load) -> list[float]:
    """Run workflows with 100 children each. The load counts children."""

    async def one() -> None:
        await client.execute_workflow(Family.run, _order(items=100), id=_id(), task_queue=queue)

    return await _timed(one, Load(max(1, load.count // 100), max(1, load.at_once // 100)))


async def listing(client: Client, queue: str, load: Load) -> list[float]:
    """List and count while workflows run. The rate counts until the last workflow has ended, so that both servers do the same work."""

    async def one() -> None:
        await client.count_workflows("WorkflowType = 'TwoActivities' AND ExecutionStatus = 'Completed'")
        async for _ in client.list_workflows("ExecutionStatus = 'Running'", limit=20):
            pass

    background = asyncio.create_task(two_activities(client, queue, load))
    try:
        return await _timed(one, Load(load.count, max(1, load.at_once // 4)))
    finally:
        await background


WORKLOADS = {"two activities": two_activities, "signals": signals, "100 children": fan_out, "lists": listing}
"""The workloads by name. Each takes a client, a task queue and a load."""


def _order(items: int = 2) -> Order:
    return Order(1, "customer", items)  # an odd number, so that no activity fails


def _id() -> str:
    return f"bench-{uuid.uuid4()}"


async def _timed(one: Callable[[], Awaitable[Any]], load: Load) -> list[float]:
    """Run a coroutine function several times at once. Return the seconds of each call."""
    latencies: list[float] = []
    places = asyncio.Semaphore(load.at_once)

    async def timed() -> None:
        async with places:
            begin = time.perf_counter()
            await one()
            latencies.append(time.perf_counter() - begin)

    await asyncio.gather(*[timed() for _ in range(load.count)])
    return latencies
