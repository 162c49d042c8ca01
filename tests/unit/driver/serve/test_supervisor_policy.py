from __future__ import annotations

import asyncio
import json
import logging
import os
import sys
from contextlib import asynccontextmanager
from dataclasses import replace

import pytest

from strongroom.driver.serve.logs import LOG
from strongroom.driver.serve.process import Patience
from strongroom.driver.serve.sockets import WorkerSockets
from strongroom.driver.serve.supervisor import Supervisor
from tests.support.serve.bench import SECONDS, is_running, until

QUICK = Patience(first=0.01, longest=0.04, silence=600, last=60.0)
"""Short delays. A worker has ample time to start, to report and to end, because it is a Python interpreter on a busy machine."""
WORKER = """
import json, os, signal, socket, sys, time
control = socket.socket(fileno=int(sys.argv[2]))
lines = control.makefile("r")
given = json.loads(lines.readline())
def report(state, error=""):
    control.sendall(json.dumps({"state": state, "database": "reachable", "error": error}).encode() + b"\\n")
"""
SERVES = "report('serving')\n"
ENDS = "lines.readline(); report('draining')\n"


@asynccontextmanager
async def supervised(folder, script, *, workers=1, patience=QUICK, drain_seconds=60.0):
    """Run a supervisor whose workers are small scripts, and stop it at the end."""
    sockets = WorkerSockets(folder / "x", workers)
    ready = asyncio.Event()
    supervisor = Supervisor(
        {"cell": {}},
        folder=str(folder),
        source="strongroom.toml",
        sockets=sockets,
        drain_seconds=drain_seconds,
        ready=ready.set,
        patience=patience,
        command=(sys.executable, "-c", WORKER + script),
    )
    supervisor.is_ready = ready
    running = asyncio.create_task(supervisor.run())
    try:
        yield supervisor
    finally:
        supervisor.stop()
        async with asyncio.timeout(SECONDS):
            await running
        sockets.close()


def logged(caplog, level):
    """Return the supervisor's own records from a level on. Other programs of the process log too."""
    return [record for record in caplog.records if record.name == LOG.name and record.levelno >= level]


def delays_of(caplog):
    """Return the delays before restarts, as they were logged."""
    return [record.args[-1] for record in logged(caplog, logging.WARNING) if "it is started again in" in record.msg]


async def test_a_worker_that_can_not_start_is_tried_again_with_growing_delays(tmp_path, caplog):
    """The delays double up to the longest one. The reason is in the log and in the health. It never gives up."""
    caplog.set_level(logging.INFO, "strongroom.serve")
    go = tmp_path / "go"
    script = (
        f"while given['restarts'] == 3 and not os.path.exists({str(go)!r}):\n time.sleep(0.01)\n"
        "if given['restarts'] < 6:\n report('failed', 'the database is away')\n sys.exit(1)\n"
        "report('serving')\nlines.readline()\n"
    )
    async with supervised(tmp_path, script) as supervisor:
        await until(lambda: supervisor.workers[0].restarts == 3)
        assert supervisor.health()["workers"][0]["error"] == "the database is away"
        assert supervisor.health()["status"] == "degraded"
        go.touch()
        await until(lambda: supervisor.health()["status"] == "ok")
        assert supervisor.health()["workers"][0]["error"] is None
    assert delays_of(caplog) == [0.01, 0.02, 0.04, 0.04, 0.04, 0.04]
    assert "worker 0 ended: the database is away" in caplog.text


async def test_a_worker_that_served_for_a_while_is_restarted_without_delay_again(tmp_path, caplog):
    """After a steady time the next restart is the first one again."""
    script = (
        "report('serving')\n"
        "if given['restarts'] == 1:\n report('serving')\n"
        "if given['restarts'] < 3:\n os.kill(os.getpid(), signal.SIGKILL)\n"
        "lines.readline()\n"
    )
    at_once = replace(QUICK, steady=0.0)  # the second report of a worker resets the count
    async with supervised(tmp_path, script, patience=at_once) as supervisor:
        await until(lambda: supervisor.workers[0].restarts == 3 and supervisor.workers[0].state == "serving")
    assert delays_of(caplog) == [0.01, 0.01, 0.02]
    assert "killed by SIGKILL" in caplog.text


