from __future__ import annotations

import os
import signal
import stat

import pytest

from tests.support.serve.bench import is_running, wait_until

pytestmark = pytest.mark.integration

HEALTH = 'health = "127.0.0.1:0"\n'


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


def test_a_crashed_worker_is_started_again(serve_bench):
    """A killed worker is started again, its socket goes on accepting, the others don't notice, and health shows the restart."""
    with serve_bench.server("crashed", f"workers = 2\n{HEALTH}") as server:
        first, second = server.workers()
        assert server.health()[0] == 200
        os.kill(second, signal.SIGKILL)
        with server.connect(1):  # in the backlog while no process accepts
            pass
        wait_until(lambda: server.workers()[1] not in {None, second} and server.health()[0] == 200, "no new worker")
        code, health = server.health()
        assert [worker["restarts"] for worker in health["workers"]] == [0, 1]
        assert (code, health["status"], server.workers()[0]) == (200, "ok", first)
        assert "worker 1 ended: killed by SIGKILL; it is started again in 0.1 s" in server.text


def test_killing_the_supervisor_ends_its_workers(serve_bench):
    """After kill -9 of the supervisor no worker is left, and a new server on the same socket starts at once."""
    with serve_bench.server("killed", f"workers = 2\n{HEALTH}") as server:
        workers = server.workers()
        server.process.kill()
        server.process.wait()
        with serve_bench.server("killed", f"workers = 2\n{HEALTH}") as again:
            assert again.health()[0] == 200
            wait_until(lambda: not any(map(is_running, workers)), "a worker outlived its supervisor")
