"""Runs suites in processes of their own, one after the other or a few at once, and writes the results in the journal."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import subprocess
import sys
import time
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

from .journal import SIDES, End, Journal, Run, Side

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

    from .programs import Suite

BEGUN = re.compile(r"^=== RUN +(\S+)", re.MULTILINE)
ENDED = re.compile(r"--- (PASS|FAIL|SKIP): (\S+) \(")
"""A result may follow other text on its line, because the server's log can leave a line without its end."""
FROM_OUTSIDE = {-signal.SIGKILL, -signal.SIGTERM, -signal.SIGINT, -signal.SIGHUP}
"""Exit codes of a program that a signal from outside killed. SIGKILL is the one that the kernel sends when memory is short."""
OVERTIME = 30
"""Seconds until a program is killed that did not end itself at the time limit of its tests."""


@dataclass(frozen=True, slots=True)
class Runner:
    """Runs suites.

    Attributes:
        journal: Gets the results, and knows those of earlier runs.
        version: The version of the Temporal server.
        environments: Side: the variables that say where the stores are.
        logs: The folder of the tests' output. It is kept for runs in which a test failed.
        limit: The time limit of one suite in seconds; one test alone has the same.
        stop_at: The time of `time.monotonic` after which nothing new is begun.
        again: Whether suites are run that the journal has.
        repeats: How often a failing test is repeated alone at most.
    """

    journal: Journal
    version: str
    environments: Mapping[Side, Mapping[str, str]]
    logs: Path
    limit: int
    stop_at: float
    again: bool = False
    repeats: int = 1

    async def run_all(self, suites: list[Suite], at_once: int) -> None:
        """Run suites on both sides, and repeat each failure alone. The side that comes first alternates."""
        waiting = iter([(suite, SIDES[:: -1 if number % 2 else 1]) for number, suite in enumerate(suites)])

        async def work() -> None:
            for suite, sides in waiting:
                for side in sides:
                    if side in self.environments:
                        await self._run_suite(suite, side)

        await asyncio.gather(*(work() for _ in range(at_once)))

    async def _run_suite(self, suite: Suite, side: Side) -> None:
        if self.again or not self.journal.has(str(suite), side):
            await self._run(suite, side, None)
        while time.monotonic() < self.stop_at and (tests := self.journal.to_repeat(str(suite), side, self.repeats)):
            if await self._run(suite, side, tests[0]) == "killed":
                return  # whatever killed it may kill it again

    async def _run(self, suite: Suite, side: Side, alone: str | None) -> End | None:
        """Run a suite, or one test alone. Return how it ended; None if the time is over."""
        if time.monotonic() > self.stop_at:
            return None
        log = log_of(self.logs, suite, side, alone)
        began = time.monotonic()
        code = await self._program(suite, side, pattern_of(alone or suite.name), log)
        text = log.read_text(errors="replace")
        seconds = round(time.monotonic() - began, 1)
        results = read_results(text)
        end = end_of(code, text, unfinished=bool(results["unfinished"]))
        if alone is None and end != "completed":
            results["not_begun"] = not_begun(self.journal.tests_of(str(suite)).union(suite.tests), text)
        load = round(os.getloadavg()[0], 1)
        run = Run(self.version, str(suite), side, alone, end, seconds, load, **results)
        self.journal.add(run)
        if end == "completed" and not run.failed:
            log.unlink()
        numbers = ", ".join(f"{len(names)} {result.replace('_', ' ')}" for result, names in results.items() if names)
        sys.stdout.write(f"{suite}{f' ({alone})' if alone else ''} {side}: {end}, {numbers}, {seconds:.0f} s\n")
        sys.stdout.flush()
        return end

    async def _program(self, suite: Suite, side: Side, pattern: str, log: Path) -> int | None:
        """Run a program, and return its exit code; None if it was killed because it did not end at the time limit."""
        with log.open("wb") as output:
            process = await asyncio.create_subprocess_exec(
                suite.program,
                "-test.v",
                f"-test.timeout={self.limit}s",
                f"-test.run={pattern}",
                "-persistenceDriver=postgres12_pgx",
                cwd=suite.folder,
                stdout=output,
                stderr=subprocess.STDOUT,
                env={**os.environ, **self.environments[side]},
            )
            try:
                async with asyncio.timeout(self.limit + OVERTIME):
                    return await process.wait()
            except TimeoutError:
                return None
            finally:
                with suppress(ProcessLookupError):
                    process.kill()
                await process.wait()


def log_of(logs: Path, suite: Suite, side: Side, alone: str | None) -> Path:
    """Return the file of a run's output. Packages and tests have slashes in their names."""
    name = f"{suite}-{alone[:120]}" if alone else str(suite)
    return logs / f"{name.replace('/', '-')}.{side}.log"


def pattern_of(test: str) -> str:
    """Return the pattern of one test, with all its subtests, for `go test -run`."""
    return "/".join(f"^{re.escape(name)}$" for name in test.split("/"))


def end_of(code: int | None, output: str, *, unfinished: bool) -> End:
    """Return how a program ended.

    Args:
        code: Its exit code; None if it was killed because it did not end at the time limit.
        output: Its output.
        unfinished: Whether a test had begun and not ended.
    """
    if code is None or "panic: test timed out after" in output:
        return "time limit"
    if code in FROM_OUTSIDE:
        return "killed"
    return "completed" if code in {0, 1} and not unfinished else "crashed"


def not_begun(known: Iterable[str], output: str) -> list[str]:
    """Return the known tests that are not begun in a program's output, nor within one that was, nor within another of the list."""
    results = read_results(output)
    ended = {name for names in results.values() for name in names}
    begun = {test[:end] for test in ended for end in range(len(test) + 1) if f"{test}/"[end] == "/"}
    found: list[str] = []
    for name in sorted(set(known) - begun):
        if not any(name.startswith(f"{other}/") for other in (*ended, *found)):
            found.append(name)
    return found


def read_results(output: str) -> dict[str, list[str]]:
    """Return the tests of a program's output by result. A test with subtests counts only if it failed by itself."""
    by_test = {name: result for result, name in ENDED.findall(output)}
    begun = set(BEGUN.findall(output)) | set(by_test)
    parents = {name[:end] for name in begun for end in range(len(name)) if name[end] == "/"}
    failures = {name for name, result in by_test.items() if result == "FAIL"}
    unfinished = begun - set(by_test)

    def within(name: str, others: set[str]) -> bool:
        return any(other.startswith(f"{name}/") for other in others)

    def of(result: str) -> list[str]:
        return sorted(name for name, found in by_test.items() if found == result and name not in parents)

    own = {name for name in failures if not within(name, failures | unfinished)}
    return {
        "passed": of("PASS"),
        "failed": sorted(own),
        "skipped": of("SKIP"),
        "unfinished": sorted(name for name in unfinished if not within(name, unfinished | failures)),
    }
