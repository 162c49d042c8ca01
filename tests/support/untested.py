"""Say at the end of a run which capabilities were not tested, because a service is not on this machine, and how to add it."""

from __future__ import annotations

import re
from collections import Counter
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

    import pytest

_MISSING = re.compile(r"(?:Skipped: )?no (?P<capability>[^:]+): .*To add it: (?P<advice>.+)", re.DOTALL)
"""The message of `ServiceMissing`."""


def summary(reasons: Iterable[str]) -> list[str]:
    """Return the lines of the summary: a capability, its number of skipped tests, and how to add it.

    Args:
        reasons: The reason of each skipped test.
    """
    missing: Counter[tuple[str, str]] = Counter()
    others: Counter[str] = Counter()
    for reason in reasons:
        found = _MISSING.fullmatch(reason)
        if found is None:
            others[reason.removeprefix("Skipped: ")] += 1
        else:
            missing[found["capability"], found["advice"]] += 1
    return [
        *(
            f"{capability}: {_tests(count)}. To add it: {advice}"
            for (capability, advice), count in missing.most_common()
        ),
        *(f"{reason}: {_tests(count)}" for reason, count in others.most_common()),
    ]


def _tests(count: int) -> str:
    return f"{count} test{'s' * (count != 1)}"


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print the summary, if a test was skipped."""
    reports = terminalreporter.stats.get("skipped", [])
    lines = summary(report.longrepr[2] for report in reports if isinstance(report.longrepr, tuple))
    if lines:
        terminalreporter.section("not tested on this machine")
        for line in lines:
            terminalreporter.line(line)
