"""The program that runs the Temporal server's functional tests: what it reads, continues and compares."""

from __future__ import annotations

import sys
from collections import Counter
from dataclasses import replace

import pytest

from examples.temporal.functional import __main__ as program
from examples.temporal.functional.__main__ import PAGE, RESULTS, continuation
from examples.temporal.functional.journal import Journal, Run
from examples.temporal.functional.left import what_is_left
from examples.temporal.functional.page import compare, page
from examples.temporal.functional.programs import Suite, listed_in, version_of_the_server
from examples.temporal.functional.running import Runner, end_of, log_of, not_begun, pattern_of, read_results

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


SOURCE = """\
func TestA(t *testing.T) {
	t.Parallel()
	parallelsuite.Run(t, &ASuite{}, false)
}

func (s *ASuite) TestOne() {
}

func (s *ASuite) helper() {
}

func (s ASuite) TestTwo() {
}

func TestInParts(t *testing.T) {
	t.Run("Part", func(t *testing.T) {
		suite.Run(t, new(ASuite))
	})
}

func TestWithoutSuite(t *testing.T) {
	s := new(ASuite)
}
"""


def test_the_source_lists_the_tests_of_a_suite():
    """The methods of a suite are its tests. The controls: a suite within a subtest, and a test that runs no suite, have none."""
    assert listed_in(SOURCE) == {"TestA": ("TestA/TestOne", "TestA/TestTwo")}


def test_tests_that_had_not_begun_are_named():
    """They are not begun, and neither within a test that was nor within another one that is named. The control: a complete run."""
    known = [
        "TestA/passes",
        "TestA/has_parts",
        "TestA/has_parts/two",
        "TestA/hangs/part",
        "TestA/later",
        "TestA/later/x",
    ]
    assert not_begun(known, OUTPUT) == ["TestA/has_parts/two", "TestA/later"]
    assert not_begun(["TestA/passes", "TestA/hangs"], OUTPUT) == []
    assert not_begun(["TestA"], "") == ["TestA"]


@pytest.mark.parametrize(
    ("code", "output", "end"),
    [
        (0, "", "completed"),
        (1, "", "completed"),
        (2, "panic: test timed out after 1s", "time limit"),
        (None, "", "time limit"),
        (-9, "", "killed"),
        (-15, "", "killed"),
        (-11, "", "crashed"),
        (-6, "", "crashed"),
        (2, "panic: nil map", "crashed"),
    ],
)
def test_a_limit_a_kill_and_a_crash_are_told_apart(code, output, end):
    """A signal from outside is not a crash. The control: signals that a program gets by its own fault."""
    assert end_of(code, output, unfinished=code not in {0, 1}) == end


def test_a_program_that_ended_in_the_middle_of_a_test_crashed():
    """The exit code of a failed test is not enough: a test had begun and not ended."""
    assert end_of(1, "", unfinished=True) == "crashed"


PROGRAM = """#!/bin/sh
echo "=== RUN   TestA"
echo "=== RUN   TestA/one"
{end}
"""


@pytest.mark.parametrize(
    ("end", "ended"),
    [
        ("kill -9 $$", "killed"),
        ("kill -SEGV $$", "crashed"),
        ("echo 'panic: test timed out after 1s'; exit 2", "time limit"),
    ],
)
async def test_a_killed_program_fails_no_test(tmp_path, end, ended):
    """A killed run is repeated by the next command, also if it was alone. The controls: a crash and the limit fail the test alone."""
    path = tmp_path / "program"
    path.write_text(PROGRAM.format(end=end))
    path.chmod(0o700)
    suite = Suite("tests", "TestA", path, tmp_path, ("TestA/one", "TestA/two"))
    journal = Journal(tmp_path / "results.jsonl", "1.31.2")
    journal.know([str(suite)])
    runner = Runner(journal, "1.31.2", {"sealed": {}}, tmp_path, 60, float("inf"))
    await runner.run_all([suite], 1)
    assert {run.end for run in journal.runs} == {ended}
    assert journal.runs[0].not_begun == ["TestA/two"]
    again = Journal(tmp_path / "results.jsonl", "1.31.2")
    assert again.runs == journal.runs
    waiting = again.to_repeat("tests.TestA", "sealed", 1)
    assert waiting == (["TestA/one", "TestA/two"] if ended == "killed" else [])
    plain = a_run(side="plain", passed=["TestA/one", "TestA/two"])
    kinds = compare([*again.runs, plain], "tests.TestA")
    assert kinds["TestA/one"] == ("not finished" if ended == "killed" else "fail on a cell only")


