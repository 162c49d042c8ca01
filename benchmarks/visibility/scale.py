"""Search in one namespace of 10,000, 100,000 and more runs, sealed and as plaintext copies: `make bench-search`.

For each class of query the contenders take turns. A figure is the median of the ratios of the blocks. If the contenders find different
numbers of runs, the benchmark fails. An interrupted run measures only the numbers of runs that the journal lacks.
"""

from __future__ import annotations

import asyncio
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import click

from benchmarks.lib.journal import Journal
from benchmarks.visibility import postgres_copy as plain
from benchmarks.visibility.contest import Setup, contenders
from benchmarks.visibility.parser_cost import worst_cases
from strongroom.storage import EVERY_NAMESPACE
from strongroom.visibility import PRESETS, QueryBudgetExceeded

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping, Sequence

    from benchmarks.visibility.contest import Contest
    from strongroom.visibility import VisibilityManager

RUNS = 3
"""Calls of a contender in a block."""
SLOW = 5.0
"""Seconds of the first call from which on each contender is called once only."""
TIERS = 1000
_GROUPED = "TemporalLowCardinalityKeywordTier"


class Search(NamedTuple):
    """A class of query.

    The filters of a class have values that differ from call to call, so that no cache answers the same one again. Both contenders get
    the same ones in the same order. A filter without values can't differ.

    Attributes:
        kind: `list`, `count` or `groups`.
        query: The list filter, with places for values.
        where: The condition in SQL, with the same places; of groups the attribute.
        order: The order in SQL of a list.
        values: The values of a call by its number, from 0 on.
    """

    kind: str
    query: str
    where: str
    order: str = plain.ORDER
    values: Callable[[int], Mapping[str, object]] = lambda _: {}

    def filter(self, number: int) -> str:
        """Return the list filter of a call."""
        return self.query.format_map(self.values(number))

    def statement(self, number: int) -> str:
        """Return the statement of a call for the copy in PostgreSQL."""
        where = self.where.format_map(self.values(number))
        if self.kind == "list":
            return plain.page(where, self.order)
        return plain.count(where) if self.kind == "count" else plain.groups(where)


def _customers(number: int) -> Mapping[str, object]:
    return {"ids": ", ".join(f"'cust-{each:05}'" for each in range(number, number + 1000))}


def _seconds(number: int) -> Mapping[str, object]:
    return {"second": number % 60}


def _numbers(number: int) -> Mapping[str, object]:
    return {"low": 20.5 + number / 100, "high": 60.25 + number / 100}


SEARCHES = {
    "default order": Search("list", "", "true"),
    "ORDER BY StartTime": Search("list", "ORDER BY StartTime", "true", "StartTime, RunId DESC"),
    "ORDER BY CloseTime DESC": Search(
        "list", "ORDER BY CloseTime DESC", "true", "CloseTime DESC NULLS LAST, RunId DESC"
    ),
    "ORDER BY a Double": Search("list", "ORDER BY Amount", "true", "Amount, RunId DESC"),
    "list, IN of 1,000": Search("list", "CustomerId IN ({ids})", "CustomerId IN ({ids})", values=_customers),
    "list, prefix of a custom Keyword": Search(
        "list",
        "CustomerId STARTS_WITH 'cust-000{digit}'",
        "CustomerId LIKE 'cust-000{digit}%'",
        values=lambda number: {"digit": number % 10},
    ),
    "all": Search("count", "", "true"),
    "a day of StartTime": Search(
        "count",
        "StartTime BETWEEN '2026-11-10T00:00:{second:02}Z' AND '2026-11-11T00:00:{second:02}Z'",
        "StartTime BETWEEN '2026-11-10 00:00:{second:02}' AND '2026-11-11 00:00:{second:02}'",
        values=_seconds,
    ),
    "IN of 1,000": Search("count", "CustomerId IN ({ids})", "CustomerId IN ({ids})", values=_customers),
    "range of durations": Search(
        "count",
        "ExecutionDuration > '3m{second}s' AND ExecutionDuration < '1h{second}s'",
        "ExecutionDuration > 180e9 + {second}e9 AND ExecutionDuration < 3600e9 + {second}e9",
        values=_seconds,
    ),
    "range of a Double": Search(
        "count", "Amount BETWEEN {low} AND {high}", "Amount BETWEEN {low} AND {high}", values=_numbers
    ),
    "outside a range of a Double": Search(
        "count",
        "NOT Amount BETWEEN {low} AND {high}",
        "(Amount BETWEEN {low} AND {high}) IS NOT TRUE",
        values=_numbers,
    ),
    "range of a Keyword": Search(
        "count",
        "CustomerId >= 'cust-{low:05}' AND CustomerId < 'cust-{high:05}'",
        "CustomerId >= 'cust-{low:05}' AND CustomerId < 'cust-{high:05}'",
        values=lambda number: {"low": 100 + number, "high": 200 + number},
    ),
    "short prefix of an id": Search("count", "WorkflowId STARTS_WITH 'or'", "WorkflowId LIKE 'or%'"),
    "prefix of a custom Keyword": Search(
        "count",
        "CustomerId STARTS_WITH 'cust-000{digit}'",
        "CustomerId LIKE 'cust-000{digit}%'",
        values=lambda number: {"digit": number % 10},
    ),
    "statuses": Search("groups", "GROUP BY ExecutionStatus", "ExecutionStatus"),
    f"{TIERS:,} values": Search("groups", f"GROUP BY {_GROUPED}", _GROUPED),
}


