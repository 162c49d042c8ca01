"""Every benchmark runs, for a second or two. A new one is missing here until it is added."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tests.support.tree import ROOT

pytestmark = pytest.mark.integration

SHORT = {
    "benchmarks.persistence.contest": "--rounds 1 --seconds 0.1 --callers 2 --operations get",
    "benchmarks.persistence.audit": "--rounds 1 --seconds 0.1 --callers 2 --operation get --records 1000",
    "benchmarks.persistence.row_level_security": "--rounds 1 --seconds 0.1 --callers 2 --operation get",
    "benchmarks.visibility.contest": "--documents 2000 --only postgres",
    "benchmarks.persistence.stores": "--quick",
    "benchmarks.sealing.end_to_end": "--quick",
    "benchmarks.sealing.growth": "--quick",
    "benchmarks.sealing.latency": "--quick",
    "benchmarks.visibility.cost": "--quick",
}
ELSEWHERE = {
    "benchmarks.lib.journals": "it writes tables; test_journal.py runs it",
    "benchmarks.lib.part": "a library",
    "benchmarks.lib.report": "it runs the parts",
    "benchmarks.sealing.batches": "too long even when quick; test_contenders.py runs each contender",
    "benchmarks.sealing.memory": "too long even when quick",
    "benchmarks.sealing.scale": "too long even when quick",
    "benchmarks.sealing.compare": "needs two commits",
    "benchmarks.sealing.compare_worker": "compare starts it",
}


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
    done = subprocess.run(
        [sys.executable, "-m", module, *SHORT[module].split()], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert any(character.isdigit() for character in done.stdout)
