"""The page says what the tests prove, and nothing else."""

from __future__ import annotations

import ast
import json
import os
import subprocess
import sys

import pytest

from tests.support.claims.table import BEGIN, OUTCOMES, PAGE, ROOT, claims, proved, rendered, written


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


BODIES = {
    "passed": "@pytest.mark.parametrize('n', range(4))\ndef {name}(n): pass\n",
    "failed": "@pytest.mark.parametrize('n', range(4))\ndef {name}(n): assert n != 2\n",
    "skipped": "def {name}(): pytest.skip('not here')\n",
}


@pytest.mark.parametrize("processes", [0, 2])
def test_a_run_leaves_how_its_tests_ended(tmp_path, processes):
    """In one process or in several: the worst outcome of each test of a claim, with the outcomes of other tests from earlier runs."""
    named = dict.fromkeys(test for claim in claims() for test in claim["tests"])  # each once
    ended = dict(zip(named, BODIES, strict=False))
    for test, outcome in ended.items():
        path, _, name = test.partition("::")
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        with (tmp_path / path).open("a") as file:
            file.write("import pytest\n" + BODIES[outcome].format(name=name))
    earlier = {"tests/earlier.py::test_of_an_earlier_run": "passed", next(iter(ended)): "failed"}
    (tmp_path / OUTCOMES).parent.mkdir()
    (tmp_path / OUTCOMES).write_text(json.dumps(earlier))
    run = subprocess.run(
        [
            sys.executable,
            "-m",
            "pytest",
            "-n",
            str(processes),
            "--rootdir",
            tmp_path,
            "-p",
            "tests.support.fixtures.claims",
        ],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT), "PYTEST_ADDOPTS": "--import-mode=importlib"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 1, run.stdout + run.stderr
    assert json.loads((tmp_path / OUTCOMES).read_text()) == earlier | ended
