"""Compare Strongroom's stores with Temporal's unsealed Go store and with stores that seal nothing: `make bench-persistence`.

All use one PostgreSQL with fsync on, over TCP. For each cell of the table the callers run one operation for a second. The contenders
take turns, and the table has the medians of the ratios of the rounds. Clients and server share the cores of the machine.
"""

from __future__ import annotations

import asyncio
import shutil
import sys
import tempfile
from contextlib import AsyncExitStack
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import click

from benchmarks.lib.bench_server import bench_server
from benchmarks.lib.journal import Journal
from benchmarks.persistence.cells import Fixtures, measure
from benchmarks.persistence.opened import create_database, open_strongroom
from benchmarks.persistence.report import report
from benchmarks.persistence.temporal import Temporal

if TYPE_CHECKING:
    from collections.abc import Sequence

OPERATIONS = ("get", "read100", "get_tasks", "append2048", "create_tasks", "create", "update")
WARM_UP = 0.3
"""Maximum number of seconds for which a cell runs before it is measured."""


class Contest:
    """The contenders, and the figures of their rounds.

    Args:
        stores: Strongroom's cells by name.
        temporal: Temporal's store; None if Go is not installed.
        journal: The file that gets each figure when it is measured.
    """

    def __init__(self, stores: dict[str, Fixtures], temporal: Temporal | None, journal: Journal) -> None:
        self._stores = stores
        self._temporal = temporal
        self._journal = journal

    async def play(self, number: int, operations: Sequence[str], callers: Sequence[int], seconds: float) -> None:
        """Measure every cell of the table once, except those that the journal has."""
        missing = [
            (operation, many)
            for operation in operations
            for many in callers
            if not self._journal.has(round=number, operation=operation, callers=many)
        ]
        if not missing:
            return
        if self._temporal is not None:
            self._temporal.ask(op="prepare")
        for store in self._stores.values():
            await store.prepare()
        for operation, many in missing:
            figures = await self._measure(operation, many, seconds)
            self._journal.add(figures, round=number, operation=operation, callers=many)

    async def _measure(self, operation: str, many: int, seconds: float) -> dict[str, dict[str, float]]:
        figures = {}
        if self._temporal is not None:
            figures["temporal"] = self._temporal.ask(
                op=operation, callers=many, seconds=seconds, warmup=min(WARM_UP, seconds)
            )
        for name, store in self._stores.items():
            figures[name] = asdict(await measure(store, operation, many, seconds=seconds, warmup=min(WARM_UP, seconds)))
        return figures


async def compare(
    operations: Sequence[str], callers: Sequence[int], rounds: int, seconds: float, out: Path | None
) -> None:
    """Play all rounds, and print the table."""
    has_temporal = shutil.which("go") is not None
    if not has_temporal:
        print("SKIPPED: Temporal's store, because Go is not installed; ratios are only to the store without sealing")
    async with AsyncExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        server = stack.enter_context(bench_server())
        stores = {name: await open_strongroom(stack, server, name, folder) for name in ("sealed", "plain")}
        temporal = None
        if has_temporal:
            await create_database(server, "temporal")
            temporal = Temporal(f"{server}/temporal", folder)
            stack.callback(temporal.close)
        journal = Journal(out, seconds=seconds, has_temporal=has_temporal)
        contest = Contest(stores, temporal, journal)
        for number in range(rounds):
            print(f"round {number + 1} of {rounds} ...", file=sys.stderr)
            await contest.play(number, operations, callers, seconds)
    figures = {
        (operation, many, name): [each[name] for each in journal.rounds(operation=operation, callers=many)]
        for operation in operations
        for many in callers
        for name in (*stores, *(("temporal",) if has_temporal else ()))
    }
    report(figures, operations, callers, has_temporal=has_temporal)


@click.command()
@click.option("--rounds", default=3, show_default=True, help="Number of rounds.")
@click.option("--seconds", default=1.0, show_default=True, help="Length of a measurement.")
@click.option("--callers", default="1,16,64", show_default=True, help="Numbers of concurrent callers.")
@click.option("--operations", default=",".join(OPERATIONS), show_default=True, help="Operations to measure.")
@click.option("--out", type=click.Path(path_type=Path), help="File for the figures. An interrupted run is continued.")
def main(rounds: int, seconds: float, callers: str, operations: str, out: Path | None) -> None:
    """Compare the stores."""
    many = [int(number) for number in callers.split(",")]
    asyncio.run(compare(operations.split(","), many, rounds, seconds, out))


if __name__ == "__main__":
    main()
