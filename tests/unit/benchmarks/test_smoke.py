"""Every benchmark runs, for a second or two. A new one is missing here until it is added."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from benchmarks.lib.journals import render
from tests.support.tree import ROOT

pytestmark = pytest.mark.integration

SHORT = {
    "benchmarks.leakage.contest": "--smoke",
    "benchmarks.persistence.bridge": "--rounds 1 --calls 32",
    "benchmarks.persistence.contest": "--rounds 1 --seconds 0.1 --callers 2 --operations get",
    "benchmarks.persistence.audit": "--rounds 1 --seconds 0.1 --callers 2 --operation get --records 1000",
    "benchmarks.persistence.freshness": "--rounds 1 --turns 2 --calls 32 --callers 2 --rows 1000 --entries 50",
    "benchmarks.persistence.row_level_security": "--rounds 1 --seconds 0.1 --callers 2 --operation get",
    "benchmarks.persistence.stores": "--smoke",
    "benchmarks.sealing.batches": "--smoke",
    "benchmarks.sealing.compare": "HEAD --starts 1 --rounds 1",
    "benchmarks.sealing.end_to_end": "--smoke",
    "benchmarks.sealing.growth": "--smoke",
    "benchmarks.sealing.latency": "--smoke",
    "benchmarks.sealing.memory": "--smoke",
    "benchmarks.sealing.scale": "--smoke",
    "benchmarks.size.churn": "--rows 500 --rounds 2 --pause 0",
    "benchmarks.size.contest": "--rows 300",
    "benchmarks.size.namespaces": "--namespaces 3",
    "benchmarks.visibility.cost": "--smoke",
    "benchmarks.visibility.scale": "--documents 400 --only postgres --blocks 1",
}
ELSEWHERE = {
    "benchmarks.temporal.contest": "needs a built Temporal server; tests/integration/temporal runs it",
    "benchmarks.lib.journals": "it writes tables; test_journal.py runs it",
    "benchmarks.lib.part": "a library",
    "benchmarks.lib.report": "it runs the parts",
    "benchmarks.sealing.compare_worker": "compare starts it",
    "benchmarks.visibility.contest": "it needs Elasticsearch too, see its own test",
}


def output(module, *arguments):
    """Run a benchmark, and return what it printed."""
    command = [sys.executable, "-m", module, *arguments]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


def test_each_benchmark_is_listed():
    """Each module with a main is in one of the lists."""
    programs = {
        ".".join(file.relative_to(ROOT).with_suffix("").parts)
        for file in (ROOT / "benchmarks").rglob("*.py")
        if "__main__" in file.read_text(encoding="utf-8")
    }
    assert programs == SHORT.keys() | ELSEWHERE.keys()


@pytest.mark.parametrize("module", SHORT)
def test_a_benchmark_runs(module):
    """It ends without an error and prints figures."""
    assert any(character.isdigit() for character in output(module, *SHORT[module].split()))


def test_sealed_visibility_is_compared_with_both_copies(elasticsearch_server, tmp_path):
    """Both indexes have all documents, and speeds, sizes, lists and counts are in the journal and in the tables made from it."""
    journal = tmp_path / "visibility.jsonl"
    where = ("--url", elasticsearch_server.url, "--out", str(journal))
    output("benchmarks.visibility.contest", *"--documents 2000 --lease 0 --blocks 1".split(), *where)
    kinds = {next(iter(json.loads(line)["place"])) for line in journal.read_text().splitlines()[1:]}
    assert kinds == {"measured", "speed", "size", "list", "count"}
    tables = render(tmp_path)
    assert "Elasticsearch, bytes a document" in tables
    assert "elasticsearch request (ratio)" in tables