async def test_a_silent_worker_is_killed_and_replaced(tmp_path, caplog):
    """A worker that reports nothing is killed, so that its shards go on in the next process. Each report begins a new count."""
    script = "report('serving')\nif given['restarts'] == 0:\n time.sleep(1000)\nwhile True:\n report('serving')\n time.sleep(0.01)\n"
    quick = replace(QUICK, last=0.1)

    def pass_seconds(number):
        for _ in range(number):
            worker.tick()

    async with supervised(tmp_path, script, patience=quick, drain_seconds=0.1) as supervisor:
        worker = supervisor.workers[0]
        await until(lambda: worker.state == "serving")
        first = worker.pid
        pass_seconds(QUICK.silence + 1)
        await until(lambda: worker.restarts == 1 and worker.state == "serving")
        assert not is_running(first)
        second = worker.pid
        for _ in range(3):
            last = worker.report
            pass_seconds(QUICK.silence // 2)
            await until(lambda last=last: worker.report is not last)
        assert worker.pid == second
    assert "it reported nothing for too long" in caplog.text


@pytest.mark.parametrize(
    "sent", ['b\'{"state": "ser\'', "b'[]\\n'", "b'x' * 5_000_000"], ids=["cut off", "wrong", "endless"]
)
async def test_a_report_that_can_not_be_read_ends_its_worker_only(tmp_path, sent):
    """A report that is cut off, as by kill -9, or wrong is the end of this process. Another one is started, and the server goes on."""
    script = (
        f"if given['restarts'] == 0:\n control.sendall({sent})\n sys.exit(1)\nreport('serving')\nlines.readline()\n"
    )
    async with supervised(tmp_path, script) as supervisor:
        await until(lambda: supervisor.workers[0].restarts == 1 and supervisor.workers[0].state == "serving")


async def test_an_orderly_end_of_a_worker_is_no_crash(tmp_path, caplog):
    """A worker that ends with 0, for example after SIGTERM, is started again at once and without a warning."""
    script = "report('serving')\nif given['restarts'] == 0:\n sys.exit(0)\nlines.readline()\n"
    async with supervised(tmp_path, script) as supervisor:
        await until(lambda: supervisor.workers[0].restarts == 1 and supervisor.workers[0].state == "serving")
    assert not logged(caplog, logging.WARNING)


async def test_a_worker_that_does_not_end_is_killed_when_the_server_stops(tmp_path, caplog):
    """The end of the server is bounded: calls in flight have the drain time, closing has its own, and then comes SIGKILL."""
    quick = Patience(last=0.2)
    async with supervised(
        tmp_path, SERVES + ENDS + "time.sleep(1000)\n", drain_seconds=0.2, patience=quick
    ) as supervisor:
        await until(lambda: supervisor.workers[0].state == "serving")
        pid = supervisor.workers[0].pid
    assert not is_running(pid)
    assert "1 workers did not end in time and are killed" in caplog.text


async def test_a_second_signal_kills_the_workers(tmp_path):
    """The first `stop` waits for the calls in flight, and the second one does not."""
    async with supervised(tmp_path, SERVES + ENDS + "time.sleep(1000)\n", drain_seconds=1000.0) as supervisor:
        await until(lambda: supervisor.workers[0].state == "serving")
        supervisor.stop()
        await until(lambda: supervisor.workers[0].state == "draining")
        assert supervisor.health()["status"] == "stopping"
        # the context manager stops a second time, and waits


async def test_a_worker_that_starts_is_killed_when_the_server_stops(tmp_path):
    """A worker that has no calls yet does not delay the end of the server."""
    async with supervised(tmp_path, "time.sleep(1000)\n", drain_seconds=1000.0) as supervisor:
        await until(lambda: supervisor.workers[0].pid is not None)
        assert not supervisor.is_ready.is_set()


async def test_the_server_is_ready_when_all_workers_serve(tmp_path):
    """One of two workers is not enough. Later restarts change nothing."""
    script = (
        f"if given['worker'] == 1:\n while not os.path.exists({str(tmp_path / 'go')!r}):\n  time.sleep(0.01)\n"
        "report('serving')\nlines.readline()\n"
    )
    async with supervised(tmp_path, script, workers=2) as supervisor:
        await until(lambda: supervisor.workers[0].state == "serving")
        assert not supervisor.is_ready.is_set()
        (tmp_path / "go").touch()
        async with asyncio.timeout(SECONDS):
            await supervisor.is_ready.wait()


async def test_every_worker_gets_the_same_assignment(tmp_path):
    """A worker gets the configuration, its number and the number of workers, and no notification socket."""
    script = (
        f"json.dump([given, 'NOTIFY_SOCKET' in os.environ], open({str(tmp_path)!r} + '/%d' % given['worker'], 'w'))\n"
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("NOTIFY_SOCKET", str(tmp_path / "none"))
        async with supervised(tmp_path, script + SERVES + "lines.readline()\n", workers=2) as supervisor:
            async with asyncio.timeout(SECONDS):
                await supervisor.is_ready.wait()
    for worker in (0, 1):
        given, notifies = json.loads((tmp_path / str(worker)).read_text())
        assert (given["document"], given["worker"], given["workers"], given["restarts"]) == ({"cell": {}}, worker, 2, 0)
        assert (given["parent"], notifies) == (os.getpid(), False)
