"""Bytes of tables whose rows are replaced, with the schema's autovacuum settings and with PostgreSQL's: `make bench-churn`.

Each round deletes the oldest twentieth of a table and adds as many rows; of visibility records it also closes a twentieth. Both
settings have their own database on one server and take turns. The figure is the size of a table divided by its size after VACUUM FULL.
The server's autovacuum looks once a second, and a round begins when it has nothing left to do. So rounds of seconds stand for rounds
of minutes, in which a vacuum always ends.
"""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from pathlib import Path
from typing import NamedTuple

import asyncpg
import click

from benchmarks.lib.bench_server import bench_server
from benchmarks.lib.journal import Journal
from benchmarks.persistence.opened import create_database
from strongroom.storage import Database, apply_schema
from strongroom.storage.engine.connection import SCHEMA

SIDES = ("schema", "defaults")
NAMESPACE = "0d8e1b52-3f0a-4f6e-9b1c-6f1d2c3b4a59"
_BYTES = "decode(repeat(md5(n::text || random()::text), {}), 'hex')"


class Churn(NamedTuple):
    """How the rows of a table are replaced.

    Attributes:
        insert: Statement that inserts the rows with the numbers $1 to $2.
        delete: Statement that deletes the rows with numbers below $1.
        update: Statement that changes the rows with the numbers $1 to $2, each to a new version; "" for none.
    """

    insert: str
    delete: str
    update: str = ""


TABLES = {
    "visibility_records": Churn(
        "INSERT INTO visibility_records "
        f"SELECT n % 512, '{NAMESPACE}', decode(md5(n::text), 'hex'), 1, 1, 1::bigint << 62, n, "
        f"ARRAY(SELECT (random() * 1e6)::bigint + 0 * n FROM generate_series(1, 40)), {_BYTES.format(20)}, "
        "n, n, n % 50, 1, n % 20, NULL "
        "FROM generate_series($1::bigint, $2::bigint) AS n",
        "DELETE FROM visibility_records WHERE b2 < $1::bigint",
        "UPDATE visibility_records SET version = 2, b1 = b2, h_status = 2, t = t || b2 WHERE b2 BETWEEN $1::bigint AND $2::bigint",
    ),
    "history_tasks": Churn(
        "INSERT INTO history_tasks (shard_id, category_id, fire_time, task_id, namespace_id, data) "
        f"SELECT 1, 1, 0, n, '{NAMESPACE}', {_BYTES.format(10)} FROM generate_series($1::bigint, $2::bigint) AS n",
        "DELETE FROM history_tasks WHERE shard_id = 1 AND category_id = 1 AND fire_time = 0 AND task_id < $1::bigint",
    ),
    "history_node": Churn(
        "INSERT INTO history_node (shard_id, namespace_id, tree_id, branch_id, node_id, txn_id, prev_txn_id, data) "
        f"SELECT n % 512, '{NAMESPACE}', md5((n / 10)::text)::uuid, md5((n / 10)::text)::uuid, n, 1, 0, {_BYTES.format(64)} "
        "FROM generate_series($1::bigint, $2::bigint) AS n",
        "DELETE FROM history_node WHERE node_id < $1::bigint",
    ),
}


async def churned(connection: asyncpg.Connection, table: str, rows: int, number: int) -> None:
    """Run one round: the oldest rows go, the same number comes, and the newest ones of the round before are closed."""
    step, churn = max(1, rows // 20), TABLES[table]
    first = 1 + number * step
    if churn.update:
        await connection.execute(churn.update, first + rows - step, first + rows - 1)
    await connection.execute(churn.delete, first + step)
    await connection.execute(churn.insert, first + rows, first + rows + step - 1)


async def settled(connection: asyncpg.Connection, pause: float) -> None:
    """Wait until autovacuum has seen the last round and is done with it, in all databases of the server."""
    await asyncio.sleep(pause)
    workers = "SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'autovacuum worker'"
    while await connection.fetchval(workers):  # noqa: ASYNC110 - they are processes of the server
        await asyncio.sleep(0.1)


async def bloat(connection: asyncpg.Connection, table: str) -> dict[str, float]:
    """Return the size of a table and the number of rows, and how much larger it is than after VACUUM FULL."""
    size = "SELECT pg_total_relation_size($1::text::regclass)"
    grown = await connection.fetchval(size, table)
    rows = await connection.fetchval(f"SELECT count(*) FROM {table}")
    await connection.execute(f"VACUUM FULL {table}")
    least = await connection.fetchval(size, table)
    return {"times the least size": grown / least, "bytes a row": grown / rows}


async def prepared(stack: AsyncExitStack, server: str, side: str) -> asyncpg.Connection:
    """Create the schema in a database of its own; for PostgreSQL's defaults, without the settings of the tables."""
    await create_database(server, side)
    database = Database(f"{server}/{side}", insecure=True)
    await apply_schema(database)
    await database.aclose()
    connection = await asyncpg.connect(f"{server}/{side}", server_settings={"search_path": SCHEMA})
    stack.push_async_callback(connection.close)
    for table in TABLES if side == "defaults" else ():
        names = await connection.fetch(
            "SELECT split_part(unnest(reloptions), '=', 1) AS name FROM pg_class WHERE oid = $1::text::regclass", table
        )
        vacuum = [row["name"] for row in names if row["name"].startswith("autovacuum")]
        await connection.execute(f"ALTER TABLE {table} RESET ({', '.join(vacuum)})")
    return connection


async def run(rows: int, rounds: int, pause: float, journal: Journal) -> None:
    """Replace the rows of each table in turns on both sides, and measure."""
    async with AsyncExitStack() as stack:
        server = stack.enter_context(bench_server(autovacuum_naptime="1s", autovacuum_max_workers="2"))
        sides = {side: await prepared(stack, server, side) for side in SIDES}
        for table, churn in TABLES.items():
            if journal.has(churned=table):
                continue
            for connection in sides.values():
                await connection.execute(churn.insert, 1, rows)
                await connection.execute(f"VACUUM ANALYZE {table}")
            for number in range(rounds):
                for connection in sides.values():
                    await churned(connection, table, rows, number)
                await settled(next(iter(sides.values())), pause)
            figures = {side: await bloat(connection, table) for side, connection in sides.items()}
            journal.add(figures, churned=table)
            print(
                f"{table:20} "
                + "   ".join(f"{side} {found['times the least size']:.2f}" for side, found in figures.items())
            )


@click.command()
@click.option("--rows", default=100_000, show_default=True, help="Rows of each table.")
@click.option("--rounds", default=60, show_default=True, help="Rounds; twenty replace all rows once.")
@click.option(
    "--pause",
    default=2.5,
    show_default=True,
    help="Least seconds after a round: autovacuum must look at both databases.",
)
@click.option("--out", type=click.Path(path_type=Path), help="File for the figures.")
def main(rows: int, rounds: int, pause: float, out: Path | None) -> None:
    """Compare the bloat of tables with and without the schema's autovacuum settings."""
    asyncio.run(run(rows, rounds, pause, Journal(out, rows=rows, rounds=rounds, pause=pause)))


if __name__ == "__main__":
    main()
