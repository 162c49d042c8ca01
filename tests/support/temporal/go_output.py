"""Reads the output of `go test -v`."""

from __future__ import annotations

import re

_RESULT = re.compile(r"^ *--- (PASS|FAIL|SKIP): Test(\S+)", re.MULTILINE)
_BEGINS = re.compile(r"^ *(?:=== [A-Z]+|--- [A-Z]+:) +Test([^/\s]+)")
"""A line after which the output is that of the named test. Tests that run concurrently take turns."""


def results_of(output: str) -> dict[str, str]:
    """Return the result of each test, by its name."""
    return {name: result for result, name in _RESULT.findall(output)}


def failed_with(output: str, suite: str, pattern: str) -> bool:
    """Return whether a suite failed, and a line of its own output fits the pattern."""
    if results_of(output).get(suite) != "FAIL":
        return False
    current = None
    for line in output.splitlines():
        if begins := _BEGINS.match(line):
            current = begins[1]
        if current == suite and re.search(pattern, line):
            return True
    return False
