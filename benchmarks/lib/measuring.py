"""How everything here is measured: contenders take turns in one run, and the results are medians of the ratios of the rounds.

A machine changes its speed from second to second, and slowly too. So contenders are never measured one after the other:
in each round each is sampled once, in an order that is rotated and turned round, and only samples of one round are
compared. A sample is CPU time; what was made is kept until the clock has stopped. A contender that takes part twice under
two names shows the noise.
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
    """Runs a contender once, and returns nanoseconds an item."""
    Rounds: TypeAlias = Mapping[str, list[float | None]]
    """For each contender what it took in each round, in nanoseconds an item; None where it sat out."""

SLOW = 12
"""A contender so many times slower than the fastest takes part in the first rounds only: its ratio needs no third digit."""
SLOW_ROUNDS = 3
SAMPLE_NS = 5_000_000
"""A sample is the fastest of as many calls as fit in twice this, at least one and at most five."""


@dataclass(frozen=True, slots=True)
class Ratio:
    """A median over rounds, and the least and the greatest."""

    median: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.median:.2f} ({self.low:.2f}-{self.high:.2f})"


def kept(call: Callable[[], object], items: int, *, clock: Callable[[], int] = time.process_time_ns) -> Sampler:
    """Return a sampler of a call that handles so many items; its result is let go when the clock has stopped."""

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
        samplers: by the contender's name.
        rounds: how often each has its turn; one that is `SLOW` has `SLOW_ROUNDS`.
        items: how many items a sample handles: only to see how long a call takes.

    Returns:
        For each contender a number for each round.
    """
    warm = {name: sample() for name, sample in samplers.items()}
    fastest = min(warm.values())
    turns = {name: min(rounds, SLOW_ROUNDS) if spent > SLOW * fastest else rounds for name, spent in warm.items()}
    found: dict[str, list[float | None]] = {name: [] for name in samplers}
    gc.collect()
    gc.freeze()  # a garbage collection in a contender's turn then skips the objects that exist now
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
    """Return the order of a round: the first one moves on by one each round, and every other round goes backwards."""
    start = number % len(names)
    order = names[start:] + names[:start]
    return order[::-1] if number % 2 else order


def ratio(rounds: Rounds, over: str, under: str) -> Ratio:
    """Return how many times as long `over` took as `under`, from the rounds in which both took part."""
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
    """Return the value below which this share of the values is; of few values, the next one that was measured."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]
