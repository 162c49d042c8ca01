"""Sealed visibility against its plaintext twins, in Elasticsearch and in PostgreSQL: `make bench-visibility`.

The same documents, one node, one server. Of each class of query the contenders take turns in blocks; what is told are medians of
the ratios of blocks. Both must find as many runs, or there is no figure. Client and servers share the machine's cores.
"""

from __future__ import annotations

import asyncio
import base64
import statistics
import tempfile
import time
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import asyncpg
import click

from benchmarks import visibility_postgres_twin as plain
from benchmarks.bench_server import bench_server
from benchmarks.visibility_documents import CUSTOM, documents
from strongroom.driver.config import ElasticsearchConfig, load_config, write_config
from strongroom.driver.importing.importer import attribute_types
from strongroom.driver.strongroom import Strongroom, shard_of
from strongroom.kms import KekRef
from strongroom.storage import EVERY_NAMESPACE
from strongroom.storage.engine.connection import SCHEMA
from strongroom.visibility import PRESETS, QueryBudgetExceeded, VisibilityManager, new_layout
from tests.support.plaintext_copy.mapping import document_id
from tests.support.plaintext_copy.records import record_of

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator, Mapping, Sequence

    from elasticsearch import AsyncElasticsearch

    from strongroom.storage import Database, Namespace, VisibleNamespaces
    from tests.support.elasticsearch_node import Client
    from tests.support.plaintext_copy import Twin

# class of query -> the filter, and the same as a condition of SQL
LISTS = {
    "everything": ("", "true"),
    "type, frequent": ("WorkflowType = 'Ship0Workflow'", "WorkflowType = 'Ship0Workflow'"),
    "type, rare": ("WorkflowType = 'Sync40Workflow'", "WorkflowType = 'Sync40Workflow'"),
    "workflow id": ("WorkflowId = 'order/web/000012'", "WorkflowId = 'order/web/000012'"),
    "customer": ("CustomerId = 'cust-00007'", "CustomerId = 'cust-00007'"),
    "type and status": (
        "WorkflowType = 'Ship1Workflow' AND ExecutionStatus = 'Failed'",
        "WorkflowType = 'Ship1Workflow' AND ExecutionStatus = 3",
    ),
    "status Completed": ("ExecutionStatus = 'Completed'", "ExecutionStatus = 2"),
    "status Running": ("ExecutionStatus = 'Running'", "ExecutionStatus = 1"),
    "IN of 20": (
        f"WorkflowType IN ({', '.join(repr(f'Charge{n}Workflow') for n in range(20))})",
        f"WorkflowType IN ({', '.join(repr(f'Charge{n}Workflow') for n in range(20))})",
    ),
    "prefix of 8": ("WorkflowId STARTS_WITH 'order/we'", "WorkflowId LIKE 'order/we%'"),
    "start of a day": (
        "StartTime BETWEEN '2026-11-10T00:00:00Z' AND '2026-11-11T00:00:00Z'",
        "StartTime BETWEEN '2026-11-10' AND '2026-11-11'",
    ),
    "history length": ("HistoryLength BETWEEN 64 AND 127", "HistoryLength BETWEEN 64 AND 127"),
    "NOT type": ("WorkflowType != 'Ship0Workflow'", "(WorkflowType = 'Ship0Workflow') IS NOT TRUE"),
    "NOT Completed": ("ExecutionStatus != 'Completed'", "ExecutionStatus <> 2"),
    "no parent": ("ParentWorkflowId IS NULL", "ParentWorkflowId IS NULL"),
    "tag": ("Tags = 'gold'", "Tags @> '\"gold\"'"),
    "words": ("Note = 'word7 word8'", "Note @@ 'word7 | word8'::tsquery"),
}
LEASE = 35
"""Seconds after which a merge drops what the cluster keeps of writes for replicas that were away for a moment."""
BYTES = {"compatible": (0.7, 0.6), "strict": (1.0, 0.85)}
"""Must and goal of an index's size, by preset."""
GROUPING = "GROUP BY ExecutionStatus"
COUNTS = ("everything", "type, frequent", "start of a day", "NOT Completed")


def batched(items: Iterable[Any], size: int) -> Iterator[tuple[Any, ...]]:
    """As `itertools.batched` of later Pythons."""
    items = iter(items)
    while batch := tuple(islice(items, size)):
        yield batch


