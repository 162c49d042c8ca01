"""The program that runs the Temporal server's functional tests: what it reads, continues and compares."""

from __future__ import annotations

from collections import Counter

from examples.temporal.functional.__main__ import PAGE, RESULTS
from examples.temporal.functional.journal import Journal, Run
from examples.temporal.functional.page import compare, page
from examples.temporal.functional.programs import Suite, version_of_the_server
from examples.temporal.functional.running import log_of, pattern_of, read_results

OUTPUT = """\
=== RUN   TestA
=== RUN   TestA/passes
=== RUN   TestA/has_parts
=== RUN   TestA/has_parts/one
{"level":"info"}    --- PASS: TestA/passes (0.10s)
        --- FAIL: TestA/has_parts/one (0.20s)
    --- FAIL: TestA/has_parts (0.30s)
=== RUN   TestA/skipped
    --- SKIP: TestA/skipped (0.00s)
=== RUN   TestA/hangs
panic: test timed out after 1s
"""


def a_run(suite="tests.TestA", side="sealed", alone=None, end="completed", **results):
    """Return a run."""
    return Run("1.31.2", suite, side, alone, end, 1.0, 1.0, **results)


def test_results_are_those_of_tests_without_subtests():
    """A test whose subtest failed is not counted again, and one that had begun is unfinished, not passed."""
    assert read_results(OUTPUT) == {
        "passed": ["TestA/passes"],
        "failed": ["TestA/has_parts/one"],
        "skipped": ["TestA/skipped"],
        "unfinished": ["TestA/hangs"],
    }


def test_a_parent_that_fails_by_itself_is_a_failure():
    """A suite that fails after its tests passed, for example when it is torn down, does not count as passed."""
    output = "=== RUN   TestA\n=== RUN   TestA/x\n    --- PASS: TestA/x (0.00s)\n--- FAIL: TestA (0.00s)\n"
    assert read_results(output)["failed"] == ["TestA"]


def test_the_pattern_of_one_test_matches_no_other():
    """A test is run alone even if its name has characters of patterns."""
    assert pattern_of("TestA/b.c(d)/e") == r"^TestA$/^b\.c\(d\)$/^e$"


def test_the_output_of_each_run_has_a_file(tmp_path):
    """A package below another one needs no folder of its own for the output."""
    suite = Suite("tests/ndc", "TestA", tmp_path / "program", tmp_path)
    paths = [
        log_of(tmp_path, suite, side, alone) for side in ("sealed", "plain") for alone in (None, "TestA/b", "TestA/c")
    ]
    for path in paths:
        path.touch()
    assert len({path.name for path in paths}) == len(list(tmp_path.iterdir())) == 6


def test_a_journal_is_continued(tmp_path):
    """Runs are there after a restart, an incomplete last line is cut off, and only failures that were not repeated wait."""
    path = tmp_path / "results.jsonl"
    journal = Journal(path, "1.31.2")
    journal.know(["tests.TestA"])
    journal.add(a_run(failed=["TestA/x", "TestA/y"], passed=["TestA/z"]))
    journal.add(a_run(alone="TestA/x", passed=["TestA/x"]))
    with path.open("ab") as file:
        file.write(b'{"version":"1.31.2","sui')
    again = Journal(path, "1.31.2")
    assert again.runs == journal.runs
    assert again.suites == ["tests.TestA"]
    assert again.has("tests.TestA", "sealed")
    assert not again.has("tests.TestA", "plain")
    assert again.to_repeat("tests.TestA", "sealed", 1) == ["TestA/y"]
    again.add(a_run(alone="TestA/y", failed=["TestA/y/part"]))
    assert again.to_repeat("tests.TestA", "sealed", 1) == []
    assert again.to_repeat("tests.TestA", "sealed", 2) == ["TestA/y"]
    again.add(a_run(passed=[]))
    assert len(Journal(path, "1.31.2").runs) == 4
    assert Journal(path, "1.32.2").runs == []


def test_a_repeat_counts_and_sides_are_compared():
    """A test that passes alone has passed. A failure of a parent is compared with the results of its subtests."""
    runs = [
        a_run(
            passed=["TestA/p", "TestA/set/one"], failed=["TestA/slow", "TestA/cell", "TestA/both"], skipped=["TestA/s"]
        ),
        a_run(alone="TestA/slow", passed=["TestA/slow"]),
        a_run(alone="TestA/cell", failed=["TestA/cell"]),
        a_run(
            side="plain",
            passed=["TestA/p", "TestA/slow", "TestA/cell"],
            failed=["TestA/both", "TestA/set"],
            skipped=["TestA/s"],
        ),
    ]
    assert compare(runs, "tests.TestA") == {
        "TestA/p": "pass on both",
        "TestA/slow": "pass on both",
        "TestA/cell": "fail on a cell only",
        "TestA/both": "fail on both",
        "TestA/set": "fail on plain only",
        "TestA/set/one": "fail on plain only",
        "TestA/s": "skipped",
    }
    assert set(compare(runs[:3], "tests.TestA").values()) == {"run on one side only"}


def test_a_test_that_its_suite_did_not_finish_has_not_failed(tmp_path):
    """The time limit of a suite fails no test: those that ran are named, and the next run continues with them.

    The control: a crash fails them, and so does the time limit of a test that runs alone.
    """
    plain = a_run(side="plain", passed=["TestA/p", "TestA/q", "TestA/set/one"])
    cut = {"passed": ["TestA/p"], "unfinished": ["TestA/q", "TestA/set"]}
    journal = Journal(tmp_path / "results.jsonl", "1.31.2")
    journal.know(["tests.TestA"])
    for run in (plain, a_run(end="time limit", **cut)):
        journal.add(run)
    kinds = compare(journal.runs, "tests.TestA")
    assert kinds == {
        "TestA/p": "pass on both",
        **dict.fromkeys(["TestA/q", "TestA/set", "TestA/set/one"], "not finished"),
    }
    text = page(journal, {"tests.TestA": kinds}, Counter(kinds.values()))
    assert "| suite | pass on both | fail on both | fail on a cell only | fail on plain only | not finished |" in text
    assert "\n`TestA/q` (sealed), `TestA/set` (sealed).\n" in text
    assert "## Tests that fail on a cell only\n\nNone.\n" in text
    again = Journal(tmp_path / "results.jsonl", "1.31.2")
    assert again.to_repeat("tests.TestA", "sealed", 1) == ["TestA/q", "TestA/set"]
    again.add(a_run(alone="TestA/q", passed=["TestA/q"]))
    again.add(a_run(alone="TestA/set", end="time limit", unfinished=["TestA/set/one"]))
    assert again.to_repeat("tests.TestA", "sealed", 1) == []
    assert compare(again.runs, "tests.TestA") == {
        **dict.fromkeys(["TestA/p", "TestA/q"], "pass on both"),
        "TestA/set/one": "fail on a cell only",
    }
    assert compare([plain, a_run(end="crashed", **cut)], "tests.TestA")["TestA/q"] == "fail on a cell only"


def test_the_page_is_what_the_journal_says():
    """Nothing on the page is typed in."""
    journal = Journal(RESULTS, version_of_the_server())
    compared = {suite: compare(journal.runs, suite) for suite in journal.suites}
    totals = Counter(kind for kinds in compared.values() for kind in kinds.values())
    assert PAGE.read_text() == page(journal, compared, totals)
