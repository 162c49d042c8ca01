"""Verification of a shard whose rows are on several nodes of a Citus cluster."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from strongroom.storage.engine.queries import load_queries

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from strongroom.storage.engine.connection import Connection
    from strongroom.storage.engine.database import Database

    from .reading import ShardVerification

_SQL = load_queries("journal/journal")
_LOCK_TIMEOUT = 5000
"""Milliseconds to wait for the writes in flight."""
_PAUSES = (0.2, 0.5, 1.0, 2.0, 4.0)
"""Pauses in seconds before a verification is repeated. Nodes commit a transaction within milliseconds of each other."""


async def agreed(verify: Callable[..., Awaitable[tuple[ShardVerification, bool]]]) -> ShardVerification:
    """Return the result of a verification.

    Each node has a snapshot of its own, and under steady writes all snapshots of a try can differ. So a difference counts only if it
    is also found with snapshots between which nothing was written.

    Args:
        verify: Returns a result, and whether it is of one snapshot. With `stopping`, it calls `snapshots_of_one_moment` first.
    """
    for pause in _PAUSES:
        found, is_one_snapshot = await verify(stopping=False)
        if is_one_snapshot or not found.tables:
            return found
        await asyncio.sleep(pause)
    return (await verify(stopping=True))[0]


async def snapshots_of_one_moment(database: Database, connection: Connection) -> None:
    """Take the snapshot of every node for a transaction while nothing is written. Writes go on afterwards.

    Args:
        database: The database, for a second connection that stops the writes.
        connection: A connection in a transaction that has not read anything, and whose statements see one snapshot of each node.

    Raises:
        DatabaseTimeout: Writes in flight did not end in time. Other writes wait meanwhile, so this is given up after some seconds.
    """
    # Each connection to a node has a snapshot, so there must be only one.
    await connection.execute("SET LOCAL citus.max_adaptive_executor_pool_size = 1")
    async with database.dedicated_transaction() as stopping:
        await stopping.execute(f"SET LOCAL lock_timeout = {_LOCK_TIMEOUT}")
        await stopping.execute(_SQL["stop_writes"])
        await connection.fetch(_SQL["numbers"])  # of all nodes