class Overheard:
    """A database whose statements are noted."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self.heard: list[tuple[Any, ...]] = []

    @asynccontextmanager
    async def connection(self, namespaces: VisibleNamespaces) -> AsyncIterator[Overheard]:
        """Lend a connection."""
        async with self._database.connection(namespaces) as connection:
            self._connection = connection
            yield self

    def is_walled(self, _: Overheard) -> bool:
        """It connects as the owner of the tables."""
        return False

    async def fetch(self, *statement: Any) -> Sequence[Any]:
        """Note a statement, and run it."""
        self.heard.append(statement)
        return await self._connection.fetch(*statement)

    async def fetchrow(self, *statement: Any) -> Any:
        """The same for one row."""
        return (await self.fetch(*statement))[0]


class Sealed:
    """The sealed contender: one namespace, searched through either index."""

    def __init__(self, strongroom: Strongroom, namespace: Namespace) -> None:
        self.strongroom, self.namespace_id, self.types = strongroom, namespace.namespace_id, attribute_types(namespace)
        self.elastic = strongroom.visibility
        self.postgres = VisibilityManager(strongroom.database, strongroom.keyring)

    async def write(self, found: Sequence[dict[str, Any]]) -> float:
        """Write documents to the database; return the CPU seconds of this process to seal them."""
        keys = await self.strongroom.keyring.open(self.namespace_id)
        shards = self.strongroom.config.cell.shard_count
        records = [record_of({k: v for k, v in each.items() if k != "Memo"}, memo=each["Memo"]) for each in found]
        rows = [(shard_of(keys, record.workflow_id, shards), 1, record) for record in records]
        began = time.process_time()
        await self.elastic.record_workflow_executions(self.namespace_id, rows, self.types)
        return time.process_time() - began

    async def body(self, query: str) -> dict[str, Any]:
        """Return what a list of 100 sends to the cluster first."""
        index = self.strongroom.search_index
        assert index is not None
        sent: list[dict[str, Any]] = []
        real = index.search

        async def heard(body: dict[str, Any], *, snapshot: str | None) -> dict[str, Any]:
            sent.append(dict(body))
            return await real(body, snapshot=snapshot)

        index.search = heard  # type: ignore[method-assign]
        try:
            await self.list(self.elastic, query)
        finally:
            index.search = real  # type: ignore[method-assign]
        return sent[0]

    async def statement(self, query: str, call: Callable[[VisibilityManager, str], Awaitable[int]]) -> tuple[Any, ...]:
        """Return what a call asks PostgreSQL first: a statement and its parameters."""
        overheard: Any = Overheard(self.strongroom.database)
        await call(VisibilityManager(overheard, self.strongroom.keyring), query)
        found: tuple[Any, ...] = overheard.heard[0]
        return found

    async def list(self, manager: VisibilityManager, query: str) -> int:
        """List 100."""
        page = await manager.list_workflow_executions(self.namespace_id, query, self.types, page_size=100)
        return len(page.executions)

    async def count(self, manager: VisibilityManager, query: str) -> int:
        """Count."""
        return (await manager.count_workflow_executions(self.namespace_id, query, self.types)).count


async def ratio(
    ours: Callable[[], Awaitable[Any]], theirs: Callable[[], Awaitable[Any]], *, blocks: int = 9, runs: int = 12
) -> tuple[float, float]:
    """Return the median of the ratios of blocks, ours over theirs, and the median milliseconds of theirs."""
    ratios, plains = [], []
    for _ in range(blocks):
        medians = []
        for contender in (ours, theirs):
            times = []
            for _ in range(runs):
                began = time.perf_counter()
                await contender()
                times.append(time.perf_counter() - began)
            medians.append(statistics.median(times))
        ratios.append(medians[0] / medians[1])
        plains.append(medians[1])
    return statistics.median(ratios), 1000 * statistics.median(plains)


def verdict(figure: float, must: float, goal: float, *, more: bool = False) -> str:
    """Return a figure with its must and goal."""
    met = (figure >= must) if more else (figure <= must)
    return f"{figure:7.2f}   must {must}, goal {goal}: {'met' if met else 'MISSED'}"


@dataclass(frozen=True, slots=True)
class Cluster:
    """The node of Elasticsearch, through two clients, with the twin's index on it."""

    client: Client
    elastic: AsyncElasticsearch
    twin: Twin


