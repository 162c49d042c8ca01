"""Compare sealed visibility with plaintext copies, in Elasticsearch and in PostgreSQL: `make bench-visibility`.

All contenders have the same documents, on one node and one server. For each class of query the contenders take turns in blocks. The
result is the median of the ratios of the blocks. If the contenders find different numbers of runs, there is no result. Client and
servers share the cores of the machine.
"""

from __future__ import annotations

import asyncio
import statistics
import tempfile
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import asyncpg
import click

from benchmarks.lib.bench_server import bench_server
from benchmarks.lib.journal import Journal
from benchmarks.visibility import postgres_copy as plain
from benchmarks.visibility.documents import CUSTOM
from benchmarks.visibility.measure import ratio, verdict
from benchmarks.visibility.queries import COUNTS, GROUPING, LISTS
from benchmarks.visibility.sealed import Sealed
from benchmarks.visibility.sizes import LEASE, Cluster, index_sizes, sizes, write
from strongroom.driver.config import ElasticsearchConfig, load_config, write_config
from strongroom.driver.strongroom import Strongroom
from strongroom.kms import KekRef
from strongroom.storage.engine.connection import SCHEMA
from strongroom.visibility import (
    PRESETS,
    QueryBudgetExceeded,
    VisibilityManager,
    attribute_types,
    new_layout,
    with_prefixes,
)

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable


@dataclass(frozen=True, slots=True)
class Setup:
    """What is compared, and for how long.

    Attributes:
        number: Number of documents.
        preset: Preset of the sealed index.
        with_cluster: Whether Elasticsearch takes part.
        url: Address of an Elasticsearch; None starts one.
        lease: Seconds until the index is merged and its size is read.
        blocks: Maximum number of blocks of calls for a figure.
        prefixed: The custom Keywords whose prefixes have tokens.
    """

    number: int
    preset: str
    with_cluster: bool
    url: str | None
    lease: float
    blocks: int
    prefixed: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Contest:
    """All contenders, with the same documents."""

    ours: Sealed
    cluster: Cluster | None
    database: asyncpg.Connection
    sealed: asyncpg.Connection
    blocks: int

    async def ratio(
        self,
        ours: Callable[[], Awaitable[Any]],
        theirs: Callable[[], Awaitable[Any]],
        *,
        blocks: int = 9,
        runs: int = 12,
    ) -> tuple[float, float]:
        """Return the ratio of two calls, and the milliseconds of the second one."""
        return await ratio(ours, theirs, blocks=min(blocks, self.blocks), runs=runs)

    async def agreed(self, query: str, where: str) -> None:
        """Count with all contenders, and fail if their counts differ."""
        found = [await self.ours.count(self.ours.postgres, query)]
        wanted = [await self.database.fetchval(plain.count(where))]
        if self.cluster is not None:
            found.append(await self.ours.count(self.ours.elastic, query))
            wanted.append(self.cluster.twin.count(query))
        assert found == wanted, f"{query}: {found} found, {wanted} wanted"

    async def in_postgres(
        self, query: str, theirs: str, call: Callable[[VisibilityManager, str], Awaitable[int]], **often: int
    ) -> list[tuple[float, float]]:
        """Compare a call in PostgreSQL: its first statement alone, and end to end."""
        statement = await self.ours.statement(query, call)
        return [
            await self.ratio(lambda: self.sealed.fetch(*statement), lambda: self.database.fetch(theirs), **often),
            await self.ratio(lambda: call(self.ours.postgres, query), lambda: self.database.fetch(theirs), **often),
        ]

    async def list_in_cluster(self, query: str) -> list[tuple[float, float]]:
        """Compare a list in Elasticsearch: the request alone, and end to end."""
        if (cluster := self.cluster) is None:
            return []
        body, theirs = await self.ours.body(query), cluster.twin.query(query) | {"size": 100, "track_total_hits": False}

        async def request(index: str, body: dict[str, Any]) -> None:
            await asyncio.to_thread(cluster.client.request, "POST", f"/{index}/_search", body)

        return [
            await self.ratio(lambda: request("sealed", body), lambda: request("twin", theirs)),
            await self.ratio(
                lambda: self.ours.list(self.ours.elastic, query), lambda: cluster.elastic.search(index="twin", **theirs)
            ),
        ]

    async def count_in_cluster(self, query: str, *targets: float) -> None:
        """Compare a count in Elasticsearch, and print it."""
        if (cluster := self.cluster) is None:
            return
        body = cluster.twin.query(query)
        grouped = "aggs" in body
        figure, _ = await self.ratio(
            lambda: self.ours.count(self.ours.elastic, query),
            lambda: (
                cluster.elastic.search(index="twin", **body)
                if grouped
                else cluster.elastic.count(index="twin", query=body["query"])
            ),
        )
        print(f"{'  the same in Elasticsearch':40} {verdict(figure, *targets)}")


