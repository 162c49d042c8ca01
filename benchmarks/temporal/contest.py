"""A Temporal server on a sealed cell against the same server on Temporal's own stores: `python -m benchmarks.temporal.contest`.

Both servers run on this machine, and take turns. The worker and the load are the same Python process for both. Ratios are sealed
divided by plain in the same round. Needs Go.
"""

from __future__ import annotations

import asyncio
import logging
import math
import statistics
import tempfile
import time
from contextlib import AsyncExitStack, ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from benchmarks.lib.journal import Journal
from tests.support.services import ServiceMissing

from .setups import SETUPS, start
from .sides import QUEUE, BenchWorker, Side, worker
from .tables import tables
from .usage import usage
from .workloads import WORKLOADS, Load

if TYPE_CHECKING:
    from collections.abc import Sequence


@click.command(help=__doc__)
@click.option(
    "--rounds",
    default=5,
    show_default=True,
    help="Rounds of each workload on each server; other setups have half as many.",
)
@click.option("--count", default=200, show_default=True, help="Workflows in a round.")
@click.option("--at-once", default=40, show_default=True, help="Workflows that run at once.")
@click.option("--shards", default=4, show_default=True, help="History shards of both servers.")
@click.option("--audit", is_flag=True, help="Keep the audit log of the cell. The plain server has none.")
@click.option("--setup", "setups", multiple=True, type=click.Choice(list(SETUPS)), help="Only this setup.")
@click.option("--workload", "only", multiple=True, type=click.Choice(list(WORKLOADS)), help="Only this workload.")
@click.option(
    "--out", type=click.Path(path_type=Path), help="Journal of the measurements. One that exists is continued."
)
def main(
    *,
    rounds: int,
    count: int,
    at_once: int,
    shards: int,
    audit: bool,
    setups: tuple[str, ...],
    only: tuple[str, ...],
    out: Path | None,
) -> None:
    """Measure, and print the table."""
    # The SDK logs each failed attempt of an activity, and half of the children fail once.
    logging.disable(logging.WARNING)
    journal = Journal(out, rounds=rounds, count=count, at_once=at_once, shards=shards, audit=audit)
    for name in setups or SETUPS:
        wanted = math.ceil(rounds * SETUPS[name].share)
        missing = [
            (workload, number)
            for workload in only or WORKLOADS
            for number in range(wanted)
            if not journal.has(setup=name, workload=workload, round=number)
        ]
        if missing:
            _run_setup(name, missing, Load(count, at_once), journal, shards=shards, audit=audit)
    rows = [{"place": dict(place), "figures": figures} for place, figures in journal.entries.items()]
    click.echo("\n\n".join(tables(rows)))


def _run_setup(
    name: str, missing: Sequence[tuple[str, int]], load: Load, journal: Journal, *, shards: int, audit: bool
) -> None:
    """Measure the rounds of a setup that the journal does not have. A setup whose services can't be started is left out."""
    with tempfile.TemporaryDirectory(prefix="strongroom-") as folder, ExitStack() as stack:
        try:
            sides = start(stack, Path(folder), SETUPS[name], shards=shards, audit=audit)
        except ServiceMissing as error:
            click.echo(f"{name} is left out: {error}", err=True)
            return
        asyncio.run(_contest(name, sides, missing, load, journal))


async def _contest(
    setup: str, sides: Sequence[Side], missing: Sequence[tuple[str, int]], load: Load, journal: Journal
) -> None:
    async with AsyncExitStack() as stack:
        workers = [(side, await stack.enter_async_context(worker(side))) for side in sides]
        warm: set[str] = set()
        for workload, number in missing:
            if workload not in warm:
                warm.add(workload)
                for side, its_worker in workers:  # fills caches and opens connections
                    await _measure(workload, side, its_worker, Load(max(1, load.count // 10), load.at_once))
            figures = {}
            for side, its_worker in workers if number % 2 else reversed(workers):
                figures[side.name] = await _measure(workload, side, its_worker, load)
            journal.add(figures, setup=setup, workload=workload, round=number)


async def _measure(name: str, side: Side, its_worker: BenchWorker, load: Load) -> dict[str, Any]:
    """Return the figures of one round on one server."""
    its_worker.task_latencies()
    before, begin = usage(side.groups, alone=("worker",)), time.perf_counter()
    latencies = await WORKLOADS[name](its_worker.client, QUEUE, load)
    seconds = time.perf_counter() - begin
    after = usage(side.groups, alone=("worker",))
    tasks = sorted(its_worker.task_latencies())
    return {
        "a second": len(latencies) / seconds,
        "p50_ms": statistics.median(latencies) * 1000,
        "p99_ms": _percentile(sorted(latencies), 0.99) * 1000,
        "task_p99_ms": _percentile(tasks, 0.99),
        "cpu_ms": {group: (after[group].cpu - before[group].cpu) * 1000 / len(latencies) for group in after},
        "memory_mib": {group: after[group].memory / 2**20 for group in after},
    }


def _percentile(ordered: Sequence[float], share: float) -> float:
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))] if ordered else 0.0


if __name__ == "__main__":
    main()
