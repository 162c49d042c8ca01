"""The cost of row-level security: `python -m benchmarks.persistence.row_level_security`.

The same cell is opened as the owner of the tables and as the role of services. Both sides work on one database and take turns. Ratios
are medians of the rounds, with their range. With many namespaces each use of a connection sets its namespace first, which is one more
round trip, except for calls that are sent in batches.
"""

from __future__ import annotations

import asyncio
import statistics
import tempfile
import time
from contextlib import AsyncExitStack
from dataclasses import replace
from pathlib import Path
from uuid import uuid4

import click

from benchmarks.lib.bench_server import bench_server
from benchmarks.persistence.cells import measure
from benchmarks.persistence.opened import open_strongroom
from strongroom.driver.strongroom import Strongroom
from strongroom.storage import Database
from tests.support.fixtures.driver_role import as_driver

OPERATIONS = ("update", "create", "append2048", "get", "read100", "create_tasks", "get_tasks")


async def throughput(callers: tuple[int, ...], rounds: int, seconds: float) -> None:
    """Print the table."""
    ratios: dict[tuple[str, int], list[tuple[float, float]]] = {}
    async with AsyncExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        server = stack.enter_context(bench_server())
        owner = await open_strongroom(stack, server, "sealed", folder)
        config = owner.strongroom.config
        dsn = await as_driver(config.dsn)
        restricted = await stack.enter_async_context(Strongroom.unchecked(replace(config, dsn=dsn)))
        await owner.prepare()
        for _ in range(rounds):
            await owner.prepare()
            for operation in OPERATIONS:
                for many in callers:
                    one = await measure(owner, operation, many, seconds=seconds, warmup=0.3)
                    two = await measure(
                        replace(owner, strongroom=restricted), operation, many, seconds=seconds, warmup=0.3
                    )
                    rates = two.operations / two.seconds, one.operations / one.seconds
                    ratios.setdefault((operation, many), []).append((rates[0] / rates[1], rates[1]))
        statements = await alternating(config.dsn, dsn)
    print(f"{'operation':<14}{'callers':>8}{'a second as owner':>20}{'row-level security':>18} (range)")
    for (operation, many), found in ratios.items():
        each = [ratio for ratio, _ in found]
        rate = statistics.median(rate for _, rate in found)
        print(
            f"{operation:<14}{many:>8}{rate:>20.0f}{statistics.median(each):>18.2f} ({min(each):.2f}-{max(each):.2f})"
        )
    print(statements)


async def alternating(owner_dsn: str, driver_dsn: str) -> str:
    """Return the time of a look-up: when each one changes the namespace, and when none does."""
    taken = {}
    namespaces = [uuid4() for _ in range(64)]
    for name, dsn, places in (
        ("owner", owner_dsn, namespaces),
        ("row-level security, one namespace", driver_dsn, namespaces[:1]),
        ("row-level security, another one each time", driver_dsn, namespaces),
    ):
        database = Database(dsn, size=1, by_key=True, insecure=True)
        times = []
        for number in range(2000):
            namespace_id = places[number % len(places)]
            began = time.perf_counter()
            async with database.connection(namespace_id) as connection:
                await connection.fetch(
                    "SELECT data FROM history_tree WHERE shard_id = 1 AND namespace_id = $1 AND tree_id = $1",
                    namespace_id,
                )
            times.append(time.perf_counter() - began)
        await database.aclose()
        taken[name] = statistics.median(times) * 1e6
    return "one look-up, median: " + "; ".join(f"{name} {each:.0f} us" for name, each in taken.items())


@click.command()
@click.option("--callers", "callers", multiple=True, type=int, default=(16, 64), show_default=True)
@click.option("--rounds", default=5, show_default=True)
@click.option("--seconds", default=1.0, show_default=True, help="For a cell.")
def main(callers: tuple[int, ...], rounds: int, seconds: float) -> None:
    """Measure and print."""
    asyncio.run(throughput(callers, rounds, seconds))


if __name__ == "__main__":
    main()
