"""COPY of 1,000 rows into PostgreSQL and SELECT of them, sealed in several ways, compared with plaintext.

One server, one connection over its Unix socket, fsync on, a table of history nodes for each contender. Wall time, server included.
`plaintext again` is the same code a second time, so its difference is noise. `as long as sealed` stores longer rows
without cryptography. The time above it is the cost of sealing.
"""

from __future__ import annotations

import asyncio
import sys
import time
from typing import TYPE_CHECKING, Any
from uuid import UUID

import asyncpg

from benchmarks.lib.bench_server import bench_server
from benchmarks.lib.measuring import interleaved
from benchmarks.lib.part import Effort, run
from benchmarks.sealing.batches import rows_of
from benchmarks.sealing.contenders import hand_written, ours

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from benchmarks.lib.measuring import Sampler
    from benchmarks.sealing.contenders.protocol import Row, Sealed

    Way = tuple[Callable[[Sequence[Row]], Sequence[bytes]], Callable[[Sealed], list[bytes]]]

PLAINTEXT, AGAIN, LONGER = "plaintext", "plaintext again", "as long as sealed"
ROWS = 1000
ROUNDS = {Effort.FULL: 15, Effort.QUICK: 5, Effort.SMOKE: 1}
SIZES = {Effort.FULL: (256, 1024, 4096, 16384), Effort.QUICK: (256, 1024), Effort.SMOKE: (256,)}
OVERHEAD = bytes(48)
"""Bytes that sealing with suite 2 adds to a row."""
SHARD, NAMESPACE, TREE, BRANCH = 7, UUID(int=1), UUID(int=2), UUID(int=3)
COLUMNS = ("shard_id", "namespace_id", "tree_id", "branch_id", "node_id", "txn_id", "prev_txn_id", "data")
TABLE = """
CREATE TABLE {} (
    shard_id integer NOT NULL, namespace_id uuid NOT NULL, tree_id uuid NOT NULL, branch_id uuid NOT NULL,
    node_id bigint NOT NULL, txn_id bigint NOT NULL, prev_txn_id bigint NOT NULL, data bytea NOT NULL,
    PRIMARY KEY (shard_id, namespace_id, tree_id, branch_id, node_id, txn_id)
) WITH (toast_tuple_target = 8160)
"""
"""Statement that creates a table like history_node in storage/sql/schema/schema.sql."""
SELECT = """
SELECT node_id, txn_id, prev_txn_id, data FROM {}
WHERE shard_id = $1 AND namespace_id = $2 AND tree_id = $3 AND branch_id = $4 AND node_id >= $5 AND node_id < $6
ORDER BY node_id, txn_id
"""


def as_it_is(rows: Sequence[Row]) -> list[bytes]:
    """Return the rows unchanged."""
    return [value for _, value in rows]


def longer(rows: Sequence[Row]) -> list[bytes]:
    """Return the plaintexts, padded to the length of sealed rows."""
    return [plaintext + OVERHEAD for _, plaintext in rows]


def cut(rows: Sealed) -> list[bytes]:
    """Return the plaintexts without the padding of `longer`."""
    end = -len(OVERHEAD)
    return [value[:end] for _, value in rows]


def ways() -> dict[str, Way]:
    """Return the functions that seal and open rows, for each contender."""
    loop = hand_written.contenders()[0]
    found: dict[str, Way] = {
        PLAINTEXT: (as_it_is, as_it_is),
        AGAIN: (as_it_is, as_it_is),
        LONGER: (longer, cut),
        loop.name: (loop.seal, loop.open),
    }
    return found | {each.name: (each.seal, each.open) for each in ours.contenders()}


def records(rows: Sequence[Row], values: Sequence[bytes]) -> list[tuple[Any, ...]]:
    """Return the rows as records of the table."""
    place = (SHARD, NAMESPACE, TREE, BRANCH)
    return [(*place, *key, value) for (key, _), value in zip(rows, values, strict=True)]


class Table:
    """A contender's table on one connection."""

    def __init__(self, connection: asyncpg.Connection, name: str, way: Way) -> None:
        self._connection, self.name = connection, name
        self._seal, self._open = way

    async def create(self) -> None:
        """Create the table."""
        await self._connection.execute(f"DROP TABLE IF EXISTS {self.name}")
        await self._connection.execute(TABLE.format(self.name))

    async def empty(self) -> None:
        """Delete all rows."""
        await self._connection.execute(f"TRUNCATE {self.name}")

    async def copy(self, rows: Sequence[Row]) -> None:
        """Seal rows, and write them."""
        await self._connection.copy_records_to_table(
            self.name, records=records(rows, self._seal(rows)), columns=COLUMNS
        )

    async def select(self, first: int, count: int) -> list[bytes]:
        """Read rows by number, and open them."""
        found = await self._connection.fetch(
            SELECT.format(self.name), SHARD, NAMESPACE, TREE, BRANCH, first, first + count
        )
        return self._open([((node, txn, previous), data) for node, txn, previous, data in found])


def samplers(loop: asyncio.AbstractEventLoop, table: Table, rows: Sequence[Row]) -> dict[str, Sampler]:
    """Return samplers of COPY and SELECT, in nanoseconds of wall time per row. Emptying the table is not measured."""

    def copy() -> float:
        loop.run_until_complete(table.empty())
        started = time.perf_counter_ns()
        loop.run_until_complete(table.copy(rows))
        return (time.perf_counter_ns() - started) / len(rows)

    def select() -> float:
        started = time.perf_counter_ns()
        opened = loop.run_until_complete(table.select(1, len(rows)))
        spent = time.perf_counter_ns() - started
        assert len(opened) == len(rows)
        return spent / len(rows)

    return {"COPY": copy, "SELECT": select}


def measure(effort: Effort) -> dict[str, Any]:
    """Measure each size."""
    loop, cells = asyncio.new_event_loop(), []
    with bench_server() as server:
        connection = loop.run_until_complete(asyncpg.connect(f"{server}/postgres"))
        tables = {name: Table(connection, f"t{number}", way) for number, (name, way) in enumerate(ways().items())}
        for table in tables.values():
            loop.run_until_complete(table.create())
        for size in SIZES[effort]:
            rows = rows_of(size, ROWS)
            sampled = {name: samplers(loop, table, rows) for name, table in tables.items()}
            for operation in ("COPY", "SELECT"):
                if operation == "SELECT":
                    for table in tables.values():
                        assert loop.run_until_complete(table.select(1, ROWS)) == as_it_is(rows), "each reads back"
                    loop.run_until_complete(connection.execute("VACUUM ANALYZE"))
                taken = interleaved(
                    {name: each[operation] for name, each in sampled.items()}, rounds=ROUNDS[effort], items=ROWS
                )
                cells.append({"operation": operation, "size": size, "rounds": taken})
            print(f"  {size} B", file=sys.stderr)
        loop.run_until_complete(connection.close())
    return {"rows": ROWS, "cells": cells}


if __name__ == "__main__":
    run(measure)
