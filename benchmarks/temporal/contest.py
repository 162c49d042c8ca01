"""A Temporal server on a sealed cell against the same server on Temporal's own stores: `python -m benchmarks.temporal.contest`.

Both servers run on this machine, and take turns. The worker and the load are the same Python process for both. Ratios are sealed
divided by plain in the same round. Needs Go.
"""

from __future__ import annotations

import asyncio
import logging
import statistics
import tempfile
import time
from contextlib import AsyncExitStack, ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from benchmarks.lib.journal import Journal

from .sides import QUEUE, BenchWorker, Side, plain_side, sealed_side, worker
from .usage import usage
from .workloads import WORKLOADS, Load

if TYPE_CHECKING:
    from collections.abc import Sequence

MUST, GOAL = 0.95, 1.1
"""Throughput, sealed divided by plain."""


@click.command(help=__doc__)
@click.option("--rounds", default=6, show_default=True, help="Rounds of each workload on each server.")
@click.option("--count", default=200, show_default=True, help="Workflows in a round.")
@click.option("--at-once", default=40, show_default=True, help="Workflows that run at once.")
@click.option("--shards", default=4, show_default=True, help="History shards of both servers.")
@click.option("--workers", default=1, show_default=True, help="Worker processes of `strongroom serve`.")
@click.option("--audit", is_flag=True, help="Keep the audit log of the cell. The plain server has none.")
@click.option("--workload", "only", multiple=True, type=click.Choice(list(WORKLOADS)), help="Only this workload.")
@click.option("--out", type=click.Path(path_type=Path), help="Journal of the measurements.")
def main(
    *,
    rounds: int,
    count: int,
    at_once: int,
    shards: int,
    workers: int,
    audit: bool,
    only: tuple[str, ...],
    out: Path | None,
) -> None:
    """Measure, and print the table."""
    logging.disable(
        logging.WARNING
    )  # the SDK logs each failed attempt of an activity, and half of the children fail once
    journal = Journal(
        out, rounds=rounds, count=count, at_once=at_once, shards=shards, serve_workers=workers, audit=audit
    )
    with tempfile.TemporaryDirectory(prefix="strongroom-") as folder, ExitStack() as stack:
        sides = (
            sealed_side(stack, Path(folder) / "sealed", shards=shards, workers=workers, audit=audit),
            plain_side(stack, Path(folder) / "plain", shards=shards),
        )
        asyncio.run(_contest(sides, only or tuple(WORKLOADS), rounds, Load(count, at_once), journal))


async def _contest(sides: Sequence[Side], names: Sequence[str], rounds: int, load: Load, journal: Journal) -> None:
    async with AsyncExitStack() as stack:
        workers = [(side, await stack.enter_async_context(worker(side))) for side in sides]
        for name in names:
            for side, its_worker in workers:  # fills caches and opens connections
                await _measure(name, side, its_worker, Load(max(1, load.count // 10), load.at_once))
            measured: list[dict[str, dict[str, Any]]] = []
            for number in range(rounds):
                figures = {}
                for side, its_worker in workers if number % 2 else reversed(workers):
                    figures[side.name] = await _measure(name, side, its_worker, load)
                journal.add(figures, workload=name, round=number)
                measured.append(figures)
            _print(name, measured)


async def _measure(name: str, side: Side, its_worker: BenchWorker, load: Load) -> dict[str, Any]:
    """Return the figures of one round on one server."""
    its_worker.task_latencies()
    before, begin = usage(side.groups), time.perf_counter()
    latencies = await WORKLOADS[name](its_worker.client, QUEUE, load)
    seconds = time.perf_counter() - begin
    after = usage(side.groups)
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


def _print(name: str, measured: list[dict[str, dict[str, Any]]]) -> None:
    """Print the medians of the rounds, and the ratios with their range."""
    ratios = [each["sealed"]["a second"] / each["plain"]["a second"] for each in measured]
    click.echo(
        f"\n{name}: sealed / plain {statistics.median(ratios):.2f} ({min(ratios):.2f}-{max(ratios):.2f}), "
        f"must {MUST}, goal {GOAL}"
    )
    for side in ("sealed", "plain"):
        rounds = [each[side] for each in measured]
        cpu = "  ".join(f"{group} {_median(rounds, 'cpu_ms', group):.1f}" for group in rounds[0]["cpu_ms"])
        memory = "  ".join(f"{group} {_median(rounds, 'memory_mib', group):.0f}" for group in rounds[0]["memory_mib"])
        click.echo(
            f"  {side:<7}{_median(rounds, 'a second'):8.1f} a second   p50 {_median(rounds, 'p50_ms'):.0f} ms   "
            f"p99 {_median(rounds, 'p99_ms'):.0f} ms   workflow task p99 {_median(rounds, 'task_p99_ms'):.0f} ms"
        )
        click.echo(f"         CPU ms each: {cpu}   MiB: {memory}")


def _median(rounds: list[dict[str, Any]], *keys: str) -> float:
    values: list[Any] = list(rounds)
    for key in keys:
        values = [value[key] for value in values]
    return float(statistics.median(values))


if __name__ == "__main__":
    main()
