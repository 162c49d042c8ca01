"""The output of Go's tests is read by suite, so that a suite is repeated only for its own reason."""

from __future__ import annotations

import pytest

from tests.support.temporal.go_output import failed_with, results_of

LATE = "context deadline exceeded"
OUTPUT = """\
=== RUN   TestShard
=== PAUSE TestShard
=== RUN   TestTasks
=== PAUSE TestTasks
=== CONT  TestShard
=== RUN   TestShard/TestCreate
=== CONT  TestTasks
=== RUN   TestTasks/TestGet
    task.go:7:
        Error:      	{tasks}
=== NAME  TestShard/TestCreate
    shard.go:5:
        Error:      	{shard}
--- FAIL: TestShard (0.10s)
    --- FAIL: TestShard/TestCreate (0.10s)
--- {result}: TestTasks (30.00s)
    --- {result}: TestTasks/TestGet (30.00s)
FAIL
"""


@pytest.mark.parametrize(
    ("tasks", "shard", "result", "is_late"),
    [
        (LATE, "not equal", "FAIL", True),
        ("not equal", LATE, "FAIL", False),
        ("not equal", "not equal", "FAIL", False),
        (LATE, LATE, "PASS", False),
    ],
    ids=["own reason", "reason of another suite", "no reason", "passed"],
)
def test_a_reason_counts_only_for_the_suite_that_has_it(tasks, shard, result, is_late):
    """A suite that runs concurrently does not excuse another one, and a suite that passed is not repeated."""
    output = OUTPUT.format(tasks=tasks, shard=shard, result=result)
    assert failed_with(output, "Tasks", LATE) is is_late


def test_results_have_the_names_of_tests():
    """Each suite and each of its tests has a result."""
    found = results_of(OUTPUT.format(tasks="", shard="", result="SKIP"))
    assert found == {"Shard": "FAIL", "Shard/TestCreate": "FAIL", "Tasks": "SKIP", "Tasks/TestGet": "SKIP"}


def test_a_suite_without_a_result_did_not_fail():
    """A program that was ended in the middle of a suite is not repeated."""
    assert not failed_with("=== RUN   TestTasks\n" + LATE, "Tasks", LATE)
