"""The start of `strongroom serve` while PostgreSQL is away: it waits, and says for what."""

from __future__ import annotations

import asyncio
import signal
import socket
from contextlib import contextmanager
from urllib.parse import urlsplit

import pytest

from strongroom.driver.config import load_config, write_config
from strongroom.driver.strongroom import Strongroom
from tests.support.databases import administer, dsn_of, quoted, superuser_of
from tests.support.fixtures.command_line import run_command
from tests.support.serve.bench import SECONDS, ServeBench
from tests.support.serve.bench import serve_bench as open_bench

pytestmark = pytest.mark.integration

WAITING = "STATUS=waiting for PostgreSQL: the database at "


@contextmanager
def notifications(path):
    """Yield a function that receives from a socket of systemd until a text is there, and returns everything received."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notified:
        notified.settimeout(SECONDS)
        notified.bind(str(path))
        received = []

        def until(text):
            while not any(each.startswith(text) for each in received):
                received.extend(notified.recv(4096).decode().split("\n"))
            return received

        yield until


async def test_a_start_waits_for_the_database(databases, tmp_path):
    """While PostgreSQL lets nobody in, the log and systemd's status have the reason, once. Afterwards the server serves."""
    async with open_bench(databases, tmp_path) as bench:
        dsn = load_config(tmp_path / "strongroom.toml").dsn
        admin, name = dsn_of(superuser_of(dsn), database="postgres"), quoted(urlsplit(dsn).path[1:])
        await administer(admin, f"ALTER DATABASE {name} ALLOW_CONNECTIONS false")
        with notifications(tmp_path / "n") as received_until:
            server = bench.start("waiting", environment={"NOTIFY_SOCKET": str(tmp_path / "n")})
            try:
                received = await asyncio.to_thread(received_until, WAITING)
                assert any(each.startswith("EXTEND_TIMEOUT_USEC=") for each in received)
                assert "READY=1" not in received
                await asyncio.to_thread(server.wait_for, "warning: waiting for PostgreSQL: the database at ")
                await administer(admin, f"ALTER DATABASE {name} ALLOW_CONNECTIONS true")
                await asyncio.to_thread(server.wait_until_it_serves)
                assert server.text.count("waiting for PostgreSQL") == 1
                server.process.send_signal(signal.SIGTERM)
                assert await asyncio.to_thread(server.ended) == 0
            finally:
                server.process.kill()
                server.process.wait()


@pytest.fixture
def unreachable(tmp_path):
    """The path of a configuration whose database's port is closed."""
    # No test listens on this port. A free one may be another test's a moment later.
    write_config(tmp_path / "strongroom.toml", dsn="postgresql://u@127.0.0.1:1/x", shards=4)
    return tmp_path / "strongroom.toml"


def with_section(path, section):
    """Append a section `[serve]` to a configuration."""
    path.write_text(f"{path.read_text()}\n[serve]\nsocket = 'x.sock'\n{section}")


def test_the_wait_has_an_end(unreachable):
    """When the time is over, the command ends with the reason. With 0 it does not wait at all."""
    with_section(unreachable, "database_wait_seconds = 0\n")
    ended = run_command(unreachable.parent, "serve", timeout=SECONDS)
    assert ended.returncode != 0
    assert "Connection refused" in ended.stderr
    assert "waiting for PostgreSQL" not in ended.stderr
    unreachable.write_text(unreachable.read_text().replace("seconds = 0\n", "seconds = 2\n"))
    ended = run_command(unreachable.parent, "serve", timeout=SECONDS)
    assert ended.returncode != 0
    assert ended.stderr.count("waiting for PostgreSQL") == 1


def test_a_signal_ends_the_wait(unreachable):
    """SIGTERM ends a server that waits at once."""
    server = ServeBench(unreachable.parent, 4).start("waiting")
    try:
        server.wait_for("waiting for PostgreSQL")
        server.process.send_signal(signal.SIGTERM)
        assert server.ended() == 128 + signal.SIGTERM
    finally:
        server.process.kill()
        server.process.wait()


async def test_what_waiting_does_not_help_ends_at_once(databases, tmp_path):
    """The server does not wait if PostgreSQL refuses its user, or if the schema is missing."""
    path = tmp_path / "strongroom.toml"
    dsn = await databases.create()
    try:
        write_config(path, dsn=dsn, shards=4)
        await Strongroom.init(load_config(path))
        await administer(dsn, "DROP SCHEMA strongroom CASCADE")
        with_section(path, "database_wait_seconds = 86400\n")
        await refused(tmp_path, "strongroom schema apply")
        path.write_text(path.read_text().replace(dsn, dsn_of(dsn, role="no_such_role")))
        await refused(tmp_path, "SQLSTATE 28")
    finally:
        await databases.drop(dsn)


async def refused(folder, reason):
    """Start a server that ends with a reason, and did not wait."""
    ended = await asyncio.to_thread(run_command, folder, "serve", timeout=SECONDS)
    assert ended.returncode != 0
    assert reason in ended.stderr
    assert "waiting for PostgreSQL" not in ended.stderr
