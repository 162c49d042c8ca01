"""The page says what the tests prove, and nothing else."""

from __future__ import annotations

import ast

import pytest

from tests.claims.table import BEGIN, PAGE, ROOT, claims, proved, rendered, written


def test_every_test_of_a_claim_exists():
    """A renamed test takes its claim with it."""
    for claim in claims():
        for test in claim["tests"]:
            path, _, name = test.partition("::")
            tree = ast.parse((ROOT / path).read_text(encoding="utf-8"))
            functions = {
                node.name for node in ast.walk(tree) if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef))
            }
            assert name in functions, test


def test_the_page_has_the_table_of_these_claims():
    """As it is when all their tests pass; in a run where one fails, that one fails the run."""
    passed = {test: "passed" for claim in claims() for test in claim["tests"]}
    page = PAGE.read_text(encoding="utf-8")
    assert written(page, passed) == page, "run the tests, then make claims"


@pytest.mark.parametrize("outcome", ["failed", "skipped", None])
def test_a_claim_without_a_passing_test_is_left_out(outcome):
    """Failed, skipped or not run."""
    passed = {test: "passed" for claim in claims() for test in claim["tests"]}
    broken = claims()[3]["tests"][0]
    outcomes = {test: kept for test, kept in passed.items() if test != broken} | ({broken: outcome} if outcome else {})
    assert len(rendered(passed).splitlines()) == len(claims()) + 2
    assert f"| {claims()[3]['id']} |" not in rendered(outcomes)
    assert f"| {claims()[3]['id']} |" in rendered(passed), "control"
    assert not proved({"tests": []}, passed)


def test_the_table_has_its_place():
    """Once."""
    assert PAGE.read_text(encoding="utf-8").count(BEGIN) == 1
