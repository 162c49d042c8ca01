from __future__ import annotations

import socket
from importlib.metadata import version

import asyncpg
import pytest

from strongroom.driver.config import load_config
from strongroom.driver.doctor import examine
from tests.support.serve.bench import wait_until

pytestmark = pytest.mark.integration


async def findings(path):
    """Return the doctor's findings on the server, by check."""
    return {found.check: found for found in await examine(path) if found.group == "Serve"}


async def test_the_doctor_shakes_hands_with_each_worker(serve_bench, shared_server):
    """With a running server every worker is reported with its version and shards. A configuration that differs is a fault."""
    wait_until(lambda: shared_server.health()[0] == 200, "the workers don't serve")
    found = await findings(serve_bench.folder / "shared.toml")
    assert {each.state for each in found.values()} == {"ok"}
    assert "4 shards" in found["worker 0"].text
    assert found["event loop"].text == f"uvloop {version('uvloop')}"
    assert f"worker 1 runs on the event loop of {found['event loop'].text}" in shared_server.text
    assert f"{shared_server.socket}.1" in found["worker 1"].text
    other = serve_bench.config("more", "workers = 3\n")
    other.write_text(other.read_text().replace("more.sock", "shared.sock"))
    found = await findings(other)
    assert (found["worker 0"].state, found["worker 0"].text) == ("wrong", "workers 2 runs, and here it is 3")
    assert (found["worker 2"].state, "no server listens on" in found["worker 2"].text) == ("wrong", True)


async def test_the_doctor_notes_what_does_not_answer(serve_bench, tmp_path):
    """No server is a note. Another program on the socket is one too, and the doctor does not wait for it without end."""
    path = serve_bench.config("absent")
    found = await findings(path)
    assert (found["worker 0"].state, "no server listens on" in found["worker 0"].text) == ("note", True)
    with socket.socket(socket.AF_UNIX) as other:
        other.bind(str(tmp_path / "x"))
        other.listen()
        path.write_text(path.read_text().replace('"absent.sock"', f'"{tmp_path / "x"}"'))
        found = await findings(path)
    assert "did not answer within 10 s" in found["worker 0"].text


async def test_too_few_connections_are_reported(serve_bench):
    """The doctor and `serve` count what all workers open, and compare it with what the server gives this role and database."""
    path = serve_bench.config("many", "workers = 9\n")
    config = load_config(path)
    assert (await findings(path))["connections for workers"].text.startswith(
        "9 workers open up to 99 connections, and "
    )
    connection = await asyncpg.connect(config.dsn)
    allowed = await connection.fetchval("SHOW max_connections")
    await connection.close()
    assert f"PostgreSQL allows {int(allowed) - 3}" in (await findings(path))["connections for workers"].text
    path = serve_bench.config("few", "workers = 2\n")
    assert (await findings(path))["connections for workers"].text == "up to 22, which PostgreSQL allows"
