"""Single cells of the matrix under pytest-benchmark, which saves and compares runs as JSON.

    .venv-bench/bin/pytest benchmarks --benchmark-only -k "seal and 256-100" --benchmark-save before
    .venv-bench/bin/pytest benchmarks --benchmark-only -k "seal and 256-100" --benchmark-compare

pytest-benchmark suits work on one cell, because it calibrates, saves and compares. It does not suit ratios, because it runs
all rounds of one contender before the next one, so a change of the machine's speed looks like a difference between them. In
`measuring.py`, which the report uses, contenders take turns. `make bench-compare` compares two commits in one run.
"""

from __future__ import annotations

import atexit
from functools import cache
from typing import TYPE_CHECKING, Any

import pytest

from benchmarks.lib.part import SIZES
from benchmarks.sealing.batches import BATCHES, OPERATIONS, SINGLE_ROWS, rows_of
from benchmarks.sealing.contenders import gather

if TYPE_CHECKING:
    from benchmarks.sealing.contenders.protocol import Contender

FOUND, ABSENT = gather()
BY_NAME = {each.name: each for each in FOUND}
ROUNDS = 20


@atexit.register
def let_go() -> None:
    """Free all contenders while their libraries are still loaded. Otherwise some libraries report errors at exit."""
    FOUND.clear()
    BY_NAME.clear()
    sealed_rows.cache_clear()


@cache
def sealed_rows(name: str, size: int, batch: int) -> tuple[Any, Any]:
    """Return rows, and the same rows sealed by a contender."""
    rows = rows_of(size, batch)
    return rows, [(key, value) for (key, _), value in zip(rows, BY_NAME[name].seal(rows), strict=True)]


def each_row(contender: Contender, operation: str, rows: Any) -> list[Any]:
    """Call a contender once for each row."""
    one = contender.seal_one if operation == "seal" else contender.open_one
    return [one(key, value) for key, value in rows]


@pytest.mark.parametrize("name", [*BY_NAME, *ABSENT])
@pytest.mark.parametrize("batch", BATCHES)
@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("operation", OPERATIONS)
def test_cell(benchmark: Any, name: str, operation: str, size: int, batch: int) -> None:
    """Measure how a contender seals or opens a batch. A batch of 1 is measured as a hundred calls."""
    if name in ABSENT:
        pytest.skip(f"{name}: {ABSENT[name]}")
    contender = BY_NAME[name]
    if contender.samplers is not None:
        pytest.skip(f"{name} keeps the time itself: see the report")
    benchmark.group = f"{operation} {size} B x {batch}"
    benchmark.extra_info.update(version=contender.version, differs=contender.differs, rows=batch)
    rows, sealed = sealed_rows(name, size, SINGLE_ROWS if batch == 1 else batch)
    given = rows if operation == "seal" else sealed
    if batch == 1:
        benchmark.pedantic(each_row, (contender, operation, given), rounds=ROUNDS, warmup_rounds=1)
    else:
        call = contender.seal if operation == "seal" else contender.open
        benchmark.pedantic(call, (given,), rounds=ROUNDS, warmup_rounds=1)
