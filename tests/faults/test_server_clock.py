"""A PostgreSQL whose own clock jumps: what can't be undone waits by a monotonic clock, and nothing waits for days."""

from __future__ import annotations

import os
import tempfile
import time
from datetime import timedelta
from pathlib import Path

import pytest

from strongroom.driver.config import load_config, write_config
from strongroom.driver.strongroom import Strongroom
from strongroom.kms import KekRef, rotate_data_key
from strongroom.storage import BEFORE_ALL, EVERY_NAMESPACE, RegistryWait, destroy_retired_key
from strongroom.storage.engine.server_clock import SteadyClock, server_now
from strongroom.visibility import Indexer
from tests.support.clocks.shifted_clock import ShiftedClock
from tests.support.databases import Databases
from tests.support.search_cell import Cell, record
from tests.support.services import or_skip
from tests.support.services.postgres import own_postgres

pytestmark = pytest.mark.integration

DAY = 86_400.0


class Clocks:
    """The server's clock, and a monotonic clock of this process. Time passes on both; a jump is the server's alone."""

    def __init__(self, folder):
        self.server = ShiftedClock(folder)
        self._shift = self._passed = 0.0

    def monotonic(self):
        """Return seconds that never go backwards."""
        return time.monotonic() + self._passed

    def jump(self, seconds):
        """Set the server's clock."""
        self._shift += seconds
        self.server.shift(self._shift)

    def passed(self, seconds):
        """Let time pass."""
        self._passed += seconds
        self.jump(seconds)


@pytest.fixture(scope="module")
def jumping_server():
    """A server, and the clocks."""
    with tempfile.TemporaryDirectory(prefix="strongroom-clock-") as folder:
        os.chmod(folder, 0o755)  # noqa: PTH101, S103 - the server runs as another user
        clocks = Clocks(Path(folder) / "clock")
        with or_skip(own_postgres(Path(folder) / "postgres", 15, environment=clocks.server.environment)) as server:
            yield server, clocks


@pytest.fixture
async def jumping_cell(jumping_server, tmp_path):
    """A cell on the server, with a namespace and the clocks."""
    server, clocks = jumping_server
    async with Databases(server.dsn).database() as dsn:
        write_config(tmp_path / "strongroom.toml", dsn=dsn)
        config = load_config(tmp_path / "strongroom.toml")
        await Strongroom.init(config)
        async with Strongroom.open(config) as strongroom:
            kek = await strongroom.create_kek(KekRef.parse("local:first"))
            attributes = {"Customer": "Keyword"}
            namespace = await strongroom.namespaces.create("first", kek=kek, search_attributes=attributes)
            made = Cell(strongroom, namespace.namespace_id)
            made.clocks = clocks
            yield made


class Forgotten:
    """A search index that only notes which marks of deletions were removed."""

    def __init__(self):
        self.marks = []

    async def forget(self, deleted):
        """Note the marks."""
        self.marks += deleted


async def test_a_jump_makes_no_deletion_old(jumping_cell):
    """Deletions are forgotten a day later, and not within ten minutes of a jump in either direction."""
    clocks, index, outbox = jumping_cell.clocks, Forgotten(), jumping_cell.strongroom.outbox
    clock = SteadyClock(jumping_cell.strongroom.database, 600.0, monotonic=clocks.monotonic)
    indexer = Indexer(outbox, index, clock=clock)

    async def forgotten():
        await indexer.forget_deletes()
        return len(index.marks)

    async def deleted(number):
        await jumping_cell.write(record(number))
        assert await jumping_cell.delete(record(number), 1)
        await outbox.done(await outbox.take(BEFORE_ALL, runs=100, size=2**20))

    assert await forgotten() == 0
    clocks.passed(700)
    await deleted(1)
    for jump in (2 * DAY, 30 * DAY):
        clocks.jump(jump)
        assert await forgotten() == 0, "it was deleted a moment ago"
        clocks.passed(300)
        assert await forgotten() == 0
    clocks.jump(-35 * DAY)
    await deleted(2)
    assert await forgotten() == 0
    clocks.jump(3 * DAY)
    assert await forgotten() == 0, "the clock was right again a moment ago"
    clocks.passed(700)
    assert await forgotten() == 1, "no late write of the second run is under way any more"
    clocks.passed(35 * DAY)
    assert await forgotten() == 2


async def test_a_refused_document_is_not_kept_back_by_a_clock_that_was_set_back(jumping_cell):
    """It is sent again within the longest wait, an hour, and not after the days by which the clock was wrong."""
    outbox, due = jumping_cell.strongroom.outbox, {"runs": 9, "size": 2**20}
    await jumping_cell.write(record(1))
    assert [added async for added in outbox.add_all()] == [1]
    (entry,) = await outbox.take(BEFORE_ALL, **due)
    await outbox.set_aside([(entry, "too large")])
    assert await outbox.take(BEFORE_ALL, **due) == []
    jumping_cell.clocks.jump(-2 * DAY)
    assert [each.key for each in await outbox.take(BEFORE_ALL, **due)] == [entry.key]
    jumping_cell.clocks.jump(2 * DAY)
    assert await outbox.take(BEFORE_ALL, **due) == []


@pytest.mark.parametrize("jump", [3 * DAY, -3 * DAY])
async def test_a_key_is_destroyed_after_the_whole_wait(jumping_cell, jump):
    """The wait before a destruction counts a monotonic clock, on whichever side of the rotation the server's clock is."""
    slept = 0.0

    async def sleep(seconds):
        nonlocal slept
        slept += seconds

    await rotate_data_key(jumping_cell.strongroom.keyring, jumping_cell.namespace_id)
    before = await server_now(jumping_cell.strongroom.database)
    jumping_cell.clocks.jump(jump)
    after = await server_now(jumping_cell.strongroom.database)
    assert abs((after - before) - timedelta(seconds=jump)) < timedelta(hours=1), "control: the server's clock jumped"
    reseal = jumping_cell.strongroom.reseal()
    reseal.wait = RegistryWait(900.0, monotonic=lambda: slept, sleep=sleep)
    await reseal.run(jumping_cell.namespace_id, rate=0)
    async with jumping_cell.strongroom.database.connection(EVERY_NAMESPACE) as connection:
        query = "SELECT count(*) FROM data_keys WHERE namespace_id = $1 AND state = 'destroyed'"
        assert await connection.fetchval(query, jumping_cell.namespace_id) == 0
    await destroy_retired_key(reseal, jumping_cell.namespace_id, 1)
    assert slept >= 900.0