def in_cluster(contest: Contest, search: Search, number: int) -> Callable[[], Awaitable[Any]]:
    """Return a call for the copy in Elasticsearch."""
    cluster = contest.cluster
    assert cluster is not None
    body = cluster.twin.query(search.filter(number))
    if search.kind == "count":
        return lambda: cluster.elastic.count(index="twin", query=body["query"])
    if search.kind == "groups":
        body["aggs"]["groups"]["terms"]["size"] = 10 * TIERS
        return lambda: cluster.elastic.search(index="twin", **body)
    return lambda: cluster.elastic.search(index="twin", **body, size=100, track_total_hits=False)


def one_after_the_other(calls: Sequence[Callable[[], Awaitable[Any]]]) -> Callable[[], Awaitable[Any]]:
    """Return a call that makes the next one of these each time."""
    following = iter(calls)

    async def call() -> Any:
        return await next(following)()

    return call


async def measured(contest: Contest, name: str, search: Search) -> dict[str, tuple[float, float]]:
    """Return the figures of a class of query: for each index the ratio, and the copy's milliseconds."""
    ours, first = contest.ours, search.filter(0)
    call = ours.list if search.kind == "list" else ours.count
    if search.kind == "count":
        await contest.agreed(first, search.where.format_map(search.values(0)))
    elif search.kind == "list":
        found, wanted = await ours.list(ours.postgres, first), len(await contest.database.fetch(search.statement(0)))
        assert found == wanted, f"{name}: {found} listed, {wanted} wanted"
    numbers = range(1, contest.blocks * RUNS + 1)

    async def ratio(manager: VisibilityManager, theirs: list[Callable[[], Awaitable[Any]]]) -> tuple[float, float]:
        sealed = [lambda number=number: call(manager, search.filter(number)) for number in numbers]
        began = time.perf_counter()
        await call(manager, first)
        often = {"blocks": 1, "runs": 1} if time.perf_counter() - began > SLOW else {"runs": RUNS}
        return await contest.ratio(one_after_the_other(sealed), one_after_the_other(theirs), **often)

    statements = [lambda number=number: contest.database.fetch(search.statement(number)) for number in numbers]
    figures = {"postgres": await ratio(ours.postgres, statements)}
    if contest.cluster is not None:
        requests = [in_cluster(contest, search, number) for number in numbers]
        figures["elasticsearch"] = await ratio(ours.elastic, requests)
    return figures


async def run(setup: Setup, journal: Journal) -> None:
    """Fill the contenders with documents of one number, and measure each class."""
    async with contenders(setup, journal, tiers=min(TIERS, setup.number)) as contest:
        await contest.database.execute("VACUUM ANALYZE executions_visibility")
        async with contest.ours.strongroom.database.connection(EVERY_NAMESPACE) as connection:
            await connection.execute("VACUUM ANALYZE visibility_records")
        for name, search in SEARCHES.items():
            if journal.has(**{search.kind: name}, documents=setup.number):
                continue
            try:
                figures = await measured(contest, name, search)
            except QueryBudgetExceeded as refused:
                print(f"{setup.number:>9} {search.kind:6} {name:34} refused: {refused}")
                continue
            journal.add(figures, **{search.kind: name}, documents=setup.number)
            shown = "   ".join(
                f"{index} {ratio:8.2f} x {plain_ms:9.2f} ms" for index, (ratio, plain_ms) in figures.items()
            )
            print(f"{setup.number:>9} {search.kind:6} {name:34} {shown}")


@click.command()
@click.option("--documents", "numbers", default="10000,100000", show_default=True, help="Numbers of runs, with commas.")
@click.option(
    "--preset", default="compatible", show_default=True, type=click.Choice(PRESETS), help="What the index holds."
)
@click.option("--out", type=click.Path(path_type=Path), help="File for the figures.")
@click.option(
    "--no-prefixes", is_flag=True, help="Give no Keyword tokens of its prefixes; otherwise CustomerId has them."
)
@click.option("--only", type=click.Choice(["postgres"]), help="Leave Elasticsearch out.")
@click.option("--url", help="Address of an Elasticsearch; without it a node is started.")
@click.option("--blocks", default=5, show_default=True, help="Blocks of calls of a contender for each figure.")
def main(
    numbers: str, preset: str, out: Path | None, only: str | None, url: str | None, blocks: int, *, no_prefixes: bool
) -> None:
    """Compare searches in large namespaces with plaintext copies."""
    prefixed = () if no_prefixes else ("CustomerId",)
    journal = Journal(out, preset=preset, prefixes=", ".join(prefixed) or "none")
    if not any(dict(place).get("parsed") for place in journal.entries):
        for name, milliseconds in worst_cases().items():
            journal.add({"milliseconds": milliseconds}, parsed=name)
            print(f"parse of {name:40} {milliseconds:8.1f} ms")
    for number in map(int, numbers.split(",")):
        if all(journal.has(**{search.kind: name}, documents=number) for name, search in SEARCHES.items()):
            continue
        setup = Setup(number, preset, only is None, url, lease=0.0, blocks=blocks, prefixed=prefixed)
        asyncio.run(run(setup, journal))


if __name__ == "__main__":
    main()
