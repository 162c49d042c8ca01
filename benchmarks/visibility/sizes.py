"""Write the documents to all contenders, and report speeds and sizes."""

from __future__ import annotations

import asyncio
import base64
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from benchmarks.visibility import postgres_copy as plain
from benchmarks.visibility.documents import documents
from benchmarks.visibility.measure import verdict
from benchmarks.visibility.sealed import Sealed, batched
from strongroom.storage import EVERY_NAMESPACE
from tests.support.plaintext_copy.mapping import document_id

if TYPE_CHECKING:
    from collections.abc import Mapping

    import asyncpg
    from elasticsearch import AsyncElasticsearch

    from benchmarks.lib.journal import Journal
    from tests.support.elasticsearch_node import Client
    from tests.support.plaintext_copy import PlaintextCopy

LEASE = 35.0
"""Seconds after which a merge drops the write history that the cluster keeps for replicas that were briefly away."""

BYTES = {"compatible": (0.7, 0.6), "strict": (1.0, 0.85)}
"""Required size and goal of an index, relative to the copy, by preset."""


@dataclass(frozen=True, slots=True)
class Cluster:
    """The node of Elasticsearch, through two clients, with the index of the plaintext copy."""

    client: Client
    elastic: AsyncElasticsearch
    twin: PlaintextCopy


async def write(
    ours: Sealed,
    cluster: Cluster | None,
    database: asyncpg.Connection,
    number: int,
    journal: Journal,
    *,
    tiers: int = 0,
) -> None:
    """Write the documents to all contenders in turns, and report the speeds."""
    sealing = indexing = plain_indexing = 0.0
    for some in batched(documents(number, tiers=tiers), 2000):
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
    journal.add({"microseconds": sealing / number * 1e6}, measured="client CPU to seal and write a document")
    print(
        f"sealing, tokens and writing, client CPU  {sealing / number * 1e6:7.1f} µs a document   must 70, goal 40 (documents alone)"
    )
    if cluster is not None:
        rates = {"sealed": number / indexing, "plaintext": number / plain_indexing, "ratio": plain_indexing / indexing}
        journal.add(rates, speed="bulk indexing, documents a second")
        print(
            f"bulk indexing, sealed / plain            {verdict(plain_indexing / indexing, 0.85, 1.0, more=True)}"
            f" ({number / indexing:.0f} a second)"
        )


async def index_sizes(ours: Sealed, client: Client, number: int, preset: str, journal: Journal, lease: float) -> None:
    """Report the bytes per document in Elasticsearch, after a merge."""
    search_index = ours.strongroom.search_index
    assert search_index is not None
    await asyncio.sleep(lease)
    await touch(ours, client)
    stored = []
    for index in ("sealed", "twin"):
        client.request("POST", f"/{index}/_forcemerge?max_num_segments=1&flush=true")
        client.request("POST", f"/{index}/_refresh")
        stats = client.request("GET", f"/{index}/_stats/store,docs,segments")["_all"]["primaries"]
        stored.append(stats["store"]["size_in_bytes"] / number)
    # The sealed index has more documents than runs, because writers and deletions leave a mark each.
    runs = [await search_index.count(), client.request("GET", "/twin/_count")["count"]]
    assert runs == [number, number], (
        f"{runs[0]} sealed and {runs[1]} plaintext documents in the cluster, {number} written"
    )
    _report(journal, "Elasticsearch, bytes a document", *stored)
    print(
        f"Elasticsearch, bytes a document          {verdict(stored[0] / stored[1], *BYTES[preset])}"
        f" ({stored[0]:.0f} against {stored[1]:.0f})"
    )


def _report(journal: Journal, size: str, sealed: float, plaintext: float) -> None:
    journal.add({"sealed": sealed, "plaintext": plaintext, "ratio": sealed / plaintext}, size=size)


async def sizes(ours: Sealed, database: asyncpg.Connection, number: int, journal: Journal) -> None:
    """Report the bytes per row in PostgreSQL."""
    size = "SELECT pg_total_relation_size('{}')"
    await database.execute("VACUUM ANALYZE executions_visibility")
    async with ours.strongroom.database.connection(EVERY_NAMESPACE) as connection:
        await connection.execute("VACUUM ANALYZE visibility_records")
        sealed = await connection.fetchval(size.format("visibility_records")) / number
    twin = await database.fetchval(size.format("executions_visibility")) / number
    _report(journal, "PostgreSQL, bytes a row with its indexes", sealed, twin)
    print(
        f"PostgreSQL, bytes a row with its indexes {verdict(sealed / twin, 0.4, 0.3)} ({sealed:.0f} against {twin:.0f})"
    )


async def touch(ours: Sealed, client: Client) -> None:
    """Write a few documents again so that there are segments to merge. Elasticsearch does not rewrite a single segment."""
    again = "INSERT INTO visibility_outbox SELECT shard_id, namespace_id, id FROM visibility_records LIMIT 10"
    async with ours.strongroom.database.connection(EVERY_NAMESPACE) as connection:
        await connection.execute(again)
    indexer = ours.strongroom.indexer
    assert indexer is not None
    await indexer.drain()
    for hit in client.request("POST", "/twin/_search", {"size": 10})["hits"]["hits"]:
        client.request("PUT", f"/twin/_doc/{quote(hit['_id'], safe='')}", hit["_source"])
