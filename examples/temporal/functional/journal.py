"""The journal of the functional tests: a line for each run of a suite, or of one test alone, with the result of each test."""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from pathlib import Path

Side = Literal["sealed", "plain"]
End = Literal["completed", "time limit", "killed", "crashed"]
"""How a program ended: by itself, at the time limit, by a signal from outside (for example when memory was short), or by a crash."""
SIDES: tuple[Side, Side] = ("sealed", "plain")


@dataclass(frozen=True, slots=True)
class Run:
    """A run of a suite, or of one test of it alone.

    Attributes:
        version: The version of the Temporal server.
        suite: Package and name of the suite.
        side: `sealed` on a cell, `plain` on Temporal's own stores.
        alone: The test that was run alone; None for the whole suite.
        end: How the program of the tests ended.
        seconds: Its duration.
        load: The load of the machine at the end, as average of one minute.
        passed: Tests that passed. Tests with subtests are left out.
        failed: Tests that failed. A test is left out if a subtest of it failed.
        skipped: Tests that the server's own code skips.
        unfinished: Tests that had begun when the program ended.
        not_begun: Known tests of the suite that had not begun when the program ended. A test is left out if another one of the
            run or of this list includes it.
    """

    version: str
    suite: str
    side: Side
    alone: str | None
    end: End
    seconds: float
    load: float
    passed: list[str] = field(default_factory=list)
    failed: list[str] = field(default_factory=list)
    skipped: list[str] = field(default_factory=list)
    unfinished: list[str] = field(default_factory=list)
    not_begun: list[str] = field(default_factory=list)


class Journal:
    """Runs in a file, one JSON object a line. Each is written when it ends, so that an interrupted program loses one run.

    A suite counts as run on a side when its run and the repeats of its failures are in the journal.

    Attributes:
        runs: The runs in order.
        version: The version of the Temporal server.
        suites: All suites of the server, also those that were not run.

    Args:
        path: The file. An incomplete last line is cut off.
        version: The version of the Temporal server. Runs of other versions are passed over.
    """

    def __init__(self, path: Path, version: str) -> None:
        self._path, self.version = path, version
        whole = path.read_bytes() if path.exists() else b""
        complete = whole[: whole.rfind(b"\n") + 1]
        if complete != whole:
            path.write_bytes(complete)
        lines = [json.loads(line) for line in complete.splitlines()]
        of_version = [line for line in lines if line["version"] == version]
        self.suites: list[str] = next((line["suites"] for line in reversed(of_version) if "suites" in line), [])
        self.runs = [Run(**line) for line in of_version if "suites" not in line]

    def know(self, suites: list[str]) -> None:
        """Note all suites of the server."""
        if suites != self.suites:
            self.suites = suites
            self._append({"version": self.version, "suites": suites})

    def add(self, run: Run) -> None:
        """Add a run, and write it to disk."""
        self.runs.append(run)
        self._append(asdict(run))

    def has(self, suite: str, side: Side) -> bool:
        """Return whether a suite was run on a side."""
        return any((run.suite, run.side, run.alone) == (suite, side, None) for run in self.runs)

    def tests_of(self, suite: str) -> set[str]:
        """Return the tests of a suite that its runs have begun, on either side."""
        runs = [run for run in self.runs if run.suite == suite]
        return {test for run in runs for test in (*run.passed, *run.failed, *run.skipped, *run.unfinished)}

    def to_repeat(self, suite: str, side: Side, times: int) -> list[str]:
        """Return the tests that did not pass in the last run of a suite, nor in a repeat, and that may be repeated again.

        A test that was not finished is run alone at least once. A run whose program was killed does not count.
        """
        waiting: dict[str, int] = {}
        for run in self.runs:
            if (run.suite, run.side) != (suite, side):
                continue
            if run.alone is None:
                waiting = dict.fromkeys(run.failed, times)
                waiting |= dict.fromkeys([*run.unfinished, *run.not_begun], max(times, 1))
            elif run.alone in waiting and run.end != "killed":
                waiting[run.alone] -= 1 if run.failed or run.unfinished or run.end != "completed" else times
        return [test for test, left in waiting.items() if left > 0]

    def _append(self, line: dict[str, object]) -> None:
        with self._path.open("ab") as file:
            file.write(json.dumps(line, separators=(",", ":")).encode() + b"\n")
            file.flush()
            os.fsync(file.fileno())
