"""A real PostgreSQL for the session, and an empty database in it for each test that asks."""

from __future__ import annotations

import os
import tempfile
from itertools import count
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

import asyncpg
import pytest

from strongroom.driver.demo.embedded_postgres import EmbeddedPostgresMissing, embedded_postgres
from strongroom.storage import Database

_numbers = count(1)


@pytest.fixture(scope="session")
def server_folder():
    """Where the session's server keeps its files.

    Not in pytest's own folder, whose mode every new session sets back: a server that runs as another user loses its way there.
    """
    with tempfile.TemporaryDirectory(prefix="strongroom-tests-") as folder:
        yield Path(folder) / "postgres"


@pytest.fixture(scope="session")
def server_dsn(server_folder):
    """Connection string of the session's server; a missing server skips, or fails where services are required."""
    try:
        with embedded_postgres(server_folder) as dsn:
            yield dsn
    except EmbeddedPostgresMissing as missing:
        if os.environ.get("REQUIRE_SERVICES") == "1":
            raise
        pytest.skip(f"no PostgreSQL: {missing}")


@pytest.fixture
async def dsn(server_dsn):
    """Connection string of an empty database."""
    name = f"test_{os.getpid()}_{next(_numbers)}"
    admin = await asyncpg.connect(server_dsn)
    await admin.execute(f"CREATE DATABASE {name}")
    parts = urlsplit(server_dsn)
    yield urlunsplit(parts._replace(path=f"/{name}"))
    await admin.execute(f"DROP DATABASE {name} WITH (FORCE)")
    await admin.close()


@pytest.fixture
async def database(dsn):
    """An empty database, open."""
    database = Database(dsn, insecure=True)
    yield database
    await database.aclose()
