"""What authorisation and the audit log cost: the stores through a session, against the same stores by themselves; and verifying.

`python -m benchmarks.audit`. Both sides work on one cell and take turns; ratios are medians of the rounds, with their range.
"""

from __future__ import annotations

import asyncio
import statistics
import tempfile
import time
from contextlib import AsyncExitStack
from dataclasses import replace
from pathlib import Path

import click

from benchmarks.bench_server import bench_server
from benchmarks.persistence import open_strongroom
from benchmarks.persistence_cells import measure
from strongroom.driver.access import changes
from strongroom.driver.audit import verify_records
from strongroom.driver.audit.reader import read_lines
from strongroom.driver.audit.stream import Stream

OPERATIONS = ("update", "create", "append2048", "get", "read100", "create_tasks", "get_tasks")
MUST = 0.95
"""Of the throughput without: the audit of the data plane may cost 5 %."""


async def throughput(callers: tuple[int, ...], rounds: int, seconds: float) -> None:
    """Print the table."""
    ratios: dict[tuple[str, int], list[tuple[float, float, float]]] = {}
    async with AsyncExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        server = stack.enter_context(bench_server())
        alone = await open_strongroom(stack, server, "sealed", folder)
        cell = alone.strongroom
        await cell.access.change(lambda _: changes.first_owner("bench", now=changes.utc_now()))
        await alone.prepare()
        for _ in range(rounds):
            await alone.prepare()
            audited = replace(alone, strongroom=cell.session("bench"))  # type: ignore[arg-type]
            for operation in OPERATIONS:
                for many in callers:
                    one = await measure(alone, operation, many, seconds=seconds, warmup=0.3)
                    two = await measure(audited, operation, many, seconds=seconds, warmup=0.3)
                    rates = two.operations / two.seconds, one.operations / one.seconds
                    ratios.setdefault((operation, many), []).append(
                        (rates[0] / rates[1], rates[1], two.client_cpu_us - one.client_cpu_us)
                    )
    print(
        f"{'operation':<14}{'callers':>8}{'a second':>10}{'through a session':>20} (range)        CPU more   must {MUST}"
    )
    for (operation, many), found in ratios.items():
        each = [ratio for ratio, _, _ in found]
        median = statistics.median(each)
        print(
            f"{operation:<14}{many:>8}{statistics.median(rate for _, rate, _ in found):>10.0f}{median:>20.2f} "
            f"({min(each):.2f}-{max(each):.2f}) {statistics.median(cpu for _, _, cpu in found):>7.0f} us"
            f"   {'met' if median >= MUST else 'MISSED'}"
        )


def verifying(records: int) -> None:
    """Print how long it takes to write and to verify a log."""
    with tempfile.TemporaryDirectory() as folder:
        stream = Stream.take(Path(folder))
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
        found = verify_records(read_lines(Path(folder)))
        verified = time.perf_counter() - began
        size = sum(path.stat().st_size for path in Path(folder).rglob("*.jsonl")) / records
        assert found.ok
        print(
            f"{records} records of {size:.0f} bytes: written in {written:.1f} s, verified in {verified:.1f} s (must 10)"
        )


@click.command()
@click.option("--callers", "callers", multiple=True, type=int, default=(16, 64), show_default=True)
@click.option("--rounds", default=5, show_default=True)
@click.option("--seconds", default=1.0, show_default=True, help="For a cell.")
@click.option("--records", default=1_000_000, show_default=True, help="To verify.")
def main(callers: tuple[int, ...], rounds: int, seconds: float, records: int) -> None:
    """Measure and print."""
    verifying(records)
    asyncio.run(throughput(callers, rounds, seconds))


if __name__ == "__main__":
    main()
