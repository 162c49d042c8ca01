"""The cost of writing documents and listing 100 runs in PostgreSQL, sealed and as a plaintext copy.

`make bench-visibility` measures all classes of queries, and Elasticsearch too. This module measures the part for the report.
"""

from __future__ import annotations

import asyncio
import sys
import tempfile
import time
from contextlib import AsyncExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

import asyncpg

from benchmarks.lib.bench_server import bench_server
from benchmarks.lib.measuring import rotated
from benchmarks.lib.part import Effort, run
from benchmarks.visibility import postgres_copy as twin
from benchmarks.visibility.documents import CUSTOM, documents
from benchmarks.visibility.queries import LISTS
from benchmarks.visibility.sealed import Sealed, batched
from strongroom.driver.config import load_config, write_config
from strongroom.driver.strongroom import Strongroom
from strongroom.kms import KekRef
from strongroom.storage import EVERY_NAMESPACE
from strongroom.visibility import new_layout

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

DOCUMENTS = {Effort.FULL: 20_000, Effort.QUICK: 2_000, Effort.SMOKE: 500}
STEP = 500
CLASSES = ("everything", "type, frequent", "customer", "start of a day")
ROUNDS = {Effort.FULL: 15, Effort.QUICK: 5, Effort.SMOKE: 1}


async def compare(
    calls: dict[str, Callable[[], Awaitable[object]]], rounds: int, runs: int
) -> dict[str, list[float | None]]:
    """Run calls in turns. Return for each round the mean wall time of several consecutive calls, in nanoseconds."""
    found: dict[str, list[float | None]] = {name: [] for name in calls}
    for number in range(rounds):
        for name in rotated(list(calls), number):
            began = time.perf_counter_ns()
            for _ in range(runs):
                await calls[name]()
            found[name].append((time.perf_counter_ns() - began) / runs)
    return found


async def writing(ours: Sealed, database: asyncpg.Connection, number: int) -> dict[str, list[float | None]]:
    """Write documents to both contenders in turns; return nanoseconds of wall time per document, for each batch."""
    found: dict[str, list[float | None]] = {"sealed": [], "plain": []}
    for turn, some in enumerate(batched(documents(number), STEP)):
        for name in rotated(list(found), turn):
            began = time.perf_counter_ns()
            await (ours.write(some) if name == "sealed" else twin.write(database, some))
            found[name].append((time.perf_counter_ns() - began) / len(some))
    return found


async def main(number: int, rounds: int) -> dict[str, Any]:
    """Fill both contenders, and measure lists."""
    async with AsyncExitStack() as stack:
        server = stack.enter_context(bench_server())
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        admin = await asyncpg.connect(f"{server}/postgres")
        for name in ("sealed", "twin"):
            await admin.execute(f"CREATE DATABASE {name}")
        await admin.close()
        path = folder / "bench.toml"
        write_config(path, dsn=f"{server}/sealed", keyring="bench.json")
        config = load_config(path)
        await Strongroom.init(config)
        strongroom = await stack.enter_async_context(Strongroom.open(config))
        kek = KekRef.parse("local:bench")
        await strongroom.create_kek(kek)
        namespace = await strongroom.namespaces.create(
            "bench", kek=kek, search_attributes=CUSTOM, index_layout=str(new_layout("compatible"))
        )
        ours, database = Sealed(strongroom, namespace), await asyncpg.connect(f"{server}/twin")
        await twin.create(database)
        written = await writing(ours, database, number)
        await database.execute("VACUUM ANALYZE executions_visibility")
        async with strongroom.database.connection(EVERY_NAMESPACE) as connection:
            await connection.execute("VACUUM ANALYZE visibility_records")
        print(f"  {number} documents", file=sys.stderr)
        lists = []
        for title in CLASSES:
            query, where = LISTS[title]
            page = twin.page(where)
            assert await ours.list(ours.postgres, query) == len(await database.fetch(page)), "both find as many"
            calls: dict[str, Callable[[], Awaitable[object]]] = {
                "sealed": lambda query=query: ours.list(ours.postgres, query),
                "plain": lambda page=page: database.fetch(page),
            }
            lists.append({"class": title, "rounds": await compare(calls, rounds, 3)})
            print(f"  {title}", file=sys.stderr)
        await database.close()
        return {"documents": number, "writing": written, "lists": lists}


def measure(effort: Effort) -> dict[str, Any]:
    """Measure both contenders."""
    return asyncio.run(main(DOCUMENTS[effort], ROUNDS[effort]))


if __name__ == "__main__":
    run(measure)
