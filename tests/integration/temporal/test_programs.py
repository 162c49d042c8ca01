"""The programs around a Temporal server run to their end: the demonstration, the kills, and the comparison with plain stores."""

from __future__ import annotations

import shutil
import subprocess
import sys

from examples.temporal.browser import chromium
from tests.support.services import CHROMIUM, missing_service
from tests.support.temporal.go import require_go
from tests.support.tree import ROOT


def run(module, *arguments):
    """Run a program of the repository, and return its output."""
    require_go()
    done = subprocess.run(
        [sys.executable, "-m", module, *arguments],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-5000:]
    return done.stdout


def test_everything_that_a_server_offers_works_and_nothing_leaks(tmp_path):
    """Every step works on a sealed cell. A planted string is in no file of its database, and in files of the plain stores."""
    output = run("examples.temporal", "--no-elasticsearch", "--images", str(tmp_path))
    assert "planted strings in the sealed files 0 in" in output
    if chromium() is None:
        assert "NOT RUN: the web interface in a browser" in output
        missing_service(CHROMIUM, "no browser for Temporal's web interface")
    assert "14 of 14" in output
    assert "NOT RUN" not in output
    assert all((tmp_path / f"{page}.png").stat().st_size for page in ("list", "history"))


def test_killed_parts_lose_nothing():
    """Each part is killed once while workflows run. They end as without kills."""
    output = run("examples.temporal.chaos", "--kills", "1", "--workflows", "12", "--at-once", "6")
    parts = 4 if shutil.which("java") is None else 5
    assert f"{parts} kills, 0 faults" in output


def test_the_comparison_measures_both_servers(tmp_path):
    """The benchmark ends without an error, and its journal has both sides."""
    journal = tmp_path / "temporal.jsonl"
    small = ["--rounds", "1", "--count", "8", "--at-once", "4", "--workload", "two activities", "--workload", "lists"]
    output = run("benchmarks.temporal.contest", *small, "--setup", "postgres", "--out", str(journal))
    assert "| postgres | two activities | 1 |" in output
    assert "| serve sealed |" in output
    lines = journal.read_text().splitlines()
    assert len(lines) == 1 + 2
    assert '"sealed"' in lines[1]
    assert '"plain"' in lines[1]
