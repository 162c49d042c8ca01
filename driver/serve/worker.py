"""A worker process: it opens the cell for itself, and serves the connections of one listening socket.

The supervisor starts it as `python -m strongroom.driver.serve.worker`, with the listening socket and a control socket. It ends
when the supervisor says so, on SIGTERM, and when the supervisor ends for whatever reason.
"""

from __future__ import annotations

import asyncio
import ctypes
import json
import os
import signal
import socket
import sys
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from strongroom.driver.config import ConfigError, ServeConfig, parse_config
from strongroom.driver.strongroom import Strongroom
from strongroom.kms import StrongroomError
from strongroom.storage import NO_NAMESPACE

from .assignment import LINE_BYTES, Assignment, Report, encoded
from .garbage import exempt_existing_objects
from .logs import LOG, kind_and_place, log_to_stderr
from .loops import loop_factory, loop_name
from .server import Server

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Coroutine, Sequence

    from strongroom.driver.telemetry.telemetry import Telemetry
    from strongroom.storage import Database

REPORT_SECONDS = 1.0
"""Time between two reports, in seconds."""
DATABASE_SECONDS = 5.0
"""Time between two checks of the database, and the timeout of a check, in seconds."""
API_KEY = "STRONGROOM_API_KEY"
_PR_SET_PDEATHSIG = 1


class Worker:
    """A worker process that has its assignment.

    Args:
        assignment: The assignment.
        listening: The listening socket.
        control: The connection to the supervisor.
    """

    def __init__(
        self,
        assignment: Assignment,
        listening: socket.socket,
        control: tuple[asyncio.StreamReader, asyncio.StreamWriter],
    ) -> None:
        self._assignment = assignment
        self._listening = listening
        self._reader, self._writer = control
        self._server: Server | None = None
        self._database = "unknown"
        self._state = "starting"
        self._stop = asyncio.Event()

    async def run(self) -> None:
        """Open the cell, and serve until the supervisor stops it.

        Raises:
            StrongroomError: The cell can't be opened.
        """
        given = self._assignment
        config = parse_config(given.document, folder=Path(given.folder), source=given.source)
        settings = config.serve or ServeConfig()
        LOG.info("worker %d runs on the event loop of %s", given.worker, loop_name())
        loop = asyncio.get_running_loop()
        loop.add_signal_handler(signal.SIGTERM, self._stop.set)
        loop.add_signal_handler(signal.SIGINT, self._stop.set)
        async with AsyncExitStack() as stack:
            await stack.enter_async_context(_running(self._report(), self._obey()))
            telemetry = self._telemetry(stack, settings)
            strongroom = await stack.enter_async_context(Strongroom.open(config, telemetry=telemetry))
            await stack.enter_async_context(_running(self._check(strongroom.database)))
            if given.worker == 0:
                await stack.enter_async_context(_running(strongroom.deletions.run()))
            if strongroom.indexer is not None and given.worker == given.workers - 1:
                await stack.enter_async_context(_running(strongroom.indexer.run()))
            self._server = Server(
                strongroom,
                settings,
                worker=given.worker,
                workers=given.workers,
                api_key=os.environ.get(API_KEY),
            )
            if telemetry is not None:
                telemetry.serving(self._server.counts, restarts=given.restarts)
            await self._server.start(self._listening)
            exempt_existing_objects()
            self._tell("serving")
            await self._stop.wait()
            self._tell("draining")
            await self._server.drain(settings.drain_seconds)

    def _telemetry(self, stack: AsyncExitStack, settings: ServeConfig) -> Telemetry | None:
        """Serve the metrics of this process, if the configuration has an address for them."""
        if settings.metrics is None:
            return None
        from strongroom.driver.telemetry.prometheus import served_metrics  # noqa: PLC0415 - needs an extra

        port = settings.metrics.port and settings.metrics.port + self._assignment.worker
        telemetry, address = stack.enter_context(served_metrics(settings.metrics.host, port))
        LOG.info("worker %d serves metrics on %s", self._assignment.worker, address)
        return telemetry

    def fail(self, reason: str) -> None:
        """Report the reason why the worker ends."""
        self._tell("failed", reason)

    def _tell(self, state: str, error: str = "") -> None:
        self._state = state
        counts = None if self._server is None else self._server.counts
        report = Report(
            state,
            0 if counts is None else counts.connections,
            0 if counts is None else counts.in_flight,
            self._database,
            error,
        )
        with suppress(OSError):
            self._writer.write(encoded(report))

    async def _report(self) -> None:
        while True:
            self._tell(self._state)
            await asyncio.sleep(REPORT_SECONDS)

    async def _obey(self) -> None:
        """Stop when the supervisor says so. Without a supervisor end at once, because another one may need the socket."""
        if await self._reader.readline():
            self._stop.set()
            await self._reader.readline()
        os._exit(1)

    async def _check(self, database: Database) -> None:
        while True:
            try:
                async with asyncio.timeout(DATABASE_SECONDS), database.connection(NO_NAMESPACE) as connection:
                    await connection.fetch("SELECT 1")
                self._database = "reachable"
            except TimeoutError:
                self._database = "slow"
            except StrongroomError:
                self._database = "unreachable"
            await asyncio.sleep(DATABASE_SECONDS)


@asynccontextmanager
async def _running(*work: Coroutine[Any, Any, None]) -> AsyncIterator[None]:
    """Run coroutines in the background, and cancel them at the end."""
    tasks = [asyncio.create_task(each) for each in work]
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _work(listening: socket.socket, control: socket.socket) -> int:
    reader, writer = await asyncio.open_connection(sock=control, limit=LINE_BYTES)
    line = await reader.readline()
    if not line:
        return 1
    assignment = Assignment(**json.loads(line))
    if os.getppid() != assignment.parent:
        return 1  # the supervisor was killed before this process asked to be ended with it
    worker = Worker(assignment, listening, (reader, writer))
    try:
        await worker.run()
    except ConfigError as error:
        worker.fail(" ".join([error.summary, "; ".join(error.details)]).strip())
    except StrongroomError as error:
        worker.fail(str(error))
    except Exception as error:  # noqa: BLE001 - its message may hold a tenant's values
        worker.fail(kind_and_place(error))
    else:
        return 0
    with suppress(OSError):
        await writer.drain()
    return 1


def end_with_parent() -> None:
    """Let the kernel kill this process when its parent ends. Where the kernel can't, the end of the control socket does it."""
    with suppress(OSError, AttributeError):
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def main(arguments: Sequence[str]) -> int:
    """Run a worker process.

    Args:
        arguments: The descriptors of the listening socket and of the control socket.

    Returns:
        The exit code.
    """
    end_with_parent()
    log_to_stderr()
    listening, control = (socket.socket(fileno=int(each)) for each in arguments)
    try:
        with asyncio.Runner(loop_factory=loop_factory()) as runner:
            return runner.run(_work(listening, control))
    except Exception as error:  # noqa: BLE001 - a traceback may hold a tenant's values
        LOG.error("a worker ended: %s", kind_and_place(error))
        return 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
