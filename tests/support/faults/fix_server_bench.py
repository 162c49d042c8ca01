"""Fixtures for tests that break a server: a server of the newest and of the oldest version, and the errors that it sent."""

from __future__ import annotations

import logging
import os
import tempfile
from pathlib import Path

import asyncpg
import pytest

from strongroom.storage import Database
from strongroom.storage.engine import connecting, translate
from tests.support.databases import Databases
from tests.support.faults.server_bench import ServerBench
from tests.support.fixtures.contract import open_cell
from tests.support.services import or_skip
from tests.support.services.postgres import own_postgres


@pytest.fixture(scope="session", params=[18, 15])
async def server_bench(request):
    """A server for the fault tests only, with a cell on it."""
    with tempfile.TemporaryDirectory(prefix="strongroom-broken-") as folder:
        os.chmod(folder, 0o755)  # noqa: PTH101, S103 - the server runs as another user
        with or_skip(own_postgres(Path(folder) / "postgres", request.param)) as server:
            async with open_cell(await Databases(server.dsn).create(), Path(folder), folds=False) as cell:
                bench = ServerBench(server, cell)
                await bench.begin()
                assert bench.admin.get_server_version().major == request.param
                yield bench
                await bench.admin.close()


def _noting(function, states):
    """Return a function that notes the error that it translates."""

    def noted(error, *arguments):
        for one in (error, error.__cause__):  # the last error of the server is the cause of a lost connection
            if one is error or isinstance(one, asyncpg.PostgresError):
                states.add(getattr(one, "sqlstate", None) or type(one).__name__)
        return function(error, *arguments)

    return noted


@pytest.fixture
def heard(monkeypatch, caplog):
    """SQLSTATEs, or class names, of the errors from the driver. They show whether a fault was really provoked."""
    caplog.set_level(logging.DEBUG)
    states = set()
    for module, name in ((translate, "to_storage_error"), (connecting, "failure_of")):
        monkeypatch.setattr(module, name, _noting(getattr(module, name), states))
    return states


@pytest.fixture
def limits(monkeypatch):
    """Return a function that sets time limits, in seconds, of hosts that are opened later. `ServerBench.host` has the lock timeout."""

    def set_limits(**seconds):
        for name, value in seconds.items():
            monkeypatch.setitem(Database.__init__.__kwdefaults__, name, value)

    return set_limits
