"""Sealed Strongroom against Temporal's unsealed Go store, and against itself without sealing: `make bench-persistence`.

One PostgreSQL, fsync on, both sides over TCP. Each cell runs one operation with so many callers for a second; the three
contenders take turns, and what is told are medians of the ratios of each round. Client and server share the machine's cores.
"""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
from collections import defaultdict
from contextlib import AsyncExitStack
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import asyncpg
import click

from benchmarks.bench_server import bench_server
from benchmarks.pass_through import PassThroughKeyring
from benchmarks.persistence_cells import Fixtures, measure
from strongroom.driver import Strongroom, assembly
from strongroom.driver.config import load_config, write_config
from strongroom.kms import KekRef

if TYPE_CHECKING:
    from collections.abc import Sequence

OPERATIONS = ("get", "read100", "get_tasks", "append2048", "create_tasks", "create", "update")
CONTENDERS = ("temporal", "sealed", "plain")
# (operation, callers) -> the least ratio to Temporal that is promised, and the goal.
TARGETS = {
    ("update", 16): (2.0, 3.5),
    ("update", 64): (3.0, 5.0),
    ("create", 16): (2.5, 4.0),
    ("create", 64): (4.0, 6.0),
    ("append2048", 16): (1.5, 2.0),
    ("append2048", 64): (2.0, 3.5),
    ("get", 16): (2.5, 5.0),
    ("get", 64): (4.0, 8.0),
    ("read100", 16): (1.2, 1.5),
    ("read100", 64): (1.2, 1.5),
    ("create_tasks", 64): (1.5, 2.8),
    ("get_tasks", 64): (1.0, 1.4),
    ("update", 1): (0.9, 1.5),
    ("create", 1): (0.9, 1.5),
    ("append2048", 1): (0.9, 1.5),
    ("create_tasks", 1): (0.9, 1.5),
}


class Temporal:
    """The Go program, answering a line for a line."""

    def __init__(self, dsn: str) -> None:
        folder = Path(__file__).parent / "temporal-go"
        binary = Path(tempfile.gettempdir()) / f"strongroom-temporal-go-{os.getuid()}"
        print("building temporal-go (minutes when nothing of it is cached) ...", file=sys.stderr)
        subprocess.run(["go", "build", "-trimpath", "-o", str(binary), "."], cwd=folder, check=True)
        self._process = subprocess.Popen(
            [str(binary), "--dsn", dsn],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )

    def ask(self, **command: object) -> dict[str, float]:
        """Send a command; return the answer."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(command) + "\n")
        self._process.stdin.flush()
        answer: dict[str, float] = json.loads(self._process.stdout.readline())
        if answer.get("errors"):
            message = f"temporal-go: {answer}"
            raise RuntimeError(message)
        return answer

    def close(self) -> None:
        """End it."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait()


async def open_strongroom(stack: AsyncExitStack, server: str, name: str, folder: Path) -> Fixtures:
    """Open a cell in a database of its own; the one named `plain` seals nothing."""
    admin = await asyncpg.connect(f"{server}/postgres")
    await admin.execute(f"CREATE DATABASE {name}")
    await admin.close()
    path = folder / f"{name}.toml"
    write_config(path, dsn=f"{server}/{name}", keyring=f"{name}.json")
    config = load_config(path)
    await Strongroom.init(config)
    kek = KekRef.parse("local:bench")
    async with Strongroom.open(config) as opened:
        await opened.create_kek(kek)
        created = await opened.namespaces.create("bench", kek=kek)
    real = assembly.Keyring
    if name == "plain":
        assembly.Keyring = PassThroughKeyring  # type: ignore[misc]
    try:
        opened = await stack.enter_async_context(Strongroom.unchecked(config))
    finally:
        assembly.Keyring = real  # type: ignore[misc]
    return Fixtures(opened, created.namespace_id)


