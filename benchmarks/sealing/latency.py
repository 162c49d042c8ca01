"""How late an event loop runs its callbacks while 10^5 rows are sealed: on the loop, and as the store does it.

The store seals short batches on the loop, and gives long ones to a thread (`OFF_LOOP_BYTES` in storage/sealing.py).
"""

from __future__ import annotations

import asyncio
import sys
import time
from typing import TYPE_CHECKING, Any

from benchmarks.lib.measuring import quantile
from benchmarks.lib.part import Effort, run
from benchmarks.sealing.batches import rows_of
from benchmarks.sealing.contenders import ours
from strongroom.storage.sealing import OFF_LOOP_BYTES, ROW_BYTES

if TYPE_CHECKING:
    from benchmarks.sealing.contenders.protocol import Row

ROWS = {Effort.FULL: 100_000, Effort.QUICK: 100_000, Effort.SMOKE: 1000}
SIZE = 256
CHUNKS = (100, 1000, 10_000, 50_000)
ON_LOOP, AS_STORE = "on the loop", "as the store does it"
TICK = 0.001
RUNS = {Effort.FULL: 5, Effort.QUICK: 2, Effort.SMOKE: 1}
IDLE_TICKS = {Effort.FULL: 300, Effort.QUICK: 300, Effort.SMOKE: 10}


async def delays(cipher: str, rows: list[Row], chunk: int, where: str) -> list[float]:
    """Seal the rows in chunks, and let other tasks run between two chunks. Return how late each tick came, in ms."""
    seal, late, sealing = ours.contender(cipher).seal, [], True
    in_thread = where == AS_STORE and chunk * (SIZE + ROW_BYTES) >= OFF_LOOP_BYTES

    async def tick() -> None:
        while sealing:
            due = time.perf_counter() + TICK
            await asyncio.sleep(TICK)
            late.append((time.perf_counter() - due) * 1e3)

    ticker = asyncio.create_task(tick())
    await asyncio.sleep(5 * TICK)
    late.clear()
    for start in range(0, len(rows), chunk):
        part = rows[start : start + chunk]
        if in_thread:
            await asyncio.to_thread(seal, part)
        else:
            seal(part)
            await asyncio.sleep(0)
    sealing = False
    await ticker
    return late


def measure(effort: Effort) -> dict[str, Any]:
    """Measure each cipher and chunk size in both ways, and an idle loop."""
    rows, cells = rows_of(SIZE, ROWS[effort]), []
    for cipher in ours.available():
        for chunk in CHUNKS:
            for where in (ON_LOOP, AS_STORE):
                late = [each for _ in range(RUNS[effort]) for each in asyncio.run(delays(cipher, rows, chunk, where))]
                cells.append(
                    {
                        "contender": ours.NAMES[cipher],
                        "chunk": chunk,
                        "where": where,
                        "p50_ms": quantile(late, 0.5),
                        "p99_ms": quantile(late, 0.99),
                        "max_ms": max(late),
                        "ticks": len(late),
                    }
                )
        print(f"  {cipher}", file=sys.stderr)
    return {
        "rows": len(rows),
        "size": SIZE,
        "tick_ms": TICK * 1e3,
        "idle": asyncio.run(_idle(IDLE_TICKS[effort])),
        "cells": cells,
    }


async def _idle(ticks: int) -> dict[str, float]:
    late = []
    for _ in range(ticks):
        due = time.perf_counter() + TICK
        await asyncio.sleep(TICK)
        late.append((time.perf_counter() - due) * 1e3)
    return {"p50_ms": quantile(late, 0.5), "p99_ms": quantile(late, 0.99), "max_ms": max(late)}


if __name__ == "__main__":
    run(measure)
