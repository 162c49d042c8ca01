"""Measure contenders in turns. A result is the median of the ratios that the rounds gave.

A machine's speed changes from second to second, and also drifts slowly. So contenders are not measured one after the other.
Each round samples every contender once, in an order that is rotated and sometimes reversed. Only samples of the same round
are compared. A sample is CPU time. The results of a call are freed after the clock has stopped. One contender takes part
twice under two names, and the difference between the two is the noise.
"""

from __future__ import annotations

import gc
import statistics
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    Sampler: TypeAlias = Callable[[], float]
    """A function that runs a contender once and returns nanoseconds per item."""
    Rounds: TypeAlias = Mapping[str, list[float | None]]
    """The time of each contender in each round, in nanoseconds per item; None for a round without the contender."""

SLOW = 12
"""A contender that is this many times slower than the fastest takes part in the first rounds only."""
SLOW_ROUNDS = 3
SAMPLE_NS = 5_000_000
"""A sample is the fastest of several calls: as many as fit in twice this time, at least one and at most five."""


@dataclass(frozen=True, slots=True)
class Ratio:
    """The median, minimum and maximum of the rounds."""

    median: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.median:.2f} ({self.low:.2f}-{self.high:.2f})"


def kept(call: Callable[[], object], items: int, *, clock: Callable[[], int] = time.process_time_ns) -> Sampler:
    """Return a sampler for a call that handles `items` items. The call's result is freed after the clock has stopped."""

    def sample() -> float:
        started = clock()
        result = call()
        spent = clock() - started
        del result
        return spent / items

    return sample


def interleaved(samplers: Mapping[str, Sampler], *, rounds: int, items: int = 1) -> dict[str, list[float | None]]:
    """Sample all contenders in turns.

    Args:
        samplers: The samplers by contender name.
        rounds: The number of rounds. A contender that is `SLOW` takes part in `SLOW_ROUNDS` of them.
        items: The number of items that a sample handles. It is used only to estimate the time of a call.

    Returns:
        The result of each round, for each contender.
    """
    warm = {name: sample() for name, sample in samplers.items()}
    fastest = min(warm.values())
    turns = {name: min(rounds, SLOW_ROUNDS) if spent > SLOW * fastest else rounds for name, spent in warm.items()}
    found: dict[str, list[float | None]] = {name: [] for name in samplers}
    gc.collect()
    gc.freeze()  # garbage collections in a contender's turn then skip the objects that exist now
    try:
        for number in range(rounds):
            for name in rotated(list(samplers), number):
                took_part = number < turns[name]
                calls = max(1, min(5, int(2 * SAMPLE_NS / max(1.0, warm[name] * items))))
                found[name].append(min(samplers[name]() for _ in range(calls)) if took_part else None)
    finally:
        gc.unfreeze()
    return found


def rotated(names: list[str], number: int) -> list[str]:
    """Return the contenders in the order of a round. The start moves on by one each round; every second round is reversed."""
    start = number % len(names)
    order = names[start:] + names[:start]
    return order[::-1] if number % 2 else order


def ratio(rounds: Rounds, over: str, under: str) -> Ratio:
    """Return the time of `over` divided by that of `under`, from the rounds in which both took part."""
    ratios = [
        first / second
        for first, second in zip(rounds[over], rounds[under], strict=True)
        if first is not None and second is not None
    ]
    return Ratio(statistics.median(ratios), min(ratios), max(ratios))


def median(series: list[float | None]) -> float:
    """Return the median of the rounds in which a contender took part."""
    return statistics.median(value for value in series if value is not None)


def quantile(values: list[float], share: float) -> float:
    """Return the measured value at this quantile. It is not interpolated."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


def cpu_of(process_id: int) -> float:
    """Return the CPU time of a process, in seconds, by its clock in the kernel (`clock_getcpuclockid`)."""
    return time.clock_gettime((~process_id << 3) | 2)
