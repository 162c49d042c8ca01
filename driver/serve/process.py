"""One worker as the supervisor sees it: the process that it has now, and the next one when that ends."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import sys
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from .assignment import LINE_BYTES, Assignment, Report, encoded
from .logs import LOG

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

WORKER = (sys.executable, "-P", "-m", "strongroom.driver.serve.worker")
"""The command that starts a worker process. `-P` keeps the current folder out of its import path."""
State = Literal["starting", "serving", "draining", "restarting", "stopped"]


@dataclass(frozen=True, slots=True)
class Patience:
    """The delays and deadlines of a supervisor.

    Attributes:
        first: The delay of the first restart in a row, in seconds. Each further one doubles it.
        longest: The longest delay, in seconds.
        steady: Time for which a worker serves until its next restart is the first one again, in seconds.
        silence: Number of seconds without a report after which a worker is killed. Seconds in which the supervisor itself was
            stopped don't count.
        last: Time for closing connections, after the calls in flight had theirs, in seconds.
    """

    first: float = 0.1
    longest: float = 10.0
    steady: float = 60.0
    silence: int = 60
    last: float = 10.0


class WorkerProcess:
    """A worker.

    Attributes:
        number: The number of the worker.
        state: The state of the worker.
        restarts: How often it was started again.
        report: The last report of its process.
        error: The reason of its last end; "" since it serves again.

    Args:
        number: The number of the worker.
        listening: The listening socket.
        assign: Returns the assignment of a new process.
        stopping: Is set when the server stops.
        served: Is called when a process begins to serve.
        patience: The delays and deadlines.
        command: The command that starts a process.
    """

    def __init__(
        self,
        number: int,
        listening: socket.socket,
        *,
        assign: Callable[[WorkerProcess], Assignment],
        stopping: asyncio.Event,
        served: Callable[[], None],
        patience: Patience,
        command: Sequence[str],
    ) -> None:
        self.number = number
        self.state: State = "starting"
        self.restarts = 0
        self.report = Report("starting")
        self.error = ""
        self._listening, self._assign, self._command = listening, assign, command
        self._stopping, self._served, self._patience = stopping, served, patience
        self._in_a_row = 0
        self._quiet = 0
        self._process: asyncio.subprocess.Process | None = None
        self._control: asyncio.StreamWriter | None = None
        self._serving_since: float | None = None

    @property
    def pid(self) -> int | None:
        """The id of its process; None between two processes."""
        return None if self._process is None else self._process.pid

    async def keep(self) -> None:
        """Run one process after the other, until the server stops."""
        while not self._stopping.is_set():
            self.state = "starting"
            try:
                code: int | None = await self._run()
            except OSError as error:
                code, self.error = None, f"no process could be started: {error.strerror}"
            await self._pause(code)
        self.state = "stopped"

    def drain(self) -> None:
        """Make the process answer the calls that it has. One that does not serve yet has none, and is killed."""
        if self.state == "serving" and self._control is not None:
            self._control.write(b"drain\n")
        elif self.state != "draining":
            self.kill()

    def kill(self) -> None:
        """Kill the process."""
        if self._process is not None:
            with suppress(ProcessLookupError):
                self._process.kill()

    def tick(self) -> None:
        """Count a second, and kill a process that reported nothing for too long."""
        self._quiet += self._process is not None
        if self._quiet > self._patience.silence and self.state != "draining":
            self.error = "it reported nothing for too long, and was killed"
            self.kill()

    async def _run(self) -> int:
        """Run one process to its end, and return its exit code."""
        ours, theirs = socket.socketpair()
        with theirs:
            try:
                descriptors = (self._listening.fileno(), theirs.fileno())
                self._process = process = await asyncio.create_subprocess_exec(
                    *self._command,
                    *map(str, descriptors),
                    stdin=asyncio.subprocess.DEVNULL,
                    pass_fds=descriptors,
                    start_new_session=True,  # so that Ctrl-C reaches the supervisor only
                    env={name: value for name, value in os.environ.items() if name != "NOTIFY_SOCKET"},
                )
            except BaseException:
                ours.close()
                raise
        self._quiet, self._serving_since, self.report = 0, None, Report("starting")
        try:
            reader, self._control = await asyncio.open_connection(sock=ours, limit=LINE_BYTES)
            self._control.write(encoded(self._assign(self)))
            await self._follow(reader)
            with suppress(TimeoutError):
                async with asyncio.timeout(self._patience.last):
                    return await process.wait()
            process.kill()
            return await process.wait()
        finally:
            self.kill()
            (ours if self._control is None else self._control).close()
            self._process = self._control = None

    async def _follow(self, reader: asyncio.StreamReader) -> None:
        """Take the reports of the process, until it has closed the control socket."""
        with suppress(OSError, ValueError, TypeError):  # the last report of a killed process may be cut off
            while line := await reader.readline():
                self.report, self._quiet = Report(**json.loads(line)), 0
                match self.report.state:
                    case "serving":
                        self._serves()
                    case "draining":
                        self.state = "draining"
                    case "failed":
                        self.error = self.report.error

    def _serves(self) -> None:
        now = asyncio.get_running_loop().time()
        if self._serving_since is None:
            self.state, self.error, self._serving_since = "serving", "", now
            LOG.info("worker %d serves, process %d", self.number, self.pid)
            self._served()
            if self._stopping.is_set():
                self.drain()
        elif now - self._serving_since > self._patience.steady:
            self._in_a_row = 0

    async def _pause(self, code: int | None) -> None:
        """Wait before the next process: not at all after an orderly end, and longer each time after others."""
        if self._stopping.is_set():
            return
        self.restarts += 1
        self.state = "restarting"
        if code == 0:
            LOG.info("worker %d ended in order; it is started again", self.number)
            return
        delay = min(self._patience.longest, self._patience.first * 2 ** min(self._in_a_row, 30))
        self._in_a_row += 1
        self.error = self.error or _reason(code)
        LOG.warning("worker %d ended: %s; it is started again in %.1f s", self.number, self.error, delay)
        with suppress(TimeoutError):
            await asyncio.wait_for(self._stopping.wait(), delay)


def _reason(code: int | None) -> str:
    if code is None:
        return "its process could not be started"
    if code >= 0:
        return f"exit code {code}"
    with suppress(ValueError):
        return f"killed by {signal.Signals(-code).name}"
    return f"killed by signal {-code}"