def test_a_test_that_had_not_begun_is_not_finished(tmp_path):
    """It counts as not finished, is named on the page, and is run alone. The control: nothing is left after its run."""
    journal = Journal(tmp_path / "results.jsonl", "1.31.2")
    journal.know(["tests.TestA"])
    journal.add(a_run(side="plain", passed=["TestA/p", "TestA/late"]))
    journal.add(a_run(end="crashed", passed=["TestA/p"], not_begun=["TestA/late"]))
    kinds = compare(journal.runs, "tests.TestA")
    assert kinds == {"TestA/p": "pass on both", "TestA/late": "not finished"}
    assert "\n`TestA/late` (sealed).\n" in page(journal, {"tests.TestA": kinds}, Counter(kinds.values()))
    assert journal.to_repeat("tests.TestA", "sealed", 0) == ["TestA/late"]
    assert what_is_left(journal, journal.suites, ["sealed", "plain"], 1) == [
        "tests that wait for a run alone (1): TestA/late (sealed)"
    ]
    journal.add(a_run(alone="TestA/late", passed=["TestA/late"]))
    assert set(compare(journal.runs, "tests.TestA").values()) == {"pass on both"}
    assert what_is_left(journal, journal.suites, ["sealed", "plain"], 1) == []


def test_the_exit_code_is_1_until_nothing_is_left(tmp_path, monkeypatch, capsys):
    """The last lines name what is left and the command that continues. The control: the code is 0 when nothing is left."""
    version = version_of_the_server()
    journal = Journal(tmp_path / "results.jsonl", version)
    journal.know(["tests.TestA", "tests.TestB"])

    def add(suite, side):
        journal.add(replace(a_run(suite, side, passed=[f"{suite}/x"]), version=version))

    arguments = ["--journal", str(tmp_path / "results.jsonl"), "--page", str(tmp_path / "page.md")]
    monkeypatch.setattr(sys, "argv", ["functional", "--table", *arguments])
    for suite, side in (("tests.TestA", "sealed"), ("tests.TestA", "plain"), ("tests.TestB", "sealed")):
        add(suite, side)
    assert program.main() == 1
    output = capsys.readouterr().out
    assert "suites that were not run (1): tests.TestB (plain)\n" in output
    assert f"to continue: python -m examples.temporal.functional --journal {arguments[1]}" in output
    add("tests.TestB", "plain")
    assert program.main() == 0
    assert "to continue" not in capsys.readouterr().out


def test_the_command_that_continues_runs_what_is_left():
    """It keeps the choice of suites, and has no option that ends it early or runs everything again."""
    given = ["--run", "Cron|Schedule", "--again", "--minutes", "5", "--table", "--minutes=3", "--sides", "sealed"]
    assert continuation(given) == "python -m examples.temporal.functional --run 'Cron|Schedule' --sides sealed"


def test_the_page_is_what_the_journal_says():
    """Nothing on the page is typed in."""
    journal = Journal(RESULTS, version_of_the_server())
    compared = {suite: compare(journal.runs, suite) for suite in journal.suites}
    totals = Counter(kind for kinds in compared.values() for kind in kinds.values())
    assert PAGE.read_text() == page(journal, compared, totals)
