"""The workflows that run while parts of the stack are killed, and the checks afterwards."""

from __future__ import annotations

import asyncio
import itertools
import logging
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from temporalio.api.common.v1 import WorkflowExecution
from temporalio.api.enums.v1 import EventType
from temporalio.api.workflowservice.v1 import SignalWorkflowExecutionRequest
from temporalio.exceptions import WorkflowAlreadyStartedError
from temporalio.service import RPCError
from temporalio.worker import Replayer, UnsandboxedWorkflowRunner

from .scene import PATIENCE
from .workflows import WORKFLOWS, Chain, Conversation, Family, Order, TwoActivities

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from temporalio.client import WorkflowHistory

    from .scene import Scene

_KINDS = (TwoActivities, Conversation, Family, Chain)
_ACTIVITIES = {"TwoActivities": 2, "Conversation": 0, "Family": 0, "Chain": 0}
"""The number of activities of a run of each kind."""
_SIGNALS = 5
_GIVE_UP = 900.0
"""Time for which a call is repeated while parts are down, in seconds."""


@dataclass(slots=True)
class Load:
    """Workflows of all kinds, a few at once.

    Attributes:
        least: The minimum number of workflows.
        at_once: The number that runs at once.
        enough: Set when no further workflow is needed.
        expected: The expected result of each workflow, by its id.
        results: The result of each workflow that ended, by its id.
    """

    least: int
    at_once: int
    enough: asyncio.Event = field(default_factory=asyncio.Event)
    expected: dict[str, Any] = field(default_factory=dict)
    results: dict[str, Any] = field(default_factory=dict)

    async def run(self, scene: Scene) -> None:
        """Start workflows until it is enough, and wait for all of them."""
        numbers = itertools.count()

        async def one_after_the_other() -> None:
            while not self.enough.is_set() or len(self.expected) < self.least:
                await self._one(scene, next(numbers))

        await asyncio.gather(*[one_after_the_other() for _ in range(self.at_once)])

    async def _one(self, scene: Scene, number: int) -> None:
        kind = _KINDS[number % len(_KINDS)]
        workflow_id = f"{kind.__name__}-{number}"
        order = Order(3, scene.secret, 3)
        self.expected[workflow_id] = _expected(kind, order)
        try:
            handle: Any = await repeated(
                lambda: scene.client.start_workflow(kind.run, order, id=workflow_id, task_queue=scene.queue)
            )
        except WorkflowAlreadyStartedError:  # the answer to the first try was lost
            handle = scene.client.get_workflow_handle(workflow_id)
        if kind is Conversation:
            for text in range(_SIGNALS):
                await repeated(lambda text=text: _signal(scene, workflow_id, "say", text))  # type: ignore[misc]
            await repeated(lambda: _signal(scene, workflow_id, "end", None))
        result = await repeated(handle.result)
        self.results[workflow_id] = sorted(result) if kind is Conversation else result


async def check(scene: Scene, load: Load) -> list[str]:
    """Compare everything with what it is without kills. Return what differs."""
    faults = [
        f"{workflow_id}: another result"
        for workflow_id, result in load.expected.items()
        if load.results.get(workflow_id) != result
    ]
    replayer = Replayer(
        workflows=WORKFLOWS,
        workflow_runner=UnsandboxedWorkflowRunner(),
        data_converter=scene.client.data_converter,
    )
    logging.disable(logging.CRITICAL)
    for workflow_id in load.expected:
        history = await repeated(lambda workflow_id=workflow_id: _history(scene, workflow_id))  # type: ignore[misc]
        replayed = await replayer.replay_workflow(history, raise_on_replay_failure=False)
        if replayed.replay_failure is not None:
            faults.append(f"{workflow_id}: the history does not replay: {type(replayed.replay_failure).__name__}")
        faults += _lost_activities(workflow_id, history)
    return faults + await _index_faults(scene, load)


async def repeated(call: Callable[[], Awaitable[Any]]) -> Any:
    """Make a call until the server answers it."""
    end = asyncio.get_running_loop().time() + _GIVE_UP
    while True:
        try:
            return await call()
        except RPCError:
            if asyncio.get_running_loop().time() > end:
                raise
        await asyncio.sleep(0.2)


def _expected(kind: type, order: Order) -> Any:
    results = {
        TwoActivities: [f"charged {order.customer}", f"shipped to {order.customer}"],
        Conversation: [str(number) for number in range(_SIGNALS)],
        Family: order.items,
        Chain: order.customer,
    }
    return results[kind]


async def _signal(scene: Scene, workflow_id: str, name: str, text: int | None) -> None:
    """Send a signal with a request id of its own, so that a repeated call is no second signal."""
    payloads = None if text is None else await scene.client.data_converter.encode([str(text)])
    request = SignalWorkflowExecutionRequest(
        namespace=scene.client.namespace,
        workflow_execution=WorkflowExecution(workflow_id=workflow_id),
        signal_name=name,
        request_id=f"{workflow_id}-{name}-{text}",
    )
    if payloads is not None:
        request.input.payloads.extend(payloads)
    await scene.client.workflow_service.signal_workflow_execution(request)


async def _history(scene: Scene, workflow_id: str) -> WorkflowHistory:
    return await scene.client.get_workflow_handle(workflow_id).fetch_history()


def _lost_activities(workflow_id: str, history: WorkflowHistory) -> list[str]:
    counts = Counter(event.event_type for event in history.events)
    wanted = _ACTIVITIES[workflow_id.partition("-")[0]]
    scheduled = counts[EventType.EVENT_TYPE_ACTIVITY_TASK_SCHEDULED]
    completed = counts[EventType.EVENT_TYPE_ACTIVITY_TASK_COMPLETED]
    return [] if scheduled == completed == wanted else [f"{workflow_id}: {completed} of {wanted} activities completed"]


async def _index_faults(scene: Scene, load: Load) -> list[str]:
    """Compare the list of runs with the truth. The index follows the runs, so it has time."""
    end = asyncio.get_running_loop().time() + PATIENCE
    while True:
        faults = await repeated(lambda: _differences(scene, load))
        if not faults or asyncio.get_running_loop().time() > end:
            return list(faults)
        await asyncio.sleep(1)


async def _differences(scene: Scene, load: Load) -> list[str]:
    """Return the differences between the list and the truth: a chain has four runs, a family three children."""
    runs = Counter([each.id async for each in scene.client.list_workflows("")])
    truth = Counter({workflow_id: 4 if workflow_id.startswith("Chain") else 1 for workflow_id in load.expected})
    truth.update(
        f"{workflow_id}-child-{number}"
        for workflow_id in load.expected
        if workflow_id.startswith("Family")
        for number in range(3)
    )
    open_runs = (await scene.client.count_workflows("ExecutionStatus = 'Running'")).count
    faults = [
        f"{workflow_id}: {runs[workflow_id]} of {truth[workflow_id]} runs listed"
        for workflow_id in (truth - runs) | (runs - truth)
    ]
    return faults + ([f"{open_runs} runs are listed as running"] if open_runs else [])
