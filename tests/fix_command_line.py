"""The installed command line, run as a person would, and statements as the operator of a database would run them."""

from __future__ import annotations

import asyncio
import os
import re
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import asyncpg

STRONGROOM = Path(sys.executable).with_name("strongroom")


def sql(dsn, statement, *arguments):
    """Run a statement and return its rows, from code that is not asynchronous."""

    async def fetch():
        connection = await asyncpg.connect(dsn, server_settings={"search_path": "strongroom"})
        try:
            return await connection.fetch(statement, *arguments)
        finally:
            await connection.close()

    with ThreadPoolExecutor(1) as thread:
        return thread.submit(asyncio.run, fetch()).result()


def run_command(folder, *arguments, environment=None, typed=None, timeout=180):
    """Run a command in a folder, and wait for its end."""
    return subprocess.run(
        [STRONGROOM, *arguments],
        cwd=folder,
        env={**os.environ, "COLUMNS": "300", "NO_COLOR": "1", **(environment or {})},
        input=typed,
        stdin=subprocess.DEVNULL if typed is None else None,
        capture_output=True,
        text=True,
        timeout=timeout,
        check=False,
    )


def shred(cell, name):
    """Shred a namespace with both confirmations, one after the other; return what the second one printed."""
    asked = cell.done("namespace", "shred", name, "--confirm", name, "--grace", "0s")
    code = re.search(r"--final (\w+)", asked)[1]
    return cell.done("namespace", "shred", name, "--final", code, "--certificate", f"{name}-erasure.json")
