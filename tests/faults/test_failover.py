from __future__ import annotations

import asyncio
import os
import shutil
import subprocess
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.support.databases import Databases
from tests.support.faults.killed_server import PATIENCE, check, killed_while_writing, new_writers
from tests.support.fixtures.contract import open_cell
from tests.support.services import or_skip
from tests.support.services.postgres import own_postgres

pytestmark = pytest.mark.integration

FAILOVERS = 3
WRITERS = 8
VERSION = 15


@pytest.mark.timeout(240)
async def test_a_failover_to_a_synchronous_standby_loses_nothing_and_raises_no_alarm():
    """The primary is killed under writers, its standby is promoted, and the same driver finds it by its connection string."""
    with tempfile.TemporaryDirectory(prefix="strongroom-failover-") as name, ExitStack() as servers:
        folder = Path(name)
        os.chmod(name, 0o755)  # noqa: PTH101, S103 - the server runs as another user
        primary = servers.enter_context(or_skip(own_postgres(folder / "0", VERSION)))
        standbys = [
            servers.enter_context(own_postgres(folder / str(1 + number), VERSION, start=False))
            for number in range(FAILOVERS)
        ]
        dsn = await Databases(primary.dsn).create()
        everywhere = ",".join(str(each.folder) for each in (primary, *standbys))
        dsn = dsn.replace(f"host={primary.folder}", f"host={everywhere}&target_session_attrs=read-write")
        async with open_cell(dsn, folder) as cell:
            writers = await new_writers(cell, WRITERS)
            acknowledged = 0
            for standby in standbys:
                await asyncio.to_thread(follow, standby, primary)
                acknowledged += await killed_while_writing(primary, writers)
                await asyncio.to_thread(standby.promote)
                await check(dsn, writers)
                primary = standby
        assert acknowledged >= FAILOVERS * WRITERS, "the writers did write"


def follow(standby, primary):
    """Start a synchronous standby of a primary from a copy of it, which then acknowledges no write that the standby lacks."""
    shutil.rmtree(standby.data)
    standby.run("pg_basebackup", "-d", primary.dsn, "-R", "-X", "stream", "-c", "fast")
    standby.start()
    psql = [str(primary.programs / "psql"), "-Atqd", primary.dsn, "-c"]
    for statement in ("ALTER SYSTEM SET synchronous_standby_names = '*'", "SELECT pg_reload_conf()"):
        subprocess.run([*psql, statement], check=True, stdout=subprocess.DEVNULL)
    deadline = time.monotonic() + PATIENCE
    while subprocess.check_output([*psql, "SELECT sync_state FROM pg_stat_replication"]) != b"sync\n":
        assert time.monotonic() < deadline, "the standby did not become synchronous"
        time.sleep(0.1)
