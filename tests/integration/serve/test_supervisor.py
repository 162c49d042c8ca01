from __future__ import annotations

import asyncio
import os
import re
import signal
import socket
import stat
from http.client import HTTPConnection
from urllib.parse import urlsplit

import pytest

from strongroom.driver.config import load_config
from tests.support.databases import administer, dsn_of, quoted, superuser_of
from tests.support.fixtures.command_line import run_command
from tests.support.prometheus import samples
from tests.support.serve.bench import SECONDS, is_running, wait_until
from tests.support.serve.client import CallError, Client

pytestmark = pytest.mark.integration

HEALTH = 'health = "127.0.0.1:0"\n'


def test_systemd_is_notified(serve_bench, tmp_path):
    """READY=1 comes when all workers serve, WATCHDOG=1 while the supervisor runs, a status, and STOPPING=1 at the end."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notified:
        notified.settimeout(SECONDS)
        notified.bind(str(tmp_path / "n"))
        environment = {"NOTIFY_SOCKET": str(tmp_path / "n"), "WATCHDOG_USEC": "3000000"}
        server = serve_bench.start("notified", "workers = 2\n", environment=environment)
        try:
            received = []
            while not {"READY=1", "WATCHDOG=1", "STATUS=2 of 2 workers serve, 0 restarts"} <= {*received}:
                received += notified.recv(4096).decode().split("\n")
            assert "serves" in server.text
            server.process.send_signal(signal.SIGTERM)
            while "STOPPING=1" not in received:
                received += notified.recv(4096).decode().split("\n")
            assert server.ended() == 0
        finally:
            server.process.kill()
            server.process.wait()


def test_a_second_server_is_refused(serve_bench, shared_server):
    """A second `strongroom serve` on one socket ends with 2 and one line, which names the first one's process. The first serves on."""
    second = run_command(serve_bench.folder, "--config", "shared.toml", "serve", "--health", "127.0.0.1:0")
    assert second.returncode == 2
    assert f"error: another strongroom serve (process {shared_server.process.pid}) listens on" in second.stderr
    assert shared_server.health()[0] == 200


async def test_a_start_that_can_not_work_is_refused_with_the_reason(serve_bench):
    """A wrong path, an unknown user, too many workers and an address in use end the command with 2 before a worker is started."""
    path = serve_bench.config("wrong")
    with socket.create_server(("127.0.0.1", 0)) as taken:
        for options, expected in (
            (["--socket", "none/x.sock"], "none of serve.socket can't be used: No such file or directory"),
            (["--socket", "x" * 100 + ".sock", "--workers", "20"], "a socket's path has at most 107"),
            (["--workers", "0"], "serve.workers"),
            (["--health", "127.0.0.1"], "serve.health must be HOST:PORT or unix:PATH"),
            (["--health", f"127.0.0.1:{taken.getsockname()[1]}"], "the health endpoint can't listen on"),
        ):
            ended = await asyncio.to_thread(
                run_command, serve_bench.folder, "--config", path, "serve", *options, timeout=SECONDS
            )
            assert (ended.returncode, "Traceback" in ended.stderr) == (2, False), ended.stderr
            assert expected in ended.stderr
    path = serve_bench.config("stranger", 'users = ["no-such-user"]\n')
    ended = await asyncio.to_thread(run_command, serve_bench.folder, "--config", path, "serve", timeout=SECONDS)
    assert (ended.returncode, "no user no-such-user" in ended.stderr) == (2, True), ended.stderr
    assert not list(serve_bench.folder.glob("wrong.sock*"))


def test_it_serves_and_stops_on_sigterm(serve_bench):
    """Each worker has a socket of mode 0660. SIGTERM ends all processes with exit code 0, and leaves no socket and no lock."""
    with serve_bench.server("plain", f"workers = 3\n{HEALTH}") as server:
        paths = [server.socket, *(server.socket.with_name(f"plain.sock.{number}") for number in (1, 2))]
        assert all(path.is_socket() and stat.S_IMODE(path.stat().st_mode) == 0o660 for path in paths)
        workers = server.workers()
        assert len(set(workers)) == 3
        server.process.send_signal(signal.SIGTERM)
        assert server.ended() == 0, server.text
        assert not any(map(is_running, workers))
        assert not list(serve_bench.folder.glob("plain.sock*"))
        assert "Traceback" not in server.text


