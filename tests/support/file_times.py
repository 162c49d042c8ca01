"""Print at the end of a run the files that took longest, and how long each worker waited for the last one."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pytest

LEAST = 10
"""Shorter files, in seconds, are not printed."""


@dataclass(slots=True)
class FileTimes:
    """The times of a run.

    Attributes:
        total: The seconds of each file.
        setup: The seconds of each file in which fixtures were set up or torn down.
        ends: The time at which each worker's last test ended.
    """

    total: Counter[str] = field(default_factory=Counter)
    setup: Counter[str] = field(default_factory=Counter)
    ends: dict[str, float] = field(default_factory=dict)

    def add(self, report: pytest.TestReport, worker: str) -> None:
        """Add one phase of a test."""
        path = report.nodeid.partition("::")[0]
        self.total[path] += report.duration
        if report.when != "call":
            self.setup[path] += report.duration
        self.ends[worker] = max(self.ends.get(worker, 0), report.stop)

    def lines(self) -> Sequence[str]:
        """Return the lines of the summary."""
        seconds = sum(self.total.values())
        last = max(self.ends.values(), default=0)
        idle = ", ".join(f"{worker} {last - end:.0f} s" for worker, end in sorted(self.ends.items()))
        return [
            f"all files: {seconds:.0f} s, {sum(self.setup.values()):.0f} s of them in fixtures; idle at the end: {idle}",
            *(
                f"{total:5.0f} {path} ({self.setup[path]:.0f} s in fixtures)"
                for path, total in self.total.most_common()
                if total >= LEAST
            ),
        ]


def pytest_configure(config: pytest.Config) -> None:
    """Collect the times in the process that prints the summary."""
    if not hasattr(config, "workerinput"):
        config.pluginmanager.register(_Collector(config), "file_times_collector")


class _Collector:
    """Receives the reports of all workers."""

    def __init__(self, config: pytest.Config) -> None:
        self._times = FileTimes()
        self._is_distributed = bool(getattr(config.option, "tx", None))

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Add a report."""
        self._times.add(report, str(getattr(report, "worker_id", "main")))

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        """Print the summary of a distributed run, which is a run of many files."""
        if self._is_distributed:
            terminalreporter.section("slowest files")
            for line in self._times.lines():
                terminalreporter.line(line)
