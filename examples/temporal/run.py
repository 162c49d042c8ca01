"""Run every step of `exercise.py` on a server, with a worker in this process."""

from __future__ import annotations

import time
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from temporalio.client import Client
from temporalio.converter import DataConverter, DefaultFailureConverterWithEncodedAttributes
from temporalio.worker import UnsandboxedWorkflowRunner, Worker

from strongroom.driver import SealedPayloadCodec, Strongroom, load_config

from .exercise import STEPS
from .scene import Scene, connected, id_of, prepare
from .workflows import ACTIVITIES, WORKFLOWS

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from pathlib import Path
    from uuid import UUID


class NotRunError(Exception):
    """A step needs a program that is missing."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """The outcome of a step.

    Attributes:
        name: The step.
        seconds: Its duration, in seconds.
        failure: The reason why it failed; None if it did not.
        not_run: What was missing for it; None if it was run.
    """

    name: str
    seconds: float
    failure: str | None
    not_run: str | None = None


@asynccontextmanager
async def scene(address: str, namespace: str, secret: str, *, config: Path | None) -> AsyncIterator[Scene]:
    """Register a namespace, and run a worker in it.

    Args:
        address: The address of the frontend.
        namespace: The namespace.
        secret: The planted string.
        config: The configuration of the cell whose keys seal the payloads; None for payloads in clear.
    """
    async with AsyncExitStack() as stack:
        client = await connected(address, namespace)
        await prepare(client, namespace)
        converter = plain
        if config is not None:
            converter = partial(sealing, await stack.enter_async_context(Strongroom.open(load_config(config))))
            client = await Client.connect(
                address, namespace=namespace, data_converter=converter(await id_of(client, namespace))
            )
        queue = f"queue-{secret}"
        await stack.enter_async_context(
            Worker(
                client,
                task_queue=queue,
                workflows=WORKFLOWS,
                activities=ACTIVITIES,
                workflow_runner=UnsandboxedWorkflowRunner(),
            )
        )
        yield Scene(client, queue, secret, converter)


def plain(*_: UUID) -> DataConverter:
    """Return a converter that leaves payloads in clear."""
    return DataConverter.default


def sealing(cell: Strongroom, namespace_id: UUID, *partners: UUID) -> DataConverter:
    """Return a converter that seals payloads and failures with the namespace's keys. It opens those of its partners, too."""
    return DataConverter(
        payload_codec=SealedPayloadCodec(cell.keyring, namespace_id, partners=partners),
        failure_converter_class=DefaultFailureConverterWithEncodedAttributes,
    )


async def exercise(the_scene: Scene, show: Callable[[Outcome], Any]) -> list[Outcome]:
    """Run the steps one after the other. A failed step does not stop the next one.

    Args:
        the_scene: The client and the worker.
        show: Called with each outcome.
    """
    outcomes = []
    for name, step in STEPS:
        begin = time.perf_counter()
        failure = None
        try:
            await step(the_scene)
        except Exception as error:  # noqa: BLE001 - each step fails for itself, and the table names it
            failure = _reason(error)
        outcomes.append(Outcome(name, time.perf_counter() - begin, failure))
        show(outcomes[-1])
    return outcomes


def measured(name: str, step: Callable[[], None]) -> Outcome:
    """Run a step that needs no event loop.

    Args:
        name: Its name.
        step: The step.
    """
    begin = time.perf_counter()
    try:
        step()
    except NotRunError as error:
        return Outcome(name, time.perf_counter() - begin, None, str(error))
    except Exception as error:  # noqa: BLE001 - as above
        return Outcome(name, time.perf_counter() - begin, _reason(error))
    return Outcome(name, time.perf_counter() - begin, None)


def _reason(error: Exception) -> str:
    return f"{type(error).__name__}: {error}"
