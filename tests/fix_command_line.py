"""The installed command line, run as a person would, and statements as the operator of a database would run them."""

from __future__ import annotations

import asyncio
import os
import re
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from tempfile import TemporaryDirectory

import asyncpg

from tests.forked_command import WIDE, exit_code, forked_process, run_main

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
    """Run a command in a folder, and wait for its end.

    It is a process of its own, forked from one that has imported everything: a second less for each of some hundred commands. What is
    asked of the installed script itself, and what is killed on the way, starts `STRONGROOM`.
    """
    with TemporaryDirectory() as scratch:
        streams = [Path(scratch, name) for name in ("stdin", "stdout", "stderr")]
        streams[0].write_text(typed or "")
        variables = {**os.environ, **WIDE, **(environment or {})}
        process = forked_process(run_main, Path(folder), [str(each) for each in arguments], variables, streams)
        code = exit_code(process, timeout)
        if code is None:
            process.kill()
            exit_code(process, None)
            raise subprocess.TimeoutExpired(arguments, timeout)
        return subprocess.CompletedProcess(
            arguments, code, stdout=streams[1].read_text(), stderr=streams[2].read_text()
        )


def shred(cell, name):
    """Shred a namespace with both confirmations, one after the other; return what the second one printed."""
    asked = cell.done("namespace", "shred", name, "--confirm", name, "--grace", "0s")
    code = re.search(r"--final (\w+)", asked)[1]
    return cell.done("namespace", "shred", name, "--final", code, "--certificate", f"{name}-erasure.json")
