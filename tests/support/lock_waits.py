"""Waiting until statements wait for locks, for tests that start the next step only then."""

from __future__ import annotations

import asyncio

from strongroom.storage import EVERY_NAMESPACE

_WAITING = """
SELECT count(*) FROM pg_stat_activity
WHERE datname = current_database() AND backend_type = 'client backend' AND wait_event_type = 'Lock'
"""
_ON_ALL_NODES = "SELECT sum(result::integer) AS count FROM run_command_on_all_nodes($1)"


async def until_waiting(cell, number=1):
    """Wait until at least this number of sessions wait for a lock, on all nodes of a distributed cell."""
    query = (_ON_ALL_NODES, _WAITING) if cell.config.cell.distributed else (_WAITING,)
    async with asyncio.timeout(60), cell.database.connection(EVERY_NAMESPACE) as connection:
        while (await connection.fetchrow(*query))["count"] < number:  # noqa: ASYNC110 - the server has no event for it
            await asyncio.sleep(0.01)
