"""History appends and reads through the store, with real keys and with keys that seal nothing; and key cache hits and misses."""

from __future__ import annotations

import asyncio
import sys
import tempfile
import time
from contextlib import AsyncExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks.lib.bench_server import bench_server
from benchmarks.lib.measuring import median, rotated
from benchmarks.lib.part import Effort, run
from benchmarks.persistence.cells import Fixtures
from benchmarks.persistence.cells import measure as measure_cell
from benchmarks.persistence.opened import open_strongroom

if TYPE_CHECKING:
    from strongroom.driver.strongroom import Strongroom

OPERATIONS = {"append of 2 KiB": "append2048", "read of 100 nodes": "read100"}
CALLERS = (1, 16)
SECONDS = {Effort.FULL: 1.0, Effort.QUICK: 0.3, Effort.SMOKE: 0.05}
ROUNDS = {Effort.FULL: 5, Effort.QUICK: 2, Effort.SMOKE: 1}
CONTENDERS = ("sealed", "plain")
HITS = 20_000
MISSES = {Effort.FULL: 200, Effort.QUICK: 200, Effort.SMOKE: 2}


async def compare(fixtures: dict[str, Fixtures], rounds: int, seconds: float) -> list[dict[str, Any]]:
    """Measure each operation with each number of callers, in turns; return nanoseconds of wall time per operation."""
    results = {(title, callers): {name: [] for name in fixtures} for title in OPERATIONS for callers in CALLERS}  # type: dict[tuple[str, int], dict[str, list[float | None]]]
    cpu = {place: {name: [] for name in fixtures} for place in results}  # type: dict[tuple[str, int], dict[str, list[float | None]]]
    for number in range(rounds):
        for prepared in fixtures.values():
            await prepared.prepare()
        for (title, callers), series in results.items():
            for name in rotated(list(fixtures), number):
                cell = await measure_cell(
                    fixtures[name], OPERATIONS[title], callers, seconds=seconds, warmup=seconds / 3
                )
                series[name].append(cell.seconds / cell.operations * 1e9)
                cpu[title, callers][name].append(cell.client_cpu_us)
        print(f"  round {number + 1}", file=sys.stderr)
    return [
        {
            "operation": title,
            "callers": callers,
            "rounds": series,
            "client_cpu_us": {name: median(taken) for name, taken in cpu[title, callers].items()},
        }
        for (title, callers), series in results.items()
    ]


async def key_cache(strongroom: Strongroom, fixtures: Fixtures, count: int) -> dict[str, float]:
    """Return the time to open a namespace's keys: CPU time of a hit, and wall time of a miss, which reads the registry and unwraps."""
    keyring, namespace_id = strongroom.keyring, fixtures.namespace_id
    await keyring.open(namespace_id)
    started = time.process_time_ns()
    for _ in range(HITS):
        await keyring.open(namespace_id)
    hit = (time.process_time_ns() - started) / HITS
    misses: list[float | None] = []
    for _ in range(count):
        keyring.evict(namespace_id)
        began = time.perf_counter_ns()
        await keyring.open(namespace_id)
        misses.append(time.perf_counter_ns() - began)
    return {"hit_ns": hit, "miss_ns": median(misses)}


async def main(effort: Effort) -> dict[str, Any]:
    """Start a server with a database for each contender, and measure."""
    async with AsyncExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        server = stack.enter_context(bench_server())
        fixtures = {name: await open_strongroom(stack, server, name, folder) for name in CONTENDERS}
        cells = await compare(fixtures, ROUNDS[effort], SECONDS[effort])
        return {
            "cells": cells,
            "key_cache": await key_cache(fixtures["sealed"].strongroom, fixtures["sealed"], MISSES[effort]),
        }


def measure(effort: Effort) -> dict[str, Any]:
    """Measure operations and the key cache."""
    return asyncio.run(main(effort))


if __name__ == "__main__":
    run(measure)