async def compare(operations: Sequence[str], callers: Sequence[int], rounds: int, seconds: float) -> None:
    """Run all cells, and print the table."""
    go = shutil.which("go") is not None
    if not go:
        print("SKIPPED: Temporal's store, as Go is not on this machine; ratios are to the store without sealing only")
    cells: dict[tuple[str, int, str], list[dict[str, float]]] = defaultdict(list)
    async with AsyncExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        server = stack.enter_context(bench_server())
        fixtures = {name: await open_strongroom(stack, server, name, folder) for name in ("sealed", "plain")}
        temporal = None
        if go:
            admin = await asyncpg.connect(f"{server}/postgres")
            await admin.execute("CREATE DATABASE temporal")
            await admin.close()
            temporal = Temporal(f"{server}/temporal")
        for number in range(rounds):
            print(f"round {number + 1} of {rounds} ...", file=sys.stderr)
            if temporal is not None:
                temporal.ask(op="prepare")
            for prepared in fixtures.values():
                await prepared.prepare()
            for operation in operations:
                for many in callers:
                    if temporal is not None:
                        found = temporal.ask(op=operation, callers=many, seconds=seconds, warmup=0.3)
                        cells[operation, many, "temporal"].append(found)
                    for name, prepared in fixtures.items():
                        cell = await measure(prepared, operation, many, seconds=seconds, warmup=0.3)
                        cells[operation, many, name].append(asdict(cell))
        if temporal is not None:
            temporal.close()
    report(cells, operations, callers, go=go)


def report(
    cells: dict[tuple[str, int, str], list[dict[str, float]]],
    operations: Sequence[str],
    callers: Sequence[int],
    *,
    go: bool,
) -> None:
    """Print medians, ratios with their range over the rounds, and what was promised."""
    print(
        f"\n{os.cpu_count()} cores for clients and server; operations a second, client CPU in microseconds, medians of rounds\n"
    )
    print(
        f"{'operation':<13}{'callers':>7} |{'temporal':>9}{'cpu':>5}{'p99 ms':>8} |{'sealed':>8}{'cpu':>5}{'p99 ms':>8} |"
        f"{'to temporal':>12} {'(range)':<13}{'p99':>5}{'to plain':>9}   must / goal"
    )
    for operation in operations:
        for many in callers:
            runs = {name: cells[operation, many, name] for name in CONTENDERS}
            line = f"{operation:<13}{many:>7} |"
            if go:
                line += _cell(runs["temporal"], 9) + " |"
            line += _cell(runs["sealed"], 8) + " |"
            verdict = ""
            if go:
                ratios = _ratios(runs["sealed"], runs["temporal"], "operations")
                slower = statistics.median(_ratios(runs["sealed"], runs["temporal"], "p99_ms"))
                ratio = statistics.median(ratios)
                line += f"{ratio:>12.2f} ({min(ratios):.2f}-{max(ratios):.2f})".ljust(28) + f"{slower:>3.2f}"
                if (operation, many) in TARGETS:
                    must, goal = TARGETS[operation, many]
                    word = "MISSED" if ratio < must else "goal met" if ratio >= goal else "met"
                    verdict = f"   {must} / {goal} {word}"
            line += f"{statistics.median(_ratios(runs['sealed'], runs['plain'], 'operations')):>9.2f}" + verdict
            print(line)


def _cell(runs: list[dict[str, float]], width: int) -> str:
    median = {
        key: statistics.median(run[key] for run in runs) for key in ("operations", "seconds", "client_cpu_us", "p99_ms")
    }
    return (
        f"{median['operations'] / median['seconds']:>{width}.0f}{median['client_cpu_us']:>5.0f}{median['p99_ms']:>8.2f}"
    )


def _ratios(ours: list[dict[str, float]], theirs: list[dict[str, float]], key: str) -> list[float]:
    return [our[key] / their[key] for our, their in zip(ours, theirs, strict=True)]


@click.command()
@click.option("--rounds", default=3, show_default=True, help="How often the contenders take turns.")
@click.option("--seconds", default=1.0, show_default=True, help="Of a cell.")
@click.option("--callers", default="1,16,64", show_default=True)
@click.option("--operations", default=",".join(OPERATIONS), show_default=True)
def main(rounds: int, seconds: float, callers: str, operations: str) -> None:
    """Compare the stores."""
    many = [int(number) for number in callers.split(",")]
    asyncio.run(compare(operations.split(","), many, rounds, seconds))


if __name__ == "__main__":
    main()
