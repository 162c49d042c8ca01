"""A sealed cell, `strongroom serve` with two workers, and a Temporal server on it.

The session's server is shared and left running. A file whose tests break a part makes its own with `running_stack`.
"""

from __future__ import annotations

from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest

from examples.temporal.binaries import SERVER, build
from examples.temporal.sealed import SealedCell, sealed_cell
from examples.temporal.server import TemporalServer
from tests.support.temporal.go import require_go

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

SHARDS = 4
LINES = 40
"""Lines of each log in the report of a test that failed."""
WORKERS = 2


def pytest_itemcollected(item):
    """Give each test of this folder half an hour, because Go may have to compile the Temporal server first."""
    item.add_marker(pytest.mark.timeout(1800))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport():
    """Add the last lines of the logs of all stacks to the report of a test that failed."""
    report = yield
    if report.failed:
        report.sections += [(f"End of {log}", end) for stack in _running for log, end in stack.ends()]
    return report


@dataclass(frozen=True, slots=True)
class TemporalStack:
    """A sealed cell and the Temporal server on it, both running."""

    cell: SealedCell
    server: TemporalServer

    def ends(self) -> Iterator[tuple[Path, str]]:
        """Yield each log of the stack with its last lines."""
        for log in (*sorted(self.cell.folder.glob("*.log")), self.cell.postgres / "log"):
            yield log, "\n".join(log.read_text(errors="replace").splitlines()[-LINES:])


_running: list[TemporalStack] = []


@contextmanager
def running_stack(
    binary: Path, folder: Path, *, workers: int = WORKERS, configure: Callable[[SealedCell], None] | None = None
) -> Iterator[TemporalStack]:
    """Start a cell and a Temporal server on it.

    Args:
        binary: The Temporal server.
        folder: A new folder for both.
        workers: The number of worker processes of the cell.
        configure: Function that adds to the cell's configuration before it is served.
    """
    with ExitStack() as stack:
        cell = sealed_cell(stack, folder, shards=SHARDS, workers=workers)
        if configure is not None:
            configure(cell)
        cell.serve()
        server = TemporalServer(binary, folder, cell.datastores())
        stack.callback(server.stop)
        server.start()
        running = TemporalStack(cell, server)
        _running.append(running)
        stack.callback(_running.remove, running)
        yield running


@pytest.fixture(scope="session")
def temporal_binary() -> Path:
    """The Temporal server with the stores of a cell. The test is skipped, or fails, without Go."""
    require_go()
    return build(SERVER, "temporal-server-strongroom")


@pytest.fixture(scope="session")
def temporal_stack(temporal_binary, tmp_path_factory):
    """The session's cell and server, which no test stops."""
    with running_stack(temporal_binary, tmp_path_factory.mktemp("temporal")) as running:
        yield running
