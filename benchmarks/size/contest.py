"""What tables of 10,000 to 1,000,000 rows cost: `make bench-size`.

One cell grows. At each number of rows, lists, counts, groups, writes, verification and bytes are measured and written to the journal.
A run that was interrupted measures only what the journal lacks; with `--data` it also keeps the rows.
"""

from __future__ import annotations

import asyncio
import itertools
import statistics
import tempfile
import time
from contextlib import AsyncExitStack
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import click

from benchmarks.lib.bench_server import bench_server
from benchmarks.lib.journal import Journal
from benchmarks.persistence.requests import blob
from benchmarks.persistence.verification import ROWS_SHARD, folded, verified, write_rows
from benchmarks.size.growing import NODE_SHARD, bytes_of, fill, opened, run_of, vacuumed
from benchmarks.visibility.documents import documents
from strongroom.storage import HistoryNode
from strongroom.visibility import QueryBudgetExceeded

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from benchmarks.size.growing import Grown

TABLES = ("visibility_records", "history_node")
SAMPLES, FEWER = 15, 5
SLOW = 0.5
"""Seconds of a call from which on it is sampled less often."""
LEAST_VERIFIED = 100_000
"""Rows from which on their verification takes clearly longer than that of an empty shard, which is subtracted."""


class Search(NamedTuple):
    """A search: `list` or `count`, and the filter."""

    kind: str
    query: str


SEARCHES = {
    "list, default order": Search("list", ""),
    "list of a rare status": Search("list", "ExecutionStatus = 'TimedOut'"),
    "list of a type": Search("list", "WorkflowType = 'Ship0Workflow'"),
    "list of a rare range": Search("list", "Amount > 2000"),
    "list of a frequent range": Search("list", "Amount > 50"),
    "count of all": Search("count", ""),
    "count of a status": Search("count", "ExecutionStatus = 'Completed'"),
    "count of a type and status": Search("count", "WorkflowType = 'Ship0Workflow' AND ExecutionStatus = 'Completed'"),
    "count of a range": Search("count", "Amount BETWEEN 20.5 AND 60.25"),
    "groups by status": Search("count", "GROUP BY ExecutionStatus"),
    "groups of 1,000 values": Search("count", "GROUP BY TemporalLowCardinalityKeywordTier"),
}


async def milliseconds(call: Callable[[], Awaitable[object]]) -> dict[str, float]:
    """Return the median and the extremes of a call, after a first one that is not counted."""
    taken: list[float] = []
    await call()
    while len(taken) < (FEWER if taken and taken[0] > SLOW else SAMPLES):
        began = time.perf_counter()
        await call()
        taken.append(time.perf_counter() - began)
    return {"ms": 1e3 * statistics.median(taken), "least ms": 1e3 * min(taken), "most ms": 1e3 * max(taken)}


def searches(grown: Grown) -> dict[str, Callable[[], Awaitable[object]]]:
    """Return the calls of the searches."""
    sealed = grown.sealed
    calls = {"list": sealed.list, "count": sealed.count}
    return {
        name: (lambda search=search: calls[search.kind](sealed.postgres, search.query))  # type: ignore[misc]
        for name, search in SEARCHES.items()
    }


def writes(grown: Grown) -> dict[str, Callable[[], Awaitable[object]]]:
    """Return the calls of the writes, each of one request."""
    fixtures, sealed = grown.fixtures, grown.sealed
    version, transaction = itertools.count(time.time_ns()), itertools.count(1)
    (document,) = documents(1, seed=2)

    async def record() -> None:
        await sealed.write([document], version=next(version))

    async def append() -> None:
        number = next(transaction)
        node = HistoryNode(number, number, number - 1, blob(2048))
        await fixtures.strongroom.history.append_history_nodes(fixtures.namespace_id, grown.branch, [node])

    async def update() -> None:
        await fixtures.strongroom.executions.update_workflow_execution(grown.next_update())

    return {"update of a visibility record": record, "append of 2 KiB": append, "update of a run": update}


def verification(grown: Grown, rows: int) -> dict[str, float]:
    """Verify the shard of the history, whose entries are folded, and return the seconds without those of an empty shard."""
    empty, found = verified(grown.config, NODE_SHARD + 1), verified(grown.config, ROWS_SHARD)
    assert found["rows"] >= rows, found
    seconds = found["seconds"] - empty["seconds"]
    return {"seconds": seconds, "rows a second": found["rows"] / seconds, "peak MiB": found["peak_mib"]}


async def measured(grown: Grown, rows: int, journal: Journal) -> None:
    """Measure what the journal does not have of a number of rows."""
    grown.branch, grown.run = await run_of(grown)
    for kind, calls in (("search", searches(grown)), ("write", writes(grown))):
        for name, call in calls.items():
            if journal.has(**{kind: name}, rows=rows):
                continue
            try:
                figures = await milliseconds(call)
            except QueryBudgetExceeded as refused:
                print(f"{rows:>10,} {name:34} refused: {refused}")
                continue
            journal.add(figures, **{kind: name}, rows=rows)
            print(f"{rows:>10,} {name:34} {figures['ms']:10.2f} ms")
    if rows >= LEAST_VERIFIED and not journal.has(verified="history nodes", rows=rows):
        await folded(grown.fixtures, ROWS_SHARD)
        figures = await asyncio.to_thread(verification, grown, rows)
        journal.add(figures, verified="history nodes", rows=rows)
        print(f"{rows:>10,} {'verification':34} {figures['rows a second']:10,.0f} rows a second")
    for table in TABLES:
        if not journal.has(size=table, rows=rows):
            figures = await bytes_of(grown, table)
            journal.add(figures, size=table, rows=rows)
            print(f"{rows:>10,} {table:34} {figures['bytes a row']:10.0f} bytes a row")


def is_measured(journal: Journal, rows: int) -> bool:
    """Return whether the journal has all figures of a number of rows."""
    names = [("search", name) for name in SEARCHES] + [("size", name) for name in TABLES]
    return all(journal.has(**{kind: name}, rows=rows) for kind, name in names)


async def run(numbers: Sequence[int], journal: Journal, data: Path | None) -> None:
    """Let the cell grow, and measure at each number of rows."""
    async with AsyncExitStack() as stack:
        folder = data or Path(stack.enter_context(tempfile.TemporaryDirectory()))
        server = stack.enter_context(bench_server(None if data is None else data / "server"))
        grown = await opened(stack, server, folder)
        for rows in sorted(numbers):
            if is_measured(journal, rows):
                continue
            added = await fill(grown, rows)
            held = await grown.count("history_node")
            if held < rows:
                await write_rows(grown.fixtures, rows - held)
            await vacuumed(grown)
            if added:
                journal.add(added, filled="visibility records", rows=rows)
            await measured(grown, rows, journal)


@click.command()
@click.option(
    "--rows", "numbers", default="10000,100000,1000000", show_default=True, help="Numbers of rows, with commas."
)
@click.option("--out", type=click.Path(path_type=Path), help="File for the figures. An interrupted run is continued.")
@click.option(
    "--data",
    type=click.Path(path_type=Path),
    help="Folder of the server's files, which are kept: 1.2 KB a row. Without it, an interrupted run writes the rows again.",
)
def main(numbers: str, out: Path | None, data: Path | None) -> None:
    """Measure searches, writes, verification and bytes as the tables of one namespace grow."""
    asyncio.run(run([int(number) for number in numbers.split(",")], Journal(out), data))


if __name__ == "__main__":
    main()
