from __future__ import annotations

import json

import pytest

from benchmarks.lib import page, tables
from benchmarks.lib.figures import duration, factor, size_name
from benchmarks.lib.part import rounded
from benchmarks.lib.report import RESULT
from benchmarks.lib.targets import MET, MISSED, UNKNOWN, Target, targets
from benchmarks.sealing.contenders import bare_loop, hand_written
from benchmarks.sealing.contenders.names import LIMIT, NATIVE, PYTHON

CONDITIONS = {
    "processor": "a processor",
    "cores": 2,
    "python": "3.11",
    "cryptography": "50",
    "sealed_with": PYTHON,
    "load_before": 0.1,
    "load_after": 0.2,
    "heap": "kept",
}


def report_of(**nanoseconds):
    """A report with one cell of the matrix, seal of 64 B in batches of 100, and one round."""
    cell = {
        "operation": "seal",
        "size": 64,
        "batch": 100,
        "rounds": {name: [each] for name, each in nanoseconds.items()},
    }
    part = {"contenders": {}, "absent": {}, "associated_bytes": 111, "cells": [cell], "conditions": CONDITIONS}
    return {
        "made": "2026-01-01",
        "commit": "0123456789",
        "changed": False,
        "quick": False,
        "parts": {"batches": part},
        "absent": {"stores": "ended with exit code 1"},
    }


@pytest.mark.parametrize(
    ("wanted", "at_least", "measured", "verdict"),
    [
        (2.0, True, 2.0, MET),
        (2.0, True, 1.999, MISSED),
        (1.06, False, 1.06, MET),
        (1.06, False, 1.07, MISSED),
        (2.0, True, None, UNKNOWN),
        (2.0, False, None, UNKNOWN),
    ],
)
def test_a_verdict_is_met_missed_or_not_measured(wanted, at_least, measured, verdict):
    """At the figure itself a target is met; what was not measured is neither met nor missed."""
    assert Target("what", "where", wanted, at_least, measured).verdict == verdict


def test_targets_compare_the_right_sides():
    """A kernel nine times as fast meets nine; at seven tenths of the limit's speed it meets its share."""
    times = {hand_written.NAME: 900.0, NATIVE: 100.0, LIMIT: 70.0, PYTHON: 610.0}
    found = {each.what: each for each in targets(report_of(**times)) if each.where == "64 B"}
    assert found["kernel, seal: times as fast as the hand-written loop, batch 100"].verdict == MET
    assert found["kernel, seal: share of AWS-LC's own speed, batch 100"].verdict == MET
    assert found["pure Python, seal: times as fast as the hand-written loop, batch 100"].verdict == MISSED
    assert found["kernel, open: times as fast as the hand-written loop, batch 100"].verdict == UNKNOWN
    slower = {each.what: each for each in targets(report_of(**times | {NATIVE: 101.0})) if each.where == "64 B"}
    assert slower["kernel, seal: times as fast as the hand-written loop, batch 100"].verdict == MISSED
    assert slower["kernel, seal: share of AWS-LC's own speed, batch 100"].verdict == MISSED


def test_the_report_says_what_was_missed_and_left_out():
    """A document shows the verdicts, and which part failed."""
    text = tables.document(report_of(**{hand_written.NAME: 900.0, NATIVE: 200.0}), {})
    assert (
        "| kernel, seal: times as fast as the hand-written loop, batch 100 | 64 B | at least 9x | 4.50 (4.50-4.50)x | **missed** |"
        in text
    )
    assert "0 met, 1 missed" in text
    assert "**Left out:** stores: ended with exit code 1." in text


def test_the_page_has_the_tables_of_the_report():
    """Nothing in the page's tables is typed in: it is what the report's figures make, or there is none without a report."""
    stands = page.block(page.PAGE.read_text())
    wanted = tables.page_block(json.loads(RESULT.read_text())).strip() if RESULT.exists() else ""
    assert stands == wanted


def test_the_report_s_text_is_of_its_figures():
    """The report's text was not changed by hand, nor its figures without it."""
    if not RESULT.exists():
        pytest.skip("there is no report yet: `make bench`")
    stands = (RESULT.parent / "README.md").read_text()
    plots = {
        line[line.index("(") + 1 : -1]: line[2 : line.index("]")]
        for line in stands.splitlines()
        if line.startswith("![")
    }
    assert all((RESULT.parent / name).exists() for name in plots)
    assert stands == tables.document(json.loads(RESULT.read_text()), plots)


def test_a_table_takes_the_place_of_the_last_one():
    """The text around the markers stays, and a new table replaces the old one completely."""
    text = f"before\n\n{page.BEGIN}\n{page.END}\n\nafter\n"
    once = page.replaced(text, "| one |")
    assert page.block(once) == "| one |"
    twice = page.replaced(once, "| two |")
    assert page.block(twice) == "| two |"
    assert twice.startswith("before\n")
    assert twice.endswith("after\n")
    assert "one" not in twice


@pytest.mark.parametrize("text", ["", page.BEGIN, f"{page.END}{page.BEGIN}", f"{page.BEGIN * 2}{page.END}"])
def test_a_page_without_its_markers_is_refused(text):
    """A table never ends up in the wrong place."""
    with pytest.raises(ValueError, match="page needs one line"):
        page.replaced(text, "| one |")


def test_figures_are_shown_in_their_units():
    """Each figure has one to three digits before the point, and the unit that goes with it."""
    assert [duration(each) for each in (0.4, 81.4, 999.0, 1234.0, 402_000.0, 2.5e6, 1.5e9)] == [
        "0 ns",
        "81 ns",
        "999 ns",
        "1.23 µs",
        "402 µs",
        "2.5 ms",
        "1500 ms",
    ]
    assert [factor(each) for each in (0.0074, 0.5, 9.6, 12.34, 123.4, None)] == [
        "0.0074",
        "0.50",
        "9.60",
        "12.3",
        "123",
        "",
    ]
    assert [size_name(each) for each in (64, 1024, 65536)] == ["64 B", "1 KiB", "64 KiB"]


def test_the_json_has_five_digits_of_each_number():
    """More would be noise; whole numbers and texts stay as they are."""
    assert rounded({1: [1.23456789, 7], "a": "b"}) == {"1": [1.2346, 7], "a": "b"}


def test_the_bare_loop_is_what_large_batches_are_held_against():
    """With as much time and memory as the bare loop the targets of 64 KiB x 1000 are met, with more they are not."""

    def large(time, peak):
        cell = {
            "heap": "kept",
            "piece": 64,
            "rounds": {bare_loop.NAME: [100.0], NATIVE: [time]},
            "peak_bytes": {bare_loop.NAME: 100.0, NATIVE: peak},
        }
        report = {"parts": {"memory": {"rows": 1000, "large_batches": [cell]}}}
        return [each.verdict for each in targets(report) if "64 KiB x 1000" in each.what]

    assert large(100.0, 110.0) == [MET, MET]
    assert large(101.0, 111.0) == [MISSED, MISSED]
