"""The supervisor: it starts worker processes, restarts those that end, and stops all of them in order.

It holds the listening sockets. So a caller that connects while its worker is started again waits, and is not refused.
"""

from __future__ import annotations

import asyncio
import os
from typing import TYPE_CHECKING, Any

from .assignment import Assignment
from .logs import LOG
from .process import WORKER, Patience, WorkerProcess
from .systemd import notify, wants_watchdog

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from .sockets import WorkerSockets


class Supervisor:
    """The workers of one server.

    Attributes:
        workers: The workers.

    Args:
        document: The content of the configuration.
        folder: The folder that relative paths in it start at.
        source: The path of the configuration, for messages.
        sockets: The listening sockets.
        drain_seconds: Timeout for calls in flight when the server stops, in seconds.
        ready: Is called once, when all workers serve.
        patience: The delays and deadlines.
        command: The command that starts a worker process.
    """

    def __init__(
        self,
        document: dict[str, Any],
        *,
        folder: str,
        source: str,
        sockets: WorkerSockets,
        drain_seconds: float,
        ready: Callable[[], None],
        patience: Patience | None = None,
        command: Sequence[str] = WORKER,
    ) -> None:
        self._document, self._folder, self._source = document, folder, source
        self._sockets = sockets
        self._drain_seconds = drain_seconds
        self._ready: Callable[[], None] | None = ready
        self._patience = patience or Patience()
        self._stop = asyncio.Event()
        self._status = ""
        self.workers = [
            WorkerProcess(
                number,
                listening,
                assign=self._assignment,
                stopping=self._stop,
                served=self._served,
                patience=self._patience,
                command=command,
            )
            for number, listening in enumerate(sockets.sockets)
        ]

    def stop(self) -> None:
        """Stop: the workers answer the calls that they have. The second time it kills the workers."""
        if self._stop.is_set():
            self._kill()
        self._stop.set()

    async def run(self) -> None:
        """Run the workers until `stop` is called, and return when all of them have ended."""
        keeping = [asyncio.create_task(worker.keep()) for worker in self.workers]
        ticking = asyncio.create_task(self._tick())
        stopped = asyncio.create_task(self._stop.wait())
        try:
            await asyncio.wait([stopped, *keeping], return_when=asyncio.FIRST_COMPLETED)
            self._stop.set()
            self._sockets.refuse()
            notify("STOPPING=1", "STATUS=answering the calls in flight")
            LOG.info("stopping; calls in flight have %g s", self._drain_seconds)
            for worker in self.workers:
                worker.drain()
            _, late = await asyncio.wait(keeping, timeout=self._drain_seconds + self._patience.last)
            if late:
                LOG.warning("%d workers did not end in time and are killed", len(late))
            self._kill()
            await asyncio.gather(*keeping)
        finally:
            ticking.cancel()
            stopped.cancel()
            self._stop.set()  # not set yet if this task is cancelled; without it, killed workers would be started again
            self._kill()
            await asyncio.gather(*keeping, return_exceptions=True)

    def health(self) -> dict[str, Any]:
        """Return the state of each worker, for the health endpoint."""
        is_well = all(map(_is_well, self.workers))
        return {
            "status": "stopping" if self._stop.is_set() else "ok" if is_well else "degraded",
            "workers": [
                {
                    "worker": worker.number,
                    "state": worker.state,
                    "pid": worker.pid,
                    "restarts": worker.restarts,
                    "connections": worker.report.connections,
                    "in_flight": worker.report.in_flight,
                    "database": worker.report.database,
                    "error": worker.error or None,
                }
                for worker in self.workers
            ],
        }

    def _assignment(self, worker: WorkerProcess) -> Assignment:
        return Assignment(
            document=self._document,
            folder=self._folder,
            source=self._source,
            worker=worker.number,
            workers=len(self.workers),
            restarts=worker.restarts,
            parent=os.getpid(),
        )

    def _served(self) -> None:
        if self._ready is not None and all(worker.state == "serving" for worker in self.workers):
            notify("READY=1")
            self._ready()
            self._ready = None

    def _kill(self) -> None:
        for worker in self.workers:
            worker.kill()

    async def _tick(self) -> None:
        """Once a second: notify systemd, and kill workers that report nothing."""
        watchdog = wants_watchdog()
        while True:
            await asyncio.sleep(1.0)
            for worker in self.workers:
                worker.tick()
            serving = sum(worker.state == "serving" for worker in self.workers)
            restarts = sum(worker.restarts for worker in self.workers)
            status = f"STATUS={serving} of {len(self.workers)} workers serve, {restarts} restarts"
            if status != self._status and not self._stop.is_set():
                notify(status)
                self._status = status
            if watchdog:
                notify("WATCHDOG=1")


def _is_well(worker: WorkerProcess) -> bool:
    return worker.state == "serving" and worker.report.database != "unreachable"
