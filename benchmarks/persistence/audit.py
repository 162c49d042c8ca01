"""The cost of authorisation and audit: calls through a session, compared with the same calls of the stores; and verification.

Run `python -m benchmarks.persistence.audit`; `--quick` takes half a minute. Three contenders take turns on one cell: the stores, a
session whose log keeps nothing, and a session with its log. Ratios are medians of the rounds, with their range.
"""

from __future__ import annotations

import asyncio
import statistics
import tempfile
import time
from contextlib import AsyncExitStack
from dataclasses import asdict, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import click

from benchmarks.lib.bench_server import bench_server
from benchmarks.lib.journal import Journal
from benchmarks.persistence.cells import Cell, measure
from benchmarks.persistence.opened import open_strongroom
from strongroom.driver.access import changes
from strongroom.driver.audit import PendingRecords, verify_records
from strongroom.driver.audit.reader import read_lines
from strongroom.driver.audit.taking import take

if TYPE_CHECKING:
    from collections.abc import Sequence


OPERATIONS = ("update", "create", "append2048", "get", "read100", "create_tasks", "get_tasks")
MUST = 0.95
"""Minimum throughput of a session, as a share of the stores' throughput."""


class NoLog:
    """A log that keeps nothing. No call waits for it."""

    is_healthy = True

    def __init__(self) -> None:
        self._written = PendingRecords()
        self._written.written()

    def begin(self, _event: object) -> PendingRecords:
        """Keep nothing."""
        return self._written

    def note(self, _event: object) -> None:
        """Keep nothing."""


async def throughput(
    operations: Sequence[str], callers: Sequence[int], rounds: int, seconds: float, journal: Journal
) -> None:
    """Measure, and print the table."""
    async with AsyncExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        server = stack.enter_context(bench_server())
        bare = await open_strongroom(stack, server, "sealed", folder)
        cell = bare.strongroom
        await cell.access.change(lambda _: changes.first_owner("bench", now=datetime.now(UTC)))
        for number in range(rounds):
            await bare.prepare()
            unlogged = replace(bare, strongroom=replace(cell, audit=NoLog()).session("bench"))  # type: ignore[arg-type]
            logged = replace(bare, strongroom=cell.session("bench"))  # type: ignore[arg-type]
            for operation in operations:
                for many in callers:
                    if journal.has(round=number, operation=operation, callers=many):
                        continue
                    cells = {}
                    sides = [("bare", bare), ("unlogged", unlogged), ("logged", logged)]
                    for name, side in sides[number % 3 :] + sides[: number % 3]:
                        cells[name] = asdict(
                            await measure(side, operation, many, seconds=seconds, warmup=min(0.3, seconds))
                        )
                    journal.add(cells, round=number, operation=operation, callers=many)
    results = {
        (operation, many): [
            tuple(Cell(**each[name]) for name in ("bare", "unlogged", "logged"))
            for each in journal.rounds(operation=operation, callers=many)
        ]
        for operation in operations
        for many in callers
    }
    print(f"{'':22}{'bare':>9}{'session over bare':>26}{'without its log':>22}{'its log alone':>22}{'CPU':>9}")
    for (operation, many), each in results.items():
        rates = [[side.operations / side.seconds for side in sides] for sides in each]
        whole = [logged / bare for bare, _, logged in rates]
        met = "met" if statistics.median(whole) >= MUST else "MISSED"
        more = statistics.median(logged.client_cpu_us - bare.client_cpu_us for bare, _, logged in each)
        print(
            f"{operation:<14}{many:>8}{statistics.median(bare for bare, _, _ in rates):>7.0f}/s"
            f"{_ratio(whole)} {met:<6}{_ratio([unlogged / bare for bare, unlogged, _ in rates])}"
            f"{_ratio([logged / unlogged for _, unlogged, logged in rates])}{more:>+6.0f} us"
        )


def _ratio(ratios: Sequence[float]) -> str:
    return f"{statistics.median(ratios):>8.2f} ({min(ratios):.2f}-{max(ratios):.2f})"


def verifying(records: int, journal: Journal) -> None:
    """Measure the time to write and to verify a log, and print it."""
    with tempfile.TemporaryDirectory() as folder:
        stream = take(Path(folder)).stream
        began = time.perf_counter()
        for first in range(0, records, 1000):
            stream.write(
                {
                    "event": "outcome",
                    "at": "2026-11-26T09:47:02.123456Z",
                    "request_id": f"{number:016x}",
                    "principal": "worker-pool-1",
                    "operation": "executions.update_workflow_execution",
                    "namespace_id": "501c75fb-f2b2-404a-95c7-03dd32253359",
                    "arguments": {"workflow_id": "5387071a107020733351304c4cc4c172", "shard_id": "6" * 32},
                    "outcome": "done",
                }
                for number in range(first, first + 1000)
            )
        written = time.perf_counter() - began
        stream.close()
        began = time.perf_counter()
        verification = verify_records(read_lines(Path(folder)))
        verified = time.perf_counter() - began
        size = sum(path.stat().st_size for path in Path(folder).rglob("*.jsonl")) / records
        assert verification.ok
        figures = {"bytes": size, "written_seconds": written, "verified_seconds": verified}
        journal.add(figures, verified=records)
        print(
            f"{records} records of {size:.0f} bytes: written in {written:.1f} s, verified in {verified:.1f} s (must 10)"
        )


@click.command()
@click.option("--callers", "callers", multiple=True, type=int, default=(16, 64), show_default=True)
@click.option("--operation", "operations", multiple=True, type=click.Choice(OPERATIONS), default=OPERATIONS)
@click.option("--rounds", default=5, show_default=True)
@click.option("--seconds", default=1.0, show_default=True, help="Duration of one measurement.")
@click.option("--records", default=1_000_000, show_default=True, help="Number of records to verify.")
@click.option("--out", type=click.Path(path_type=Path), help="File for the figures. An interrupted run is continued.")
@click.option("--quick", is_flag=True, help="Measure reads and updates of executions by 16 callers only.")
def main(
    *,
    operations: tuple[str, ...],
    callers: tuple[int, ...],
    rounds: int,
    seconds: float,
    records: int,
    out: Path | None,
    quick: bool,
) -> None:
    """Measure and print."""
    if quick:
        operations, callers, records = ("get", "update"), (16,), 0
    journal = Journal(out, seconds=seconds)
    if records and not journal.has(verified=records):
        verifying(records, journal)
    if rounds:
        asyncio.run(throughput(operations, callers, rounds, seconds, journal))


if __name__ == "__main__":
    main()
