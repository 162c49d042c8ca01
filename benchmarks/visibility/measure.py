"""Ratios of two contenders that take turns, and verdicts."""

from __future__ import annotations

import statistics
import time
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable


async def ratio(
    ours: Callable[[], Awaitable[Any]], theirs: Callable[[], Awaitable[Any]], *, blocks: int = 9, runs: int = 12
) -> tuple[float, float]:
    """Return the median of the blocks' ratios, ours divided by theirs, and the median time of theirs in milliseconds."""
    ratios, plains = [], []
    for _ in range(blocks):
        medians = []
        for contender in (ours, theirs):
            times = []
            for _ in range(runs):
                began = time.perf_counter()
                await contender()
                times.append(time.perf_counter() - began)
            medians.append(statistics.median(times))
        ratios.append(medians[0] / medians[1])
        plains.append(medians[1])
    return statistics.median(ratios), 1000 * statistics.median(plains)


def verdict(figure: float, must: float, goal: float, *, more: bool = False) -> str:
    """Return a figure with its minimum requirement and its goal."""
    met = (figure >= must) if more else (figure <= must)
    return f"{figure:7.2f}   must {must}, goal {goal}: {'met' if met else 'MISSED'}"