def titled(contest: Contest) -> tuple[str, ...]:
    """Return the names of the figures of a list."""
    cluster = () if contest.cluster is None else ("elasticsearch request", "elasticsearch end to end")
    return ("postgres statement", "postgres end to end", *cluster)


async def queries(contest: Contest, journal: Journal) -> None:
    """Compare each class of query."""
    titles = ("PG statement", "end to end", *(("ES request", "end to end") if contest.cluster else ()))
    print(f"\n{'list of 100':18} {'  '.join(f'{title:>12}' for title in titles)}   (plain: ms each)")
    columns: list[list[float]] = [[] for _ in titles]
    for name, (query, where) in LISTS.items():
        try:
            await contest.agreed(query, where)
        except QueryBudgetExceeded:
            print(f"{name:18} refused: this preset has no tokens for it")
            continue
        figures = await contest.in_postgres(query, plain.page(where), contest.ours.list)
        figures += await contest.list_in_cluster(query)
        journal.add(dict(zip(titled(contest), figures, strict=True)), list=name)
        for column, (figure, _) in zip(columns, figures, strict=True):
            column.append(figure)
        marks = "  ".join(f"{figure:12.2f}" for figure, _ in figures)
        print(f"{name:18} {marks}     {'  '.join(f'{milliseconds:6.2f}' for _, milliseconds in figures)}")
    statements, postgres, *cluster = columns
    if cluster:
        print(f"{'worst ES request':40} {verdict(max(cluster[0]), 1.0, 0.7)}")
        print(f"{'worst end to end':40} {verdict(max(cluster[1]), 1.4, 1.1)}")
    print(f"\n{'count in PostgreSQL':40} statement, end to end   (plain: ms)")
    counted = [(f"count, {name}", *LISTS[name]) for name in COUNTS]
    for name, query, where in (*counted, (GROUPING, GROUPING, "")):
        theirs = plain.count(where) if where else plain.groups()
        figures = await contest.in_postgres(query, theirs, contest.ours.count, blocks=5, runs=4)
        journal.add({"postgres statement": figures[0], "postgres end to end": figures[1]}, count=name)
        print(f"{name:40} {figures[0][0]:7.2f} {figures[1][0]:7.2f}   ({figures[0][1]:.2f})")
        await contest.count_in_cluster(query, *((1.0, 0.95) if where else (2.0, 1.2)))
        if where:
            statements.append(figures[0][0])
            postgres.append(figures[1][0])
    for name, column in (("statement alone", statements), ("end to end", postgres)):
        print(f"{f'PostgreSQL, {name}, median':40} {verdict(statistics.median(column), 0.8, 0.5)}")
        print(f"{f'PostgreSQL, {name}, worst':40} {verdict(max(column), 2.0, 1.0)}")


