"""The list of attacks is complete, and each attack is made by a test."""

from __future__ import annotations

import ast
from collections import Counter

import pytest

from tests.support.earlier_rows import SEALED
from tests.support.freshness.all_attacks import ATTACKS
from tests.support.tree import ROOT

TRIED = 87
"""The number of attacks that were once tried on a live server."""
KINDS = {
    *("history", "state", "current run", "history task", "shard", "task queue", "task", "queue", "visibility"),
    *("search index", "registry", "namespace", "cluster", "policy", "shredded namespace", "audit log", "journal"),
}
NOT_IN_THE_JOURNAL = {"access_policy", "execution_maps", "journal", "journal_sums"}
"""Sealed tables with another check: a process compares the policy's version with the audit log, and a run's sealed state has the
digest of its maps. The journal is checked by its own rules."""


def test_no_attack_is_missing():
    """All kinds are in the list, and it has as many attacks as were tried, each with its own name."""
    assert {attack.kind for attack in ATTACKS} == KINDS
    assert len(ATTACKS) >= TRIED
    assert [name for name, times in Counter(map(str, ATTACKS)).items() if times > 1] == []


@pytest.mark.parametrize("attack", ATTACKS, ids=str)
def test_each_attack_is_made_by_a_test(attack):
    """An attack has its own steps and a verdict, or the tests that make it exist."""
    assert bool(attack.verdicts) == bool(attack.steps) != bool(attack.tests)
    for test in attack.tests:
        path, _, name = test.partition("::")
        tree = ast.parse((ROOT / path).read_text(encoding="utf-8"))
        functions = (node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef))
        assert name in {function.name for function in functions}, test


def test_every_sealed_table_is_attacked():
    """A verification must name a row of each sealed table. A new table without an attack fails here."""
    named = {found.table for attack in ATTACKS for found in attack.findings}
    assert named == set(SEALED) - NOT_IN_THE_JOURNAL
