"""The table of `make bench-persistence`: medians, ratios with their range, and targets."""

from __future__ import annotations

import os
import statistics
from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    Rounds: TypeAlias = Sequence[Mapping[str, float]]
    """The figures of one contender, round by round."""
    Figures: TypeAlias = Mapping[tuple[str, int, str], Rounds]
    """The rounds by operation, number of callers, and contender."""

CONTENDERS = ("temporal", "sealed", "plain")
# (operation, callers): the least accepted ratio to Temporal, and the goal.
TARGETS = {
    ("update", 16): (2.0, 3.5),
    ("update", 64): (3.0, 5.0),
    ("create", 16): (2.5, 4.0),
    ("create", 64): (4.0, 6.0),
    ("append2048", 16): (1.5, 2.0),
    ("append2048", 64): (2.0, 3.5),
    ("get", 16): (2.5, 5.0),
    ("get", 64): (4.0, 8.0),
    ("read100", 16): (1.2, 1.5),
    ("read100", 64): (1.2, 1.5),
    ("create_tasks", 64): (1.5, 2.8),
    ("get_tasks", 64): (1.0, 1.4),
    ("update", 1): (0.9, 1.5),
    ("create", 1): (0.9, 1.5),
    ("append2048", 1): (0.9, 1.5),
    ("create_tasks", 1): (0.9, 1.5),
}


def report(figures: Figures, operations: Sequence[str], callers: Sequence[int], *, has_temporal: bool) -> None:
    """Print the table."""
    print(
        f"\n{os.cpu_count()} cores for clients and server; operations a second, client CPU in microseconds, medians of rounds\n"
    )
    print(
        f"{'operation':<13}{'callers':>7} |{'temporal':>9}{'cpu':>5}{'p99 ms':>8} |{'sealed':>8}{'cpu':>5}{'p99 ms':>8} |"
        f"{'to temporal':>12} {'(range)':<13}{'p99':>5}{'to plain':>9}   must / goal"
    )
    for operation in operations:
        for many in callers:
            rounds = {name: figures.get((operation, many, name), ()) for name in CONTENDERS}
            print(_line(operation, many, rounds, has_temporal=has_temporal))


def _line(operation: str, many: int, rounds: Mapping[str, Rounds], *, has_temporal: bool) -> str:
    start = f"{operation:<13}{many:>7} |"
    sealed = _cell(rounds["sealed"], 8) + " |"
    to_plain = f"{statistics.median(_ratios(rounds['sealed'], rounds['plain'], 'operations')):>9.2f}"
    if not has_temporal:
        return start + sealed + to_plain
    ratios = _ratios(rounds["sealed"], rounds["temporal"], "operations")
    p99 = statistics.median(_ratios(rounds["sealed"], rounds["temporal"], "p99_ms"))
    ratio = statistics.median(ratios)
    to_temporal = f"{ratio:>12.2f} ({min(ratios):.2f}-{max(ratios):.2f})".ljust(28) + f"{p99:>3.2f}"
    return (
        start + _cell(rounds["temporal"], 9) + " |" + sealed + to_temporal + to_plain + _verdict(operation, many, ratio)
    )


def _verdict(operation: str, many: int, ratio: float) -> str:
    if (operation, many) not in TARGETS:
        return ""
    must, goal = TARGETS[operation, many]
    word = "MISSED" if ratio < must else "goal met" if ratio >= goal else "met"
    return f"   {must} / {goal} {word}"


def _cell(runs: Rounds, width: int) -> str:
    median = {
        key: statistics.median(run[key] for run in runs) for key in ("operations", "seconds", "client_cpu_us", "p99_ms")
    }
    return (
        f"{median['operations'] / median['seconds']:>{width}.0f}{median['client_cpu_us']:>5.0f}{median['p99_ms']:>8.2f}"
    )


def _ratios(ours: Rounds, theirs: Rounds, key: str) -> list[float]:
    return [our[key] / their[key] for our, their in zip(ours, theirs, strict=True)]
