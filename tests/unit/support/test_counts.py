"""The variables that make tests do more have one default each, which tests/README.md states."""

from __future__ import annotations

import math
import re

from tests.support.counts import DEFAULTS, count_of, examples, seconds_of
from tests.support.tree import ROOT


def test_the_page_has_every_variable_and_its_default():
    """tests/README.md has one row for each variable, in the order of the table in the code."""
    rows = re.findall(r"^\| `([A-Z]+)` \| ([^|]+) \|", (ROOT / "tests" / "README.md").read_text(), re.MULTILINE)
    stated = {name: math.inf if default == "no limit" else int(default) for name, default in rows}
    assert list(stated.items()) == list(DEFAULTS.items())


def test_a_variable_sets_its_number(monkeypatch):
    """A number in the environment is used in place of the default."""
    for name in DEFAULTS:
        monkeypatch.delenv(name, raising=False)
    assert (examples(150), count_of("KILLS"), seconds_of("SECONDS")) == (150, 20, math.inf)
    monkeypatch.setenv("EXAMPLES", "10")
    monkeypatch.setenv("KILLS", "200")
    monkeypatch.setenv("SECONDS", "0.5")
    assert (examples(150), count_of("KILLS"), seconds_of("SECONDS")) == (1500, 200, 0.5)


def test_no_test_reads_a_variable_by_itself():
    """A second reader would have a default of its own."""
    for path in (ROOT / "tests").rglob("*.py"):
        if path.name not in {"counts.py", "test_counts.py"}:
            found = re.findall(r"environ.*[\"']([A-Z]+)[\"']", path.read_text())
            assert not set(found) & set(DEFAULTS), path