def test_a_crashed_worker_is_started_again(shared_server):
    """A killed worker is started again, its socket goes on accepting, the others don't notice, and health shows the restart."""
    first, second = shared_server.workers()
    before = [worker["restarts"] for worker in shared_server.health()[1]["workers"]]
    os.kill(second, signal.SIGKILL)
    with shared_server.connect(1):  # in the backlog while no process accepts
        pass
    wait_until(
        lambda: shared_server.workers()[1] not in {None, second} and shared_server.health()[0] == 200, "no new worker"
    )
    code, health = shared_server.health()
    assert [worker["restarts"] for worker in health["workers"]] == [before[0], before[1] + 1]
    assert (code, health["status"], shared_server.workers()[0]) == (200, "ok", first)
    assert "worker 1 ended: killed by SIGKILL; it is started again in 0.1 s" in shared_server.text


async def test_each_worker_answers_prometheus(shared_server):
    """Calls, connections and bytes of a worker are in its own metrics; the namespace and other values of a caller are not."""
    wait_until(lambda: shared_server.health()[0] == 200, "the workers don't serve")
    client = await Client.open(shared_server.socket)
    for _ in range(3):
        with pytest.raises(CallError):
            await client.call("shards.get_or_create_shard", shard_id=3, create=None, caller="planted/planted/planted")
    addresses = dict(re.findall(r"worker (\d) serves metrics on http://127.0.0.1:(\d+)/metrics", shared_server.text))
    connection = HTTPConnection("127.0.0.1", int(addresses["0"]), timeout=SECONDS)
    connection.request("GET", "/metrics")
    text = connection.getresponse().read().decode()
    connection.close()
    await client.aclose()
    found = {(name, *labels.values()): value for name, labels, value in samples(text)}
    call = ("strongroom_call_duration_seconds_count", "shards", "get_or_create_shard", "failed", "NotFound")
    assert any(set(call) <= set(each) and found[each] >= 3 for each in found), text
    named = {name: value for (name, *_), value in found.items()}
    assert named["strongroom_serve_connections"] == 1
    assert named["strongroom_serve_io_bytes_total"] > 0
    assert {"strongroom_serve_restarts", "process_resident_memory_bytes"} <= named.keys()
    assert "planted" not in text
    assert addresses.keys() == {"0", "1"}


async def test_an_outage_of_the_database_is_outlived(serve_bench, shared_server):
    """Without a database the health is 503. One worker stays, a crashed one is tried again, and both serve when it is back."""
    wait_until(lambda: shared_server.health()[0] == 200, "the workers don't serve")
    first, second = shared_server.workers()
    dsn = load_config(serve_bench.folder / "shared.toml").dsn
    name = urlsplit(dsn).path[1:]
    admin = dsn_of(superuser_of(dsn), database="postgres")
    await administer(
        admin,
        f"ALTER DATABASE {quoted(name)} ALLOW_CONNECTIONS false",
        f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{name}'",  # noqa: S608 - of this test
    )
    try:
        os.kill(second, signal.SIGKILL)
        wait_until(
            lambda: shared_server.health()[1]["workers"][1]["error"] not in (None, "killed by SIGKILL"), "no error"
        )
        wait_until(lambda: shared_server.health()[1]["workers"][0]["database"] == "unreachable", "not noticed")
        assert shared_server.health()[0] == 503
    finally:
        await administer(admin, f"ALTER DATABASE {quoted(name)} ALLOW_CONNECTIONS true")
    wait_until(lambda: shared_server.health()[0] == 200, "the workers don't serve again")
    assert shared_server.workers()[0] == first
    assert "Traceback" not in shared_server.text


def test_killing_the_supervisor_ends_its_workers(serve_bench):
    """After kill -9 of the supervisor no worker is left, and a new server on the same socket starts at once."""
    with serve_bench.server("killed", f"workers = 2\n{HEALTH}") as server:
        workers = server.workers()
        server.process.kill()
        server.process.wait()
        with serve_bench.server("killed", f"workers = 2\n{HEALTH}") as again:
            assert again.health()[0] == 200
            wait_until(lambda: not any(map(is_running, workers)), "a worker outlived its supervisor")