async def run(number: int, preset: str, *, with_cluster: bool) -> None:
    """Fill all four, or the two in PostgreSQL, and measure."""
    async with AsyncExitStack() as stack:
        server = stack.enter_context(bench_server())
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        admin = await asyncpg.connect(f"{server}/postgres")
        for name in ("sealed", "twin"):
            await admin.execute(f"CREATE DATABASE {name}")
        path = folder / "bench.toml"
        write_config(path, dsn=f"{server}/sealed", keyring="bench.json")
        config, cluster = load_config(path), None
        if with_cluster:
            # Not above: what measures PostgreSQL alone needs none of them.
            from elasticsearch import AsyncElasticsearch, OrjsonSerializer  # noqa: PLC0415

            from tests.support.elasticsearch_node import Client, elasticsearch_node  # noqa: PLC0415
            from tests.support.plaintext_copy import Attributes, Twin  # noqa: PLC0415

            node = stack.enter_context(elasticsearch_node(heap="2g", java_options=(), own=True))
            config = replace(config, elasticsearch=ElasticsearchConfig(node.url, index="sealed", insecure=True))
            client = stack.enter_context(Client(node.url))
            elastic = AsyncElasticsearch(node.url, serializer=OrjsonSerializer())
            stack.push_async_callback(elastic.close)
            cluster = Cluster(client, elastic, Twin.create(client, "twin", Attributes(CUSTOM)))
        await Strongroom.init(config)
        strongroom = await stack.enter_async_context(Strongroom.open(config))
        if strongroom.search_index is not None:
            await strongroom.search_index.create()
        kek = KekRef.parse("local:bench")
        await strongroom.create_kek(kek)
        namespace = await strongroom.namespaces.create(
            "bench", kek=kek, search_attributes=CUSTOM, index_layout=str(new_layout(preset))
        )
        ours = Sealed(strongroom, namespace)
        database = await asyncpg.connect(f"{server}/twin")
        await plain.create(database)
        await write(ours, cluster, database, number)
        if cluster is not None:
            await index_sizes(ours, cluster.client, number, preset)
        await sizes(ours, database, number)
        sealed = await asyncpg.connect(f"{server}/sealed", server_settings={"search_path": SCHEMA})
        await queries(Contest(ours, cluster, database, sealed))


async def write(ours: Sealed, cluster: Cluster | None, database: asyncpg.Connection, number: int) -> None:
    """Write the documents to all in turns, and say how fast."""
    sealing = indexing = plain_indexing = 0.0
    for some in batched(documents(number), 2000):
        sealing += await ours.write(some)
        await plain.write(database, some)
        if cluster is None:
            continue
        indexer, twin, elastic = ours.strongroom.indexer, cluster.twin, cluster.elastic
        assert indexer is not None
        began = time.perf_counter()
        await indexer.drain()
        indexing += time.perf_counter() - began
        began = time.perf_counter()
        for piece in batched(some, 500):
            lines: list[Mapping[str, Any]] = []
            for each in piece:
                source = twin.source({k: v for k, v in each.items() if k != "Memo"})
                source |= {
                    "Memo": base64.b64encode(each["Memo"]).decode(),
                    "MemoEncoding": "Proto3",
                    "VisibilityTaskKey": "12~34567",
                }
                lines += [{"index": {"_id": document_id(each)}}, source]
            await elastic.bulk(index="twin", operations=lines)
        plain_indexing += time.perf_counter() - began
    print(f"{number} documents")
    print(
        f"sealing, tokens and writing, client CPU  {sealing / number * 1e6:7.1f} µs a document   must 70, goal 40 (documents alone)"
    )
    if cluster is not None:
        print(
            f"bulk indexing, sealed / plain            {verdict(plain_indexing / indexing, 0.85, 1.0, more=True)}"
            f" ({number / indexing:.0f} a second)"
        )


async def index_sizes(ours: Sealed, client: Client, number: int, preset: str) -> None:
    """Say how many bytes a document takes in Elasticsearch."""
    stored, shape = [], []
    await asyncio.sleep(LEASE)
    await touch(ours, client)
    for index in ("sealed", "twin"):
        client.request("POST", f"/{index}/_forcemerge?max_num_segments=1&flush=true")
        client.request("POST", f"/{index}/_refresh")
        stats = client.request("GET", f"/{index}/_stats/store,docs,segments")["_all"]["primaries"]
        assert stats["docs"]["count"] == number, "both have all documents"
        stored.append(stats["store"]["size_in_bytes"] / number)
        shape.append(f"{stats['segments']['count']} segments, {stats['docs']['deleted']} deleted")
    print(
        f"Elasticsearch, bytes a document          {verdict(stored[0] / stored[1], *BYTES[preset])}"
        f" ({stored[0]:.0f} against {stored[1]:.0f})"
    )


