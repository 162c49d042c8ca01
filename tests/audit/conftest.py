"""A collector of records, and a database with the checkpoints of logs."""

from __future__ import annotations

import asyncio

import pytest

from strongroom.storage import AuditCheckpointStore, Database, apply_schema
from tests.support.audit.collector import collector
from tests.support.codec.authority import Authority
from tests.support.fixtures.command_line import sql
from tests.support.services import or_skip


@pytest.fixture
def authority(tmp_path):
    """The authority that signs the collector's certificate."""
    folder = tmp_path / "authority"
    folder.mkdir()
    return Authority(folder, "authority")


@pytest.fixture
def rsyslog(tmp_path, authority):
    """A running rsyslog."""
    folder = tmp_path / "collector"
    folder.mkdir()
    with or_skip(collector(folder, authority)) as running:
        yield running


@pytest.fixture
async def store(dsn):
    """The checkpoints in a database of their own."""
    database = Database(dsn, insecure=True)
    await apply_schema(database)
    yield AuditCheckpointStore(database)
    await database.aclose()


@pytest.fixture
def log_root(tmp_path):
    """The folder of a log."""
    return tmp_path / "log"


@pytest.fixture
def alter(dsn):
    """Return a function that alters the database as its administrator does."""
    return lambda statement, *arguments: asyncio.to_thread(sql, dsn, statement, *arguments)
