"""A node of a Citus cluster that is killed, and started again."""

from __future__ import annotations

import asyncio
import os
import subprocess
from pathlib import Path

import asyncpg

from tests.support.faults.killed_server import kill, reconnect, wait_until_gone
from tests.support.services import missing


async def stopped(node):
    """Kill a node of this machine, and return a function that starts it again.

    Args:
        node: The superuser's connection string.
    """
    connection = await asyncpg.connect(node)
    try:
        data = Path(await connection.fetchval("SHOW data_directory"))
        programs = Path(await connection.fetchval("SELECT setting FROM pg_config WHERE name = 'BINDIR'"))
    finally:
        await connection.close()
    owner = await asyncio.to_thread(_kill_here, data)

    async def start():
        command = [str(programs / "pg_ctl"), "-w", "-D", str(data), "-l", str(data / "log-of-tests"), "start"]
        await asyncio.to_thread(subprocess.run, command, check=True, user=owner, cwd="/", stdout=subprocess.DEVNULL)
        await reconnect(node)

    return start


def _kill_here(data):
    """Kill the server of a data directory; return the user that starts it again, None for this one."""
    if not (data / "postmaster.pid").is_file():
        missing(f"a worker that the test may kill: {data} is not on this machine", is_packaged=False)
    owner = data.owner() if os.geteuid() == 0 else None
    wait_until_gone(kill(data))
    return owner
