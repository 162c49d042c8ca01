"""Search in one namespace of 10,000, 100,000 and more runs, sealed and as plaintext copies: `make bench-search`.

For each class of query the contenders take turns. A figure is the median of the ratios of the blocks. If the contenders find different
numbers of runs, the benchmark fails.
"""

from __future__ import annotations

import asyncio
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
    from collections.abc import Awaitable, Callable

    from benchmarks.visibility.contest import Contest

TIERS = 1000
_GROUPED = "TemporalLowCardinalityKeywordTier"
_IDS = ", ".join(f"'cust-{number:05}'" for number in range(1000))


class Search(NamedTuple):
    """A class of query.

    Attributes:
        kind: `list`, `count` or `groups`.
        query: The list filter.
        where: The condition in SQL; of groups the attribute.
        order: The order in SQL of a list.
    """

    kind: str
    query: str
    where: str
    order: str = plain.ORDER


SEARCHES = {
    "default order": Search("list", "", "true"),
    "ORDER BY StartTime": Search("list", "ORDER BY StartTime", "true", "StartTime, RunId DESC"),
    "ORDER BY CloseTime DESC": Search(
        "list", "ORDER BY CloseTime DESC", "true", "CloseTime DESC NULLS LAST, RunId DESC"
    ),
    "ORDER BY a Double": Search("list", "ORDER BY Amount", "true", "Amount, RunId DESC"),
    "list, IN of 1,000": Search("list", f"CustomerId IN ({_IDS})", f"CustomerId IN ({_IDS})"),
    "list, prefix of a custom Keyword": Search(
        "list", "CustomerId STARTS_WITH 'cust-0001'", "CustomerId LIKE 'cust-0001%'"
    ),
    "all": Search("count", "", "true"),
    "a day of StartTime": Search(
        "count",
        "StartTime BETWEEN '2026-11-10T00:00:00Z' AND '2026-11-11T00:00:00Z'",
        "StartTime BETWEEN '2026-11-10' AND '2026-11-11'",
    ),
    "IN of 1,000": Search("count", f"CustomerId IN ({_IDS})", f"CustomerId IN ({_IDS})"),
    "range of durations": Search(
        "count",
        "ExecutionDuration > '3m' AND ExecutionDuration < '1h'",
        "ExecutionDuration > 180e9 AND ExecutionDuration < 3600e9",
    ),
    "range of a Double": Search("count", "Amount BETWEEN 20.5 AND 60.25", "Amount BETWEEN 20.5 AND 60.25"),
    "range of a Keyword": Search(
        "count",
        "CustomerId >= 'cust-00100' AND CustomerId < 'cust-00200'",
        "CustomerId >= 'cust-00100' AND CustomerId < 'cust-00200'",
    ),
    "short prefix of an id": Search("count", "WorkflowId STARTS_WITH 'or'", "WorkflowId LIKE 'or%'"),
    "prefix of a custom Keyword": Search("count", "CustomerId STARTS_WITH 'cust-0001'", "CustomerId LIKE 'cust-0001%'"),
    "statuses": Search("groups", "GROUP BY ExecutionStatus", "ExecutionStatus"),
    f"{TIERS:,} values": Search("groups", f"GROUP BY {_GROUPED}", _GROUPED),
}


def in_database(search: Search) -> str:
    """Return the statement for the copy in PostgreSQL."""
    if search.kind == "list":
        return plain.page(search.where, search.order)
    return plain.count(search.where) if search.kind == "count" else plain.groups(search.where)


def in_cluster(contest: Contest, search: Search) -> Callable[[], Awaitable[Any]]:
    """Return the call for the copy in Elasticsearch."""
    cluster = contest.cluster
    assert cluster is not None
    body = cluster.twin.query(search.query)
    if search.kind == "count":
        return lambda: cluster.elastic.count(index="twin", query=body["query"])
    if search.kind == "groups":
        body["aggs"]["groups"]["terms"]["size"] = 10 * TIERS
        return lambda: cluster.elastic.search(index="twin", **body)
    return lambda: cluster.elastic.search(index="twin", **body, size=100, track_total_hits=False)


async def measured(contest: Contest, name: str, search: Search) -> dict[str, tuple[float, float]]:
    """Return the figures of a class of query: for each index the ratio, and the copy's milliseconds."""
    ours, statement = contest.ours, in_database(search)
    call = ours.list if search.kind == "list" else ours.count
    if search.kind == "count":
        await contest.agreed(search.query, search.where)
    elif search.kind == "list":
        found, wanted = await ours.list(ours.postgres, search.query), len(await contest.database.fetch(statement))
        assert found == wanted, f"{name}: {found} listed, {wanted} wanted"
    rows = await contest.ratio(
        lambda: call(ours.postgres, search.query), lambda: contest.database.fetch(statement), runs=3
    )
    figures = {"postgres": rows}
    if contest.cluster is not None:
        theirs = in_cluster(contest, search)
        figures["elasticsearch"] = await contest.ratio(lambda: call(ours.elastic, search.query), theirs, runs=3)
    return figures


async def run(setup: Setup, journal: Journal) -> None:
    """Fill the contenders with documents of one number, and measure each class."""
    async with contenders(setup, journal, tiers=min(TIERS, setup.number)) as contest:
        await contest.database.execute("VACUUM ANALYZE executions_visibility")
        async with contest.ours.strongroom.database.connection(EVERY_NAMESPACE) as connection:
            await connection.execute("VACUUM ANALYZE visibility_records")
        for name, search in SEARCHES.items():
            try:
                figures = await measured(contest, name, search)
            except QueryBudgetExceeded as refused:
                print(f"{setup.number:>9} {search.kind:6} {name:34} refused: {refused}")
                continue
            journal.add(figures, **{search.kind: name, "documents": setup.number})
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
    if out is not None:
        out.unlink(missing_ok=True)
    prefixed = () if no_prefixes else ("CustomerId",)
    journal = Journal(out, documents=numbers, preset=preset, prefixes=", ".join(prefixed) or "none")
    for name, milliseconds in worst_cases().items():
        journal.add({"milliseconds": milliseconds}, parsed=name)
        print(f"parse of {name:40} {milliseconds:8.1f} ms")
    for number in map(int, numbers.split(",")):
        setup = Setup(number, preset, only is None, url, lease=0.0, blocks=blocks, prefixed=prefixed)
        asyncio.run(run(setup, journal))


if __name__ == "__main__":
    main()
