"""The comparison of Temporal servers is shown from its journal: ratios of rounds, verdicts, CPU time and memory by process."""

from __future__ import annotations

import pytest

from benchmarks.lib.journal import Journal
from benchmarks.lib.journals import render


def side(rate, task, **cpu):
    """Return the figures of one server."""
    figures = {"a second": rate, "p50_ms": 10.0, "p99_ms": 20.0, "task_p99_ms": task}
    return figures | {"cpu_ms": cpu, "memory_mib": dict.fromkeys(cpu, 100.0)}


@pytest.mark.parametrize(("rate", "verdict"), [(23.0, "goal"), (20.0, "must"), (18.0, "missed")])
def test_the_ratio_of_each_round_decides(tmp_path, rate, verdict):
    """The median of the ratios is compared with the targets, and a process that only one server has has no figure on the other."""
    journal = Journal(tmp_path / "temporal.jsonl", rounds=1)
    figures = {"sealed": side(rate, 50.0, server=20.5, serve=9.5), "plain": side(20.0, 100.0, server=27.5)}
    journal.add(figures, setup="postgres", workload="signals", round=0)
    text = render(tmp_path)
    assert f"| postgres | signals | 1 | {rate / 20:.2f} | {verdict} | 1.00 | 1.00 | 0.50 |" in text
    assert "| postgres | signals | 20.5 | 27.5 | 9.5 |" in text
