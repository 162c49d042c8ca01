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
from typing import TYPE_CHECKING
from urllib.parse import urlsplit, urlunsplit
from uuid import uuid4

import asyncpg
import click

from benchmarks.lib.bench_server import bench_server
from benchmarks.lib.journal import Journal
from benchmarks.persistence.cells import measure
from benchmarks.persistence.opened import open_strongroom
from strongroom.driver.strongroom import Strongroom
from strongroom.storage import Database, apply_schema

if TYPE_CHECKING:
    from collections.abc import Sequence

OPERATIONS = ("update", "create", "append2048", "get", "read100", "create_tasks", "get_tasks")


async def throughput(
    operations: Sequence[str], callers: Sequence[int], rounds: int, seconds: float, journal: Journal
) -> None:
    """Measure, and print the table."""
    async with AsyncExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        server = stack.enter_context(bench_server())
        owner = await open_strongroom(stack, server, "sealed", folder)
        config = owner.strongroom.config
        dsn = await restricted_dsn(config.dsn)
        restricted = await stack.enter_async_context(Strongroom.unchecked(replace(config, dsn=dsn)))
        for number in range(rounds):
            await owner.prepare()
            for operation in operations:
                for many in callers:
                    if journal.has(round=number, operation=operation, callers=many):
                        continue
                    rates = {}
                    for name, side in (
                        ("owner", owner),
                        ("row_level_security", replace(owner, strongroom=restricted)),
                    ):
                        cell = await measure(side, operation, many, seconds=seconds, warmup=min(0.3, seconds))
                        rates[name] = cell.operations / cell.seconds
                    journal.add(rates, round=number, operation=operation, callers=many)
        if not journal.has(look_up="microseconds"):
            journal.add(await alternating(config.dsn, dsn), look_up="microseconds")
    print(f"{'operation':<14}{'callers':>8}{'a second as owner':>20}{'row-level security':>18} (range)")
    for operation in operations:
        for many in callers:
            found = journal.rounds(operation=operation, callers=many)
            each = [rates["row_level_security"] / rates["owner"] for rates in found]
            rate = statistics.median(rates["owner"] for rates in found)
            print(
                f"{operation:<14}{many:>8}{rate:>20.0f}{statistics.median(each):>18.2f} ({min(each):.2f}-{max(each):.2f})"
            )
    (look_up,) = journal.rounds(look_up="microseconds")
    print("one look-up, median: " + "; ".join(f"{name} {each:.0f} us" for name, each in look_up.items()))


async def restricted_dsn(owner_dsn: str) -> str:
    """Create the role of services, and return its connection string."""
    admin = await asyncpg.connect(owner_dsn)
    await admin.execute("CREATE ROLE bench_driver LOGIN PASSWORD 'bench'")
    await admin.close()
    owner = Database(owner_dsn, size=1, insecure=True)
    await apply_schema(owner, driver_role="bench_driver")
    await owner.aclose()
    parts = urlsplit(owner_dsn)
    return urlunsplit(parts._replace(netloc=f"bench_driver:bench@{parts.hostname}:{parts.port}"))


async def alternating(owner_dsn: str, driver_dsn: str) -> dict[str, float]:
    """Return the median time in microseconds of a look-up: when each one changes the namespace, and when none does."""
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
    return taken


@click.command()
@click.option("--callers", "callers", multiple=True, type=int, default=(16, 64), show_default=True)
@click.option("--rounds", default=5, show_default=True)
@click.option("--seconds", default=1.0, show_default=True, help="For a cell.")
@click.option("--operation", "operations", multiple=True, type=click.Choice(OPERATIONS), default=OPERATIONS)
@click.option("--out", type=click.Path(path_type=Path), help="File for the figures. An interrupted run is continued.")
def main(operations: tuple[str, ...], callers: tuple[int, ...], rounds: int, seconds: float, out: Path | None) -> None:
    """Measure and print."""
    asyncio.run(throughput(operations, callers, rounds, seconds, Journal(out, seconds=seconds)))


if __name__ == "__main__":
    main()
