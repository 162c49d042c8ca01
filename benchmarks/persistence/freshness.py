"""The cost of finding older rows: `python -m benchmarks.persistence.freshness`, or `make bench-freshness`.

Four contenders take turns on one server, each in its own database: the stores, the same stores again (the difference is noise), the
stores without entries of the journal, and without digests and MACs too (`without_freshness.py` says what is left out). A figure is CPU
time of this process and of the contender's server processes for one call. A round consists of short turns, of which the median
counts, and ratios are medians of the rounds. So the load of the machine, which changes within seconds, is the same for all contenders.
Folding, which runs in the background, has figures of its own. Then the verification is measured (`verification.py`).
"""

from __future__ import annotations

import asyncio
import gc
import itertools
import statistics
import sys
import tempfile
import time
from contextlib import AsyncExitStack, ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from unittest.mock import patch

import asyncpg
import click

from benchmarks.lib.bench_server import bench_server
from benchmarks.lib.journal import Journal
from benchmarks.lib.measuring import cpu_of, rotated
from benchmarks.persistence.cells import BRANCH_NODES, BRANCHES, SHARDS, Caller, Fixtures
from benchmarks.persistence.opened import open_strongroom
from benchmarks.persistence.requests import blob, creation, new_run
from benchmarks.persistence.verification import verifying
from benchmarks.persistence.without_freshness import DIGESTS, ENTRIES, replace_functions, without
from strongroom.storage import EVERY_NAMESPACE, HistoryBranch, HistoryNode
from strongroom.storage.executions.known_runs import KnownRuns

if TYPE_CHECKING:
    from collections.abc import Sequence

WRITES = ("update", "create", "append2048", "create_tasks")
READS = ("get", "get_unknown", "read100")
"""`get_unknown` reads runs as a process does that has not read or written them before."""
READERS = (16,)
LIMITS = dict.fromkeys(WRITES, 1.05) | dict.fromkeys(READS, 1.03)
CONTENDERS = {"checked": (), "again": (), "no entries": (ENTRIES,), "nothing": (ENTRIES, DIGESTS)}
"""The parts that each contender leaves out."""


@dataclass
class Side:
    """A contender: its rows, its database, and the parts that it leaves out."""

    fixtures: Fixtures
    name: str
    parts: tuple[str, ...]

    async def prepare(self) -> None:
        """Fill the tables. Each branch that is read belongs to a run, so that its end is compared."""
        with without(*(each for each in self.parts if each != ENTRIES)):
            await self.fixtures.prepare()
            self.fixtures.branches = await asyncio.gather(*(self._long_run(number) for number in range(BRANCHES)))
        await self.fold_all()

    async def fold_all(self) -> None:
        """Fold all entries, so that each measurement begins without entries."""
        if ENTRIES not in self.parts:  # otherwise no entry is stored
            await self.fixtures.strongroom.journal.fold_dirty()

    async def _long_run(self, number: int) -> HistoryBranch:
        run = new_run(f"long-{number}", number % SHARDS + 1)
        cell = self.fixtures.strongroom
        await cell.executions.create_workflow_execution(creation(self.fixtures, run, is_fixture=True))
        nodes = [HistoryNode(node, node, node - 1, blob(2048)) for node in range(2, BRANCH_NODES + 1)]
        await cell.history.append_history_nodes(self.fixtures.namespace_id, run.branch, nodes)
        return run.branch

    async def measure(self, admin: asyncpg.Connection, operation: str, callers: int, calls: int) -> dict[str, float]:
        """Call an operation, and return microseconds of CPU of this process and of the server, and bytes of WAL, for one call."""
        with ExitStack() as stack:
            stack.enter_context(without(*self.parts))
            if operation == "get_unknown":
                operation = "get"
                if DIGESTS not in self.parts:
                    stack.enter_context(patch.object(KnownRuns, "get", lambda *_: None))
            await self._call(operation, callers, callers)  # warms up the caches of the server's processes
            gc.collect()
            before = await self._spent(admin)
            await self._call(operation, callers, calls)
            after = await self._spent(admin)
        return difference(before, after, calls)

    async def fold(self, admin: asyncpg.Connection) -> dict[str, float]:
        """Fold the entries, and return microseconds of CPU for one of them."""
        count = await self.fixtures.strongroom.journal.waiting()
        before = await self._spent(admin)
        await self.fixtures.strongroom.journal.fold_dirty()
        after = await self._spent(admin)
        return difference(before, after, max(1, count))

    async def _call(self, operation: str, callers: int, calls: int) -> None:
        left = itertools.count()

        async def call(number: int) -> None:
            run = Caller(self.fixtures, number, callers).operation(operation)
            while next(left) < calls:
                await run()

        await asyncio.gather(*map(call, range(callers)))

    async def _spent(self, admin: asyncpg.Connection) -> tuple[float, dict[int, float], float]:
        """Return microseconds of CPU of this process and of each of the server's processes, and the bytes of WAL."""
        rows = await admin.fetch("SELECT pid FROM pg_stat_activity WHERE datname = $1", self.name.replace(" ", "_"))
        wal = await admin.fetchval("SELECT pg_current_wal_insert_lsn() - '0/0'::pg_lsn")
        return time.process_time() * 1e6, {row["pid"]: microseconds_of(row["pid"]) for row in rows}, float(wal)


