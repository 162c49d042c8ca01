"""The tables of the comparison of Temporal servers, from its journal alone."""

from __future__ import annotations

import statistics
from typing import TYPE_CHECKING, Any

from benchmarks.lib.figures import table

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    Rounds = Sequence[Mapping[str, Any]]

MUST, GOAL = 0.95, 1.1
"""Throughput, sealed divided by plain."""
SIDES = ("sealed", "plain")
PROCESSES = ("server", "serve", "postgres", "elasticsearch", "worker")
PLOT = "temporal.png"
_EXPLANATION = (
    f"Sealed divided by plain. The throughput must be at least {MUST}, with a goal of {GOAL}, and the p99 of the time from schedule "
    "to start of a workflow task at most 1. `lists` counts lists, and the CPU time of each has the workflows that run meanwhile. "
    "`worker` is the load generator and the SDK's worker: one process for both servers."
)


def by_place(rows: Iterable[Mapping[str, Any]]) -> dict[tuple[str, str], Rounds]:
    """Return the rounds of each setup and workload."""
    found: dict[tuple[str, str], list[Mapping[str, Any]]] = {}
    for row in rows:
        place = row["place"]
        found.setdefault((place["setup"], place["workload"]), []).append(row["figures"])
    return dict(found)


def ratios(rounds: Rounds, figure: str) -> list[float]:
    """Return sealed divided by plain, round by round. A round without the figure is left out."""
    return [each["sealed"][figure] / each["plain"][figure] for each in rounds if each["plain"][figure]]


def medians(rounds: Rounds, side: str, *keys: str) -> float | None:
    """Return the median of a figure of one side; None if the side does not have it."""
    values: list[Any] = [each[side] for each in rounds]
    for key in keys:
        values = [value[key] for value in values if key in value]
    return statistics.median(values) if values else None


def tables(rows: Iterable[Mapping[str, Any]]) -> list[str]:
    """Return the paragraphs and the tables of a journal's rows."""
    places = by_place(rows)
    return [
        _EXPLANATION,
        table(
            ["setup", "workload", "rounds", "throughput", "verdict", "p50", "p99", "task p99", *_rates()],
            [[*place, str(len(rounds)), *_speeds(rounds)] for place, rounds in places.items()],
        ),
        "CPU time in ms for each workflow, by process:",
        _by_process(places, "cpu_ms", lambda value: f"{value:.1f}"),
        "Resident memory in MiB at the end of a round, by process. PostgreSQL's shared pages count once for each of its processes:",
        _by_process(places, "memory_mib", lambda value: f"{value:.0f}"),
    ]


def _rates() -> list[str]:
    return [f"{side} {figure}" for figure in ("a second", "task p99 ms") for side in SIDES]


def _speeds(rounds: Rounds) -> list[str]:
    speed = ratios(rounds, "a second")
    median = statistics.median(speed)
    verdict = "goal" if median >= GOAL else "must" if median >= MUST else "missed"
    rates = [_shown(medians(rounds, side, key)) for key in ("a second", "task_p99_ms") for side in SIDES]
    return [
        _range(speed),
        verdict,
        *(_range(ratios(rounds, key)) for key in ("p50_ms", "p99_ms", "task_p99_ms")),
        *rates,
    ]


def _by_process(places: Mapping[tuple[str, str], Rounds], figure: str, shown: Callable[[float], str]) -> str:
    columns = [
        (side, process)
        for process in PROCESSES
        for side in SIDES
        if any(medians(rounds, side, figure, process) is not None for rounds in places.values())
    ]
    body = []
    for place, rounds in places.items():
        values = [medians(rounds, side, figure, process) for side, process in columns]
        body.append([*place, *("" if value is None else shown(value) for value in values)])
    return table(["setup", "workload", *(f"{process} {side}" for side, process in columns)], body)


def _range(values: Sequence[float]) -> str:
    if not values:
        return ""
    median = f"{statistics.median(values):.2f}"
    return median if len(values) == 1 else f"{median} ({min(values):.2f}-{max(values):.2f})"


def _shown(value: float | None) -> str:
    return "" if value is None else f"{value:,.0f}" if value >= 100 else f"{value:.3g}"
