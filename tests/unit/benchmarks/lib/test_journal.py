"""Figures are on disk when they are measured, and an interrupted run is continued."""

from __future__ import annotations

import json

from benchmarks.lib import journal
from benchmarks.lib.journal import Journal
from benchmarks.lib.journals import FOLDER, TITLES, render, section


def test_an_interrupted_run_is_continued(tmp_path):
    """What was measured before a kill is kept, a torn last line is cut off, and only the rest is measured again."""
    file = tmp_path / "figures.jsonl"
    Journal(file, seconds=1.0).add({"a": 1.5}, round=0, callers=16)
    with file.open("ab") as torn:
        torn.write(b'{"place":{"round":1')
    again = Journal(file, seconds=1.0)
    assert again.has(round=0, callers=16)
    assert not again.has(round=1, callers=16)
    again.add({"a": 2.5}, round=1, callers=16)
    assert Journal(file, seconds=1.0).rounds(callers=16) == [{"a": 1.5}, {"a": 2.5}]


def test_figures_of_other_settings_are_not_mixed(tmp_path):
    """A journal of another length of a measurement begins again."""
    file = tmp_path / "figures.jsonl"
    Journal(file, seconds=1.0).add(1, round=0)
    assert not Journal(file, seconds=2.0).entries


def test_figures_of_another_commit_are_not_mixed(tmp_path, monkeypatch):
    """The journals of the repository have the figures of an earlier commit. A benchmark measures all of them again."""
    file = tmp_path / "figures.jsonl"
    Journal(file, seconds=1.0).add(1, round=0)
    assert Journal(file, seconds=1.0).entries, "control: the same commit"
    monkeypatch.setattr(journal, "commit", lambda: "0123456789")
    assert not Journal(file, seconds=1.0).entries
    assert "commit 0123456789" in section("audit", [json.loads(file.read_text())])


def test_the_tables_come_from_the_files(tmp_path):
    """Each figure of a table is computed from the journal, and a benchmark that did not run is named."""
    made = Journal(tmp_path / "row_level_security.jsonl", seconds=1.0)
    for number, rate in enumerate((100.0, 300.0, 200.0)):
        figures = {"row_level_security": rate / 2, "owner": rate * 100}
        made.add(figures, round=number, operation="get", callers=16)
    text = render(tmp_path)
    assert "| row_level_security / owner |" in text
    assert "| get | 16 | 3 | 0.005 (0.005-0.005) | 100 (50-150) | 20,000 (10,000-30,000) |" in text
    assert text.count("Not measured.") == len(TITLES) - 1


def test_the_tables_of_the_stores_are_of_their_journals():
    """The text was not changed by hand, nor a journal without it."""
    assert list(FOLDER.glob("*.jsonl")), "control: something was measured"
    assert (FOLDER / "stores.md").read_text() == render(FOLDER)