def difference(
    before: tuple[float, dict[int, float], float], after: tuple[float, dict[int, float], float], calls: int
) -> dict[str, float]:
    """Return the figures of one call.

    All CPU time of a server process that started between both moments counts, and none of a process that ended.
    """
    server = sum(spent - before[1].get(pid, 0) for pid, spent in after[1].items())
    return {
        "client_us": (after[0] - before[0]) / calls,
        "server_us": server / calls,
        "wal_bytes": (after[2] - before[2]) / calls,
    }


def medians(turns: Sequence[dict[str, float]]) -> dict[str, float]:
    """Return the median of each figure."""
    return {name: statistics.median(turn[name] for turn in turns) for name in turns[0]}


def microseconds_of(process_id: int) -> float:
    """Return the CPU time of a process, in microseconds. It is 0 if the process has ended."""
    with suppress(OSError):
        return cpu_of(process_id) * 1e6
    return 0


async def compare(
    operations: Sequence[str], callers: Sequence[int], rounds: int, turns: int, calls: int, journal: Journal
) -> None:
    """Measure each operation in turns."""
    async with AsyncExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        server = stack.enter_context(bench_server())
        sides = {name: await opened_side(stack, server, name, folder) for name in CONTENDERS}
        admin = await asyncpg.connect(f"{server}/postgres")
        stack.push_async_callback(admin.close)
        for number in range(rounds):
            print(f"round {number + 1} of {rounds} ...", file=sys.stderr)
            missing = [
                (operation, many)
                for operation in operations
                for many in (callers if operation in WRITES else READERS)
                if not journal.has(round=number, operation=operation, callers=many)
            ]
            if missing:
                for side in sides.values():
                    await side.prepare()
            for operation, many in missing:
                samples: dict[str, list[dict[str, float]]] = {name: [] for name in CONTENDERS}
                for turn in range(turns):
                    for name in rotated(list(CONTENDERS), number + turn):
                        samples[name].append(await sides[name].measure(admin, operation, many, calls))
                figures = {name: medians(several) for name, several in samples.items()}
                if operation in WRITES:
                    figures["folding"] = await sides["checked"].fold(admin)
                    await sides["again"].fold_all()
                journal.add(figures, round=number, operation=operation, callers=many)


async def opened_side(stack: AsyncExitStack, server: str, name: str, folder: Path) -> Side:
    """Open a contender's cell, whose database has the functions without its parts."""
    parts = CONTENDERS[name]
    fixtures = await open_strongroom(stack, server, name.replace(" ", "_"), folder)
    if parts:
        async with fixtures.strongroom.database.connection(EVERY_NAMESPACE) as connection:
            await replace_functions(connection, *parts)
    return Side(fixtures, name, parts)


def print_operations(operations: Sequence[str], callers: Sequence[int], journal: Journal) -> None:
    """Print the ratios, and whether the limits are met."""
    print("CPU of client and server for one call: checked over nothing, medians of the rounds with their range")
    for operation in operations:
        for many in callers if operation in WRITES else READERS:
            rounds = journal.rounds(operation=operation, callers=many)
            whole = ratios(rounds, "checked", "nothing")
            verdict = "met" if statistics.median(whole) <= LIMITS[operation] else "MISSED"
            print(
                f"{operation:<14}{many:>4} {shown(whole)} {verdict:<6}"
                f" client {shown(ratios(rounds, 'checked', 'nothing', 'client_us'))}"
                f" server {shown(ratios(rounds, 'checked', 'nothing', 'server_us'))}"
                f" entries {shown(ratios(rounds, 'checked', 'no entries'))}"
                f" noise {shown(ratios(rounds, 'again', 'checked'))}"
            )


def ratios(rounds: Sequence[dict[str, Any]], over: str, under: str, *figures: str) -> list[float]:
    """Return the sum of figures of one contender, divided by that of another, for each round. Without figures it is the CPU time."""
    names = figures or ("client_us", "server_us")
    return [sum(each[over][name] for name in names) / sum(each[under][name] for name in names) for each in rounds]


def shown(found: Sequence[float]) -> str:
    """Return the median with its range."""
    return f"{statistics.median(found):.3f} ({min(found):.2f}-{max(found):.2f})"


@click.command()
@click.option("--callers", multiple=True, type=int, default=(16, 64), show_default=True, help="Of writes.")
@click.option("--operation", "operations", multiple=True, type=click.Choice(WRITES + READS), default=WRITES + READS)
@click.option("--rounds", default=5, show_default=True)
@click.option("--turns", default=9, show_default=True, help="Turns of each contender in a round.")
@click.option("--calls", default=200, show_default=True, help="Calls in a turn.")
@click.option("--rows", default=1_000_000, show_default=True, help="Rows to verify; 0 for none.")
@click.option(
    "--entries", default=100_000, show_default=True, help="Entries of a shard to verify and fold; 0 for none."
)
@click.option("--out", type=click.Path(path_type=Path), help="File for the figures. An interrupted run is continued.")
def main(
    *,
    callers: tuple[int, ...],
    operations: tuple[str, ...],
    rounds: int,
    turns: int,
    calls: int,
    rows: int,
    entries: int,
    out: Path | None,
) -> None:
    """Measure and print."""
    journal = Journal(out, turns=turns, calls=calls)
    if rounds:
        asyncio.run(compare(operations, callers, rounds, turns, calls, journal))
        print_operations(operations, callers, journal)
    if rows or entries:
        asyncio.run(verifying(rows, entries, journal))


if __name__ == "__main__":
    main()
