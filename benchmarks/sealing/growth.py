"""The cost of a row as a history table grows from 10^4 to 10^6 rows: COPY of 1,000 rows, SELECT of 100 rows and of one row."""

from __future__ import annotations

import asyncio
import random
import sys
import time
from typing import TYPE_CHECKING, Any

import asyncpg

from benchmarks.lib.bench_server import bench_server
from benchmarks.lib.measuring import median
from benchmarks.lib.part import Effort, run
from benchmarks.sealing.batches import rows_of
from benchmarks.sealing.contenders import ours
from benchmarks.sealing.end_to_end import PLAINTEXT, Table, as_it_is

if TYPE_CHECKING:
    from collections.abc import Sequence

    from benchmarks.sealing.contenders.protocol import Row

SIZE = 256
STEP = 1000
PAGE = 100
COUNTS = {
    Effort.FULL: (10_000, 30_000, 100_000, 300_000, 1_000_000),
    Effort.QUICK: (10_000, 30_000, 100_000),
    Effort.SMOKE: (1_000, 2_000),
}
SAMPLES = {Effort.FULL: 15, Effort.QUICK: 15, Effort.SMOKE: 2}
OPERATIONS = {"COPY of 1,000": STEP, "SELECT of 100": PAGE, "SELECT of 1": 1}
"""The operations, each with the number of rows that it handles."""


def numbered(rows: Sequence[Row], first: int) -> list[Row]:
    """Return the same plaintexts as the next rows of the table."""
    return [((number, number, number - 1), plaintext) for number, (_, plaintext) in enumerate(rows, first)]


async def grow(
    tables: dict[str, Table], counts: Sequence[int], samples: int, connection: asyncpg.Connection
) -> list[dict[str, Any]]:
    """Fill all tables together, and measure at each number of rows."""
    plaintexts, held, found, places = rows_of(SIZE, STEP), 0, [], random.Random(7)
    for count in counts:
        while held < count:
            for table in tables.values():
                await table.copy(numbered(plaintexts, held + 1))
            held += STEP
        await connection.execute("VACUUM ANALYZE")
        await connection.execute("CHECKPOINT")
        series: dict[str, dict[str, list[float | None]]] = {what: {name: [] for name in tables} for what in OPERATIONS}
        for number in range(samples):
            place = places.randrange(1, held - PAGE)
            rows = numbered(plaintexts, held + 1)
            for name, table in list(tables.items())[:: 1 if number % 2 else -1]:
                began = time.perf_counter_ns()
                await table.copy(rows)
                series["COPY of 1,000"][name].append((time.perf_counter_ns() - began) / STEP)
                for what, many in (("SELECT of 100", PAGE), ("SELECT of 1", 1)):
                    began = time.perf_counter_ns()
                    opened = await table.select(place, many)
                    series[what][name].append((time.perf_counter_ns() - began) / many)
                    assert len(opened) == many
            held += STEP
        found += [
            {"rows": count, "operation": what, "ns_a_row": {name: median(taken) for name, taken in by_name.items()}}
            for what, by_name in series.items()
        ]
        print(f"  {count} rows", file=sys.stderr)
    return found


async def main(counts: Sequence[int], samples: int) -> list[dict[str, Any]]:
    """Start a server, create the tables and measure."""
    with bench_server() as server:
        connection = await asyncpg.connect(f"{server}/postgres")
        ways = {PLAINTEXT: (as_it_is, as_it_is)} | {each.name: (each.seal, each.open) for each in ours.contenders()}
        tables = {name: Table(connection, f"g{number}", way) for number, (name, way) in enumerate(ways.items())}
        for table in tables.values():
            await table.create()
        found = await grow(tables, counts, samples, connection)
        await connection.close()
        return found


def measure(effort: Effort) -> dict[str, Any]:
    """Measure the cost at each number of rows."""
    return {"size": SIZE, "cells": asyncio.run(main(COUNTS[effort], SAMPLES[effort]))}


if __name__ == "__main__":
    run(measure)
