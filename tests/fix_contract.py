"""What the contract suites run on: one open cell on each PostgreSQL that is promised, a namespace and a shard for each test."""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
import tempfile
from contextlib import asynccontextmanager, contextmanager
from dataclasses import replace
from itertools import count
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

import asyncpg
import pytest

from strongroom.driver.config.config import load_config, write_config
from strongroom.driver.strongroom import Strongroom
from strongroom.kms import KekRef
from strongroom.storage import DataBlob, ShardInfo
from tests.deaf import opened_deaf
from tests.fix_driver_role import as_driver

DEBIAN_15 = Path("/usr/lib/postgresql/15/bin")
KEK = KekRef.parse("local:contract")
_numbers = count(1)
_shards = count(1)


class DebianPostgres:
    """Debian's PostgreSQL 15 on a Unix socket in a folder; or another one, by the folder of its programs."""

    def __init__(self, folder, programs=DEBIAN_15):
        self.folder = folder
        self.programs = programs
        self.data = folder / "data"
        self.dsn = f"postgresql://postgres@/postgres?host={folder}"
        self._user = "postgres" if os.geteuid() == 0 else None
        if self._user:
            account = pwd.getpwnam(self._user)
            os.chown(folder, account.pw_uid, account.pw_gid)
        self._run("initdb", "-U", "postgres", "--auth=trust", "--encoding=UTF8", "--no-sync", "--locale=C.UTF-8")

    def start(self, listen_addresses=""):
        """Start the server; after a crash it recovers first."""
        options = f"-c listen_addresses='{listen_addresses}' -c unix_socket_directories='{self.folder}' -c max_connections=200"
        self._run("pg_ctl", "-w", "-l", str(self.folder / "log"), "-o", options, "start")

    def stop(self, mode="immediate"):
        """Stop it without waiting for anybody; or, by `pg_ctl`'s mode "fast", with a checkpoint."""
        self._run("pg_ctl", "-w", "-m", mode, "stop")

    def promote(self):
        """Make a standby a server that writes."""
        self._run("pg_ctl", "-w", "promote")

    def _run(self, program, *arguments):
        subprocess.run(
            [str(self.programs / program), "-D", str(self.data), *arguments],
            check=True,
            user=self._user,
            cwd="/",
            stdout=subprocess.DEVNULL,
        )


@contextmanager
def debian_postgres(folder, programs=DEBIAN_15):
    """Start Debian's PostgreSQL 15, or one of other programs, and stop it at the end."""
    server = DebianPostgres(folder, programs)
    server.start()
    try:
        yield server
    finally:
        server.stop()


def need_debian_15():
    """Skip where it is missing, or fail where services are required."""
    if not DEBIAN_15.is_dir():
        reason = "no PostgreSQL 15: apt-get install postgresql-15 (Debian 12)"
        if os.environ.get("REQUIRE_SERVICES") == "1":
            pytest.fail(reason)
        pytest.skip(reason)


@pytest.fixture(scope="session", params=["18", "15"])
def contract_dsn(request):
    """Connection string of a server of each promised version; a missing one skips, or fails where services are required."""
    if request.param == "18":
        yield request.getfixturevalue("server_dsn")
        return
    need_debian_15()
    with tempfile.TemporaryDirectory(prefix="strongroom-pg15-") as folder:
        # Its parent is /tmp, which every user may pass through.
        with debian_postgres(Path(folder)) as server:
            yield server.dsn
        shutil.rmtree(Path(folder) / "data", ignore_errors=True)


async def new_database(server_dsn):
    """Create an empty database on a server; return its connection string."""
    name = f"contract_{os.getpid()}_{next(_numbers)}"
    admin = await asyncpg.connect(server_dsn)
    await admin.execute(f"CREATE DATABASE {name}")
    await admin.close()
    parts = urlsplit(server_dsn)
    return urlunsplit(parts._replace(path=f"/{name}"))


async def drop_database(server_dsn, dsn):
    """Drop a database that a test made for itself: the leak scan reads every file of the server."""
    admin = await asyncpg.connect(server_dsn)
    await admin.execute(f"DROP DATABASE {urlsplit(dsn).path[1:]} WITH (FORCE)")
    await admin.close()


@pytest.fixture(scope="session")
async def cell(contract_dsn, tmp_path_factory, server_dsn):
    """An open cell for the whole session: what a test writes stands under a namespace and a shard of its own.

    On the newer server it is held by row-level security, on the older one it connects as the owner of the tables.
    """
    dsn, walled = await new_database(contract_dsn), contract_dsn == server_dsn
    async with open_cell(dsn, tmp_path_factory.mktemp("cell"), walled=walled) as strongroom:
        yield strongroom


@pytest.fixture
async def own_cell(contract_dsn, server_dsn, tmp_path):
    """An open cell of the test's own, for what is the same for all namespaces."""
    async with cell_of_a_test(contract_dsn, tmp_path, walled=contract_dsn == server_dsn) as strongroom:
        yield strongroom


@pytest.fixture
async def owners_cell(contract_dsn, tmp_path):
    """As `own_cell`, connected as the owner of the tables: for what changes the schema."""
    async with cell_of_a_test(contract_dsn, tmp_path, walled=False) as strongroom:
        yield strongroom


@asynccontextmanager
async def cell_of_a_test(server_dsn, folder, *, walled):
    """Open a cell in a database of its own, which is dropped at the end."""
    dsn = await new_database(server_dsn)
    async with open_cell(dsn, folder, walled=walled) as strongroom:
        yield strongroom
    await drop_database(server_dsn, dsn)


@asynccontextmanager
async def open_cell(dsn, folder, *, walled=False):
    """Initialise a cell on an empty database, and open it; it does not listen for changes of keys, as tests count connections.

    Args:
        dsn: of the owner.
        folder: for its configuration.
        walled: whether it connects as a role that row-level security holds.
    """
    path = folder / "strongroom.toml"
    write_config(path, dsn=dsn, shards=16384)
    config = load_config(path)
    await Strongroom.init(config)
    if walled:
        config = replace(config, dsn=await as_driver(dsn))
    async with opened_deaf(config) as strongroom:
        await strongroom.create_kek(KEK)
        yield strongroom


@pytest.fixture
async def namespace_id(cell):
    """Id of a namespace of the test's own."""
    return await new_namespace(cell)


async def new_namespace(cell):
    """Create a namespace; return its id."""
    namespace = await cell.namespaces.create(f"contract-{next(_numbers)}", kek=KEK)
    return namespace.namespace_id


@pytest.fixture
async def shard_id(cell):
    """Id of a shard of the test's own, at range_id 1."""
    return await new_shard(cell)


async def new_shard(cell):
    """Create a shard at range_id 1; return its id."""
    number = next(_shards)
    await cell.shards.get_or_create_shard(number, lambda: ShardInfo(number, 1, DataBlob(b"shard")))
    return number
