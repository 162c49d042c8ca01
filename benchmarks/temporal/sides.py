"""The two servers that are compared: the same program, on a sealed cell and on Temporal's own stores in PostgreSQL."""

from __future__ import annotations

import os
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from temporalio.runtime import MetricBuffer, MetricBufferDurationFormat, Runtime, TelemetryConfig
from temporalio.worker import UnsandboxedWorkflowRunner, Worker

from examples.temporal.binaries import SERVER, build
from examples.temporal.plain import plain_stores
from examples.temporal.scene import connected, prepare
from examples.temporal.sealed import sealed_cell
from examples.temporal.server import TemporalServer
from examples.temporal.workflows import ACTIVITIES, AMOUNT, SEARCH_ATTRIBUTES, WORKFLOWS

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from contextlib import ExitStack
    from pathlib import Path

    from temporalio.client import Client

NAMESPACE = QUEUE = "bench"
LATENCY = "temporal_workflow_task_schedule_to_start_latency"
_DYNAMIC = {"frontend.namespaceRPS.visibility": 100_000, "frontend.namespaceRPS": 100_000, "frontend.rps": 100_000}
"""The dynamic configuration of both servers. By default a namespace may list and count ten times a second. The SDK then waits and
tries again, so the rate would be that of the limit and not of the stores."""


@dataclass(slots=True)
class Side:
    """One of the two servers.

    Attributes:
        name: Its name in the report.
        address: The address of its frontend.
        groups: The ids of the first processes of each group whose use is measured.
    """

    name: str
    address: str
    groups: dict[str, list[int]]


@dataclass(slots=True)
class BenchWorker:
    """A connected worker.

    Attributes:
        client: Its client.
        metrics: The metrics of its runtime.
    """

    client: Client
    metrics: MetricBuffer

    def task_latencies(self) -> list[float]:
        """Return the latencies of workflow tasks since the last call, from schedule to start, in milliseconds."""
        updates = self.metrics.retrieve_updates()
        return [update.value for update in updates if update.metric.name == LATENCY]


def sealed_side(
    stack: ExitStack, folder: Path, *, shards: int, workers: int, audit: bool, elasticsearch: str | None
) -> Side:
    """Start the server on a sealed cell. `elasticsearch` is the address of its search index, if it has one."""
    cell = sealed_cell(stack, folder, shards=shards, workers=workers, audit=audit, elasticsearch=elasticsearch)
    cell.serve()
    server = _server(stack, folder, cell.datastores())
    assert server.process is not None
    assert cell.process is not None
    groups = {"server": [server.process.pid], "serve": [cell.process.pid], "postgres": [_postmaster(cell.postgres)]}
    return Side("sealed", server.address, groups | {"worker": [os.getpid()]})


def plain_side(stack: ExitStack, folder: Path, *, shards: int, elasticsearch: str | None) -> Side:
    """Start the server on Temporal's own stores. `elasticsearch` is the address of its visibility store, if that is not PostgreSQL."""
    stores = plain_stores(stack, folder, shards=shards, elasticsearch=elasticsearch)
    server = _server(stack, folder, stores.datastores())
    assert server.process is not None
    groups = {"server": [server.process.pid], "postgres": [_postmaster(stores.postgres)], "worker": [os.getpid()]}
    return Side("plain", server.address, groups)


@asynccontextmanager
async def worker(side: Side) -> AsyncIterator[BenchWorker]:
    """Register the namespace, and run a worker in this process."""
    metrics = MetricBuffer(100_000, duration_format=MetricBufferDurationFormat.MILLISECONDS)
    runtime = Runtime(telemetry=TelemetryConfig(metrics=metrics))
    client = await connected(side.address, NAMESPACE, runtime=runtime)
    # No workload writes the Double. Temporal's mapping of a Double needs a type that a node of published parts does not have.
    await prepare(client, NAMESPACE, [key for key in SEARCH_ATTRIBUTES if key != AMOUNT])
    async with Worker(
        client,
        task_queue=QUEUE,
        workflows=WORKFLOWS,
        activities=ACTIVITIES,
        workflow_runner=UnsandboxedWorkflowRunner(),
        max_concurrent_workflow_tasks=100,
    ):
        yield BenchWorker(client, metrics)


def _server(stack: ExitStack, folder: Path, datastores: object) -> TemporalServer:
    server = TemporalServer(build(SERVER, "temporal-server-strongroom"), folder, datastores, dynamic=_DYNAMIC)  # type: ignore[arg-type]
    stack.callback(server.stop)
    server.start()
    return server


def _postmaster(data: Path) -> int:
    return int((data / "postmaster.pid").read_text().splitlines()[0])