async def sizes(ours: Sealed, database: asyncpg.Connection, number: int) -> None:
    """Say how many bytes a row takes in PostgreSQL."""
    size = "SELECT pg_total_relation_size('{}')"
    await database.execute("VACUUM ANALYZE executions_visibility")
    async with ours.strongroom.database.connection(EVERY_NAMESPACE) as connection:
        await connection.execute("VACUUM ANALYZE visibility_records")
        sealed = await connection.fetchval(size.format("visibility_records")) / number
    twin = await database.fetchval(size.format("executions_visibility")) / number
    print(
        f"PostgreSQL, bytes a row with its indexes {verdict(sealed / twin, 0.4, 0.3)} ({sealed:.0f} against {twin:.0f})"
    )


async def touch(ours: Sealed, client: Client) -> None:
    """Write a few documents again, so that there is something to merge: what is in one segment already is not written anew."""
    again = "INSERT INTO visibility_outbox SELECT shard_id, namespace_id, id FROM visibility_records LIMIT 10"
    async with ours.strongroom.database.connection(EVERY_NAMESPACE) as connection:
        await connection.execute(again)
    indexer = ours.strongroom.indexer
    assert indexer is not None
    await indexer.drain()
    for hit in client.request("POST", "/twin/_search", {"size": 10})["hits"]["hits"]:
        client.request("PUT", f"/twin/_doc/{quote(hit['_id'], safe='')}", hit["_source"])


@dataclass(frozen=True, slots=True)
class Contest:
    """All contenders, filled."""

    ours: Sealed
    cluster: Cluster | None
    database: asyncpg.Connection
    sealed: asyncpg.Connection

    async def agreed(self, query: str, where: str) -> None:
        """Count with all, and refuse figures of contenders that disagree."""
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
            await ratio(lambda: self.sealed.fetch(*statement), lambda: self.database.fetch(theirs), **often),
            await ratio(lambda: call(self.ours.postgres, query), lambda: self.database.fetch(theirs), **often),
        ]

    async def list_in_cluster(self, query: str) -> list[tuple[float, float]]:
        """Compare a list in Elasticsearch: the request alone, and end to end."""
        if (cluster := self.cluster) is None:
            return []
        body, theirs = await self.ours.body(query), cluster.twin.query(query) | {"size": 100, "track_total_hits": False}

        async def request(index: str, body: dict[str, Any]) -> None:
            await asyncio.to_thread(cluster.client.request, "POST", f"/{index}/_search", body)

        return [
            await ratio(lambda: request("sealed", body), lambda: request("twin", theirs)),
            await ratio(
                lambda: self.ours.list(self.ours.elastic, query), lambda: cluster.elastic.search(index="twin", **theirs)
            ),
        ]

    async def count_in_cluster(self, query: str, *targets: float) -> None:
        """Compare a count in Elasticsearch, and print it."""
        if (cluster := self.cluster) is None:
            return
        body = cluster.twin.query(query)
        grouped = "aggs" in body
        figure, _ = await ratio(
            lambda: self.ours.count(self.ours.elastic, query),
            lambda: (
                cluster.elastic.search(index="twin", **body)
                if grouped
                else cluster.elastic.count(index="twin", query=body["query"])
            ),
        )
        print(f"{'  the same in Elasticsearch':40} {verdict(figure, *targets)}")


async def queries(contest: Contest) -> None:
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
        print(f"{name:40} {figures[0][0]:7.2f} {figures[1][0]:7.2f}   ({figures[0][1]:.2f})")
        await contest.count_in_cluster(query, *((1.0, 0.95) if where else (2.0, 1.2)))
        if where:
            statements.append(figures[0][0])
            postgres.append(figures[1][0])
    for name, column in (("statement alone", statements), ("end to end", postgres)):
        print(f"{f'PostgreSQL, {name}, median':40} {verdict(statistics.median(column), 0.8, 0.5)}")
        print(f"{f'PostgreSQL, {name}, worst':40} {verdict(max(column), 2.0, 1.0)}")


@click.command()
@click.option("--documents", "number", default=100_000, show_default=True, help="Runs to write.")
@click.option(
    "--preset", default="compatible", show_default=True, type=click.Choice(PRESETS), help="What the index holds."
)
@click.option("--only", type=click.Choice(["postgres"]), help="Leave Elasticsearch out.")
def main(number: int, preset: str, only: str | None) -> None:
    """Compare sealed visibility with its plaintext twins."""
    asyncio.run(run(number, preset, with_cluster=only is None))


if __name__ == "__main__":
    main()