@asynccontextmanager
async def contenders(setup: Setup, journal: Journal, *, tiers: int = 0) -> AsyncIterator[Contest]:
    """Fill all four contenders, or only the two in PostgreSQL.

    Args:
        setup: What is compared.
        journal: The journal of the speeds.
        tiers: As for `documents`.
    """
    async with AsyncExitStack() as stack:
        server = stack.enter_context(bench_server())
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        admin = await asyncpg.connect(f"{server}/postgres")
        for name in ("sealed", "twin"):
            await admin.execute(f"CREATE DATABASE {name}")
        path = folder / "bench.toml"
        write_config(path, dsn=f"{server}/sealed", keyring="bench.json")
        config, cluster = load_config(path), None
        if setup.with_cluster:
            # Imported here, because a measurement of PostgreSQL alone does not need them.
            from elasticsearch import AsyncElasticsearch, OrjsonSerializer  # noqa: PLC0415

            from tests.support.elasticsearch_node import Client, elasticsearch_node  # noqa: PLC0415
            from tests.support.plaintext_copy import Attributes, PlaintextCopy  # noqa: PLC0415

            if (url := setup.url) is None:
                url = stack.enter_context(elasticsearch_node(heap="2g", java_options=(), own=True)).url
            config = replace(config, elasticsearch=ElasticsearchConfig(url, index="sealed", insecure=True))
            client = stack.enter_context(Client(url))
            elastic = AsyncElasticsearch(url, serializer=OrjsonSerializer())
            stack.push_async_callback(elastic.close)
            stack.callback(client.request, "DELETE", "/twin?ignore_unavailable=true")
            cluster = Cluster(client, elastic, PlaintextCopy.create(client, "twin", Attributes(CUSTOM)))
        await Strongroom.init(config)
        strongroom = await stack.enter_async_context(Strongroom.open(config))
        if strongroom.search_index is not None:
            await strongroom.search_index.create()
            stack.push_async_callback(strongroom.search_index.drop)
        kek = KekRef.parse("local:bench")
        await strongroom.create_kek(kek)
        namespace = await strongroom.namespaces.create(
            "bench", kek=kek, search_attributes=CUSTOM, index_layout=str(new_layout(setup.preset))
        )
        if setup.prefixed:
            keys = await strongroom.keyring.open(namespace.namespace_id)
            chosen = with_prefixes(new_layout(setup.preset), keys, setup.prefixed, attribute_types(namespace))
            await strongroom.index_rotation(wait=0).rotate(namespace.namespace_id, {}, layout=chosen)
        ours = Sealed(strongroom, namespace)
        database = await asyncpg.connect(f"{server}/twin")
        await plain.create(database)
        await write(ours, cluster, database, setup.number, journal, tiers=tiers)
        sealed = await asyncpg.connect(f"{server}/sealed", server_settings={"search_path": SCHEMA})
        yield Contest(ours, cluster, database, sealed, setup.blocks)


async def run(setup: Setup, journal: Journal) -> None:
    """Fill the contenders, and measure."""
    async with contenders(setup, journal) as contest:
        ours, cluster = contest.ours, contest.cluster
        if cluster is not None:
            await index_sizes(ours, cluster.client, setup.number, setup.preset, journal, setup.lease)
        await sizes(ours, contest.database, setup.number, journal)
        await queries(contest, journal)


@click.command()
@click.option("--documents", "number", default=100_000, show_default=True, help="Runs to write.")
@click.option(
    "--preset", default="compatible", show_default=True, type=click.Choice(PRESETS), help="What the index holds."
)
@click.option("--out", type=click.Path(path_type=Path), help="File for the figures.")
@click.option("--only", type=click.Choice(["postgres"]), help="Leave Elasticsearch out.")
@click.option("--url", help="Address of an Elasticsearch; without it a node is started.")
@click.option("--blocks", default=9, show_default=True, help="Blocks of calls of a contender for each figure.")
@click.option(
    "--lease", default=LEASE, show_default=True, help="Seconds until the index is merged and its size is read."
)
def main(out: Path | None, only: str | None, **setup: Any) -> None:
    """Compare sealed visibility with plaintext copies."""
    if out is not None:
        out.unlink(missing_ok=True)  # each run writes its own documents, so that figures of two runs are not mixed
    journal = Journal(out, documents=setup["number"], preset=setup["preset"])
    asyncio.run(run(Setup(with_cluster=only is None, **setup), journal))


if __name__ == "__main__":
    main()
