from __future__ import annotations

import asyncio
import os
import tempfile
from pathlib import Path

import pytest

from tests.support.counts import count_of
from tests.support.databases import Databases
from tests.support.faults.killed_server import check, killed_while_writing, new_writers
from tests.support.fixtures.contract import open_cell
from tests.support.services import or_skip
from tests.support.services.postgres import own_postgres

pytestmark = pytest.mark.integration

ROUNDS = count_of("KILLS")
WRITERS = 8


@pytest.mark.timeout(240 + 12 * ROUNDS)
async def test_nothing_acknowledged_is_lost_or_torn_when_the_server_is_killed():
    """The server is killed again and again at a random moment under eight writers, and the same driver continues each time."""
    with tempfile.TemporaryDirectory(prefix="strongroom-kill-") as folder:
        os.chmod(folder, 0o755)  # noqa: PTH101, S103 - the server runs as another user
        with or_skip(own_postgres(Path(folder) / "postgres", 15)) as server:
            dsn = await Databases(server.dsn).create()
            async with open_cell(dsn, Path(folder)) as cell:
                writers = await new_writers(cell, WRITERS)
                acknowledged = 0
                for _ in range(ROUNDS):
                    acknowledged += await killed_while_writing(server, writers)
                    await asyncio.to_thread(server.start)
                    await check(dsn, writers)
        assert acknowledged >= ROUNDS * WRITERS, "the writers did write"
