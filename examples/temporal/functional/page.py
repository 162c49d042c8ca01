"""The page of the functional tests' results, made from the journal and the reasons alone."""

from __future__ import annotations

import re
import sys
import tomllib
from collections import Counter
from dataclasses import dataclass
from itertools import groupby
from typing import TYPE_CHECKING

from examples.temporal.binaries import MODULE

from .journal import SIDES, Journal, Run, Side

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

REASONS = MODULE / "functional" / "reasons.toml"
PASSES, FAILS, UNFINISHED, SKIPPED, MISSING = "passes", "fails", "not finished", "skipped", "not run"
BOTH_PASS, BOTH_FAIL, CELL_FAILS, PLAIN_FAILS = (
    "pass on both",
    "fail on both",
    "fail on a cell only",
    "fail on plain only",
)
ONE_SIDE = "run on one side only"
KINDS = (BOTH_PASS, BOTH_FAIL, CELL_FAILS, PLAIN_FAILS, UNFINISHED, ONE_SIDE, SKIPPED)
HEAD = """# Results of the server's functional tests

Written by `python -m examples.temporal.functional --table` from `functional/results.jsonl` and
`functional/reasons.toml`. Don't edit it.

Temporal {version}, its tests of `{packages}`. "Plain" are Temporal's own stores (`postgres12_pgx`) in the same
PostgreSQL. The machine had other work (load {low:.0f} to {high:.0f} on two cores). So a test that fails, or does not end within its
suite's time, is repeated alone, and the last repeat counts. Tests with subtests are counted by their subtests.
{run} of {all} suites were run on both sides.
"""
NOT_FINISHED = """## Tests that are not finished

The time limit of their suite ended them, or a signal from outside killed their program, or they had not begun by then. They count
neither as passed nor as failed. The next run repeats each of them alone.

"""


@dataclass(frozen=True, slots=True)
class Results:
    """The results of a suite on one side.

    Attributes:
        by_test: Each test's result.
        repeated: Tests that passed only when they were repeated alone.
        end: How the run of the suite ended.
    """

    by_test: dict[str, str]
    repeated: list[str]
    end: str

    def of(self, test: str) -> str:
        """Return the result of a test. A test that its parent's failure prevents has failed; one with subtests has theirs."""
        if test in self.by_test:
            return self.by_test[test]
        below = {result for name, result in self.by_test.items() if name.startswith(f"{test}/")}
        above = {result for name, result in self.by_test.items() if test.startswith(f"{name}/")}
        return next(
            (result for result in (FAILS, UNFINISHED, PASSES, SKIPPED) if result in below or result in above), MISSING
        )


def write_page(journal: Journal, path: Path) -> int:
    """Write the page, print its totals, and return 1 if a test fails on a cell only."""
    compared = {suite: compare(journal.runs, suite) for suite in journal.suites}
    totals = Counter(kind for kinds in compared.values() for kind in kinds.values())
    path.write_text(page(journal, compared, totals))
    sys.stdout.write(", ".join(f"{totals[kind]} {kind}" for kind in KINDS) + f"\npage: {path}\n")
    return int(totals[CELL_FAILS] > 0)


def results_of(runs: Iterable[Run], suite: str, side: Side) -> Results | None:
    """Return the results of the last run of a suite on a side, corrected by its repeats; None if it was not run.

    A test that had not begun when its program ended is not finished.
    """
    found: Results | None = None
    for run in runs:
        if (run.suite, run.side) != (suite, side):
            continue
        of_run = {
            **dict.fromkeys(run.passed, PASSES),
            **dict.fromkeys(run.skipped, SKIPPED),
            **dict.fromkeys(run.failed, FAILS),
            **dict.fromkeys(run.unfinished, UNFINISHED if was_ended(run) else FAILS),
            **dict.fromkeys(run.not_begun, UNFINISHED),
        }
        if run.alone is None:
            found = Results(of_run, [], run.end)
        elif found is not None:
            for test in [each for each in found.by_test if f"{each}/".startswith(f"{run.alone}/")]:
                del found.by_test[test]  # also of an earlier repeat
            found.by_test.update(of_run or {run.alone: UNFINISHED if was_ended(run) else FAILS})
            if of_run and not {FAILS, UNFINISHED} & set(of_run.values()):
                found.repeated.append(run.alone)
    return found


def was_ended(run: Run) -> bool:
    """Return whether the tests that had begun are not finished. Otherwise they have failed.

    A test that runs alone has the whole time limit, so it has failed if it reaches the limit.
    """
    return run.end == "killed" or (run.end == "time limit" and run.alone is None)


