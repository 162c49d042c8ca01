"""Seal and open rows by size and batch, with all contenders in turns."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING, Any

from benchmarks.lib.measuring import interleaved
from benchmarks.lib.part import SIZES, Effort, run
from benchmarks.sealing.contenders import gather
from benchmarks.sealing.contenders.ours import associated_bytes
from benchmarks.sealing.contenders.protocol import samplers_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from benchmarks.sealing.contenders.protocol import Contender, Row

BATCHES = {Effort.FULL: (1, 100, 1000), Effort.QUICK: (1, 100), Effort.SMOKE: (1, 10)}
SINGLE_ROWS = 100
"""Number of calls in a sample of a batch of 1."""
ROUNDS = {Effort.FULL: 11, Effort.QUICK: 3, Effort.SMOKE: 1}
OPERATIONS = ("seal", "open")


def rows_of(size: int, count: int) -> list[Row]:
    """Return rows with different keys and random plaintexts, which do not compress."""
    return [((number, number, number - 1), os.urandom(size)) for number in range(1, count + 1)]


def cells(
    contenders: Sequence[Contender], *, sizes: Iterable[int], batches: Sequence[int], rounds: int
) -> list[dict[str, Any]]:
    """Measure each size with each batch. Return a cell per operation, with nanoseconds per row for each round."""
    found = []
    for size in sizes:
        for batch in batches:
            rows = rows_of(size, SINGLE_ROWS if batch == 1 else batch)
            samplers = {contender.name: samplers_of(contender, batch, rows) for contender in contenders}
            for operation in OPERATIONS:
                taken = interleaved(
                    {name: each[operation] for name, each in samplers.items()}, rounds=rounds, items=len(rows)
                )
                found.append({"operation": operation, "size": size, "batch": batch, "rounds": taken})
            print(f"  {size} B x {batch}", file=sys.stderr)
    return found


def measure(effort: Effort) -> dict[str, Any]:
    """Measure the matrix."""
    contenders, absent = gather()
    return {
        "contenders": {each.name: {"version": each.version, "differs": each.differs} for each in contenders},
        "absent": absent,
        "associated_bytes": associated_bytes(),
        "cells": cells(
            contenders,
            sizes=SIZES[:2] if effort is Effort.SMOKE else SIZES,
            batches=BATCHES[effort],
            rounds=ROUNDS[effort],
        ),
    }


if __name__ == "__main__":
    run(measure)