def compare(runs: Iterable[Run], suite: str) -> dict[str, str]:
    """Return the kind of each test of a suite."""
    sides = [results_of(runs, suite, side) for side in SIDES]
    tests = dict.fromkeys(name for side in sides if side for name in side.by_test)
    kinds = {}
    for test in tests:
        sealed, plain = (side.of(test) if side else MISSING for side in sides)
        kinds[test] = kind_of(sealed, plain)
    return kinds


def kind_of(sealed: str, plain: str) -> str:
    """Return the kind of a test with these results."""
    if MISSING in {sealed, plain}:
        return ONE_SIDE
    if UNFINISHED in {sealed, plain}:
        return UNFINISHED
    if sealed == plain:
        return {PASSES: BOTH_PASS, FAILS: BOTH_FAIL}.get(sealed, SKIPPED)
    return CELL_FAILS if sealed == FAILS else PLAIN_FAILS if plain == FAILS else SKIPPED


def page(journal: Journal, compared: dict[str, dict[str, str]], totals: Counter[str]) -> str:
    """Return the page."""
    both = [suite for suite in journal.suites if all(journal.has(suite, side) for side in SIDES)]
    loads = [run.load for run in journal.runs] or [0.0]
    packages = dict.fromkeys(suite.partition(".")[0] for suite in journal.suites)
    head = HEAD.format(
        version=journal.version,
        packages="`, `".join(packages),
        low=min(loads),
        high=max(loads),
        run=len(both),
        all=len(journal.suites),
    )
    rows = [("all", totals, "")]
    for suite, kinds in compared.items():
        if kinds:
            rows.append((suite, Counter(kinds.values()), notes(journal, suite)))
    columns = [kind for kind in KINDS if kind != UNFINISHED or totals[kind]]
    lines = ["| suite | " + " | ".join(columns) + " | notes |", "|---|" + "---|" * len(columns) + "---|"]
    lines += [
        f"| {name} | " + " | ".join(str(numbers[kind] or "") for kind in columns) + f" | {note} |"
        for name, numbers, note in rows
    ]
    parts = [head, "\n".join(lines) + "\n"]
    every = [each for kinds in compared.values() for each in kinds.items()]
    parts += [
        section(kind, [test for test, found in every if found == kind]) for kind in (CELL_FAILS, PLAIN_FAILS, BOTH_FAIL)
    ]
    parts += [not_finished(journal), not_run(journal, both)]
    return "\n".join(part for part in parts if part)


def notes(journal: Journal, suite: str) -> str:
    """Return what is to be known of a suite's runs."""
    found = []
    for side in SIDES:
        results = results_of(journal.runs, suite, side)
        if results is None:
            found.append(f"{side}: not run")
            continue
        if results.end != "completed":
            found.append(f"{side}: {results.end}")
        if results.repeated:
            found.append(f"{side}: {len(results.repeated)} passed when repeated")
    return "; ".join(found)


def section(kind: str, tests: list[str]) -> str:
    """Return the list of the tests of a kind, by reason."""
    title = f"## Tests that {kind}\n"
    if not tests:
        return f"{title}\nNone.\n"
    reasons = [(re.compile(each["tests"]), each["reason"]) for each in tomllib.loads(REASONS.read_text())["reasons"]]
    by_reason = [
        (next((reason for pattern, reason in reasons if pattern.search(test)), "not known"), test) for test in tests
    ]
    lines = ["| tests | reason |", "|---|---|"]
    for reason, group in groupby(sorted(by_reason), key=lambda each: each[0]):
        lines.append(f"| {', '.join(f'`{test}`' for _, test in group)} | {reason} |")
    return f"{title}\n" + "\n".join(lines) + "\n"


def not_finished(journal: Journal) -> str:
    """Return the list of the tests that are not finished on a side; empty without any."""
    tests = [
        f"`{test}` ({side})"
        for suite in journal.suites
        for side in SIDES
        if (results := results_of(journal.runs, suite, side))
        for test, result in results.by_test.items()
        if result == UNFINISHED
    ]
    if not tests:
        return ""
    return NOT_FINISHED + ", ".join(tests) + ".\n"


def not_run(journal: Journal, both: list[str]) -> str:
    """Return the list of the suites that were not run on both sides."""
    rest = [suite for suite in journal.suites if suite not in both]
    return (
        "## Suites that were not run on both sides\n\n" + (", ".join(f"`{suite}`" for suite in rest) or "None") + ".\n"
    )
