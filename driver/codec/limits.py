"""How much a caller of the codec server may ask for: a bucket of tokens for each."""

from __future__ import annotations

import time
from collections import OrderedDict
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

CALLERS_KEPT = 10_000


class RateLimit:
    """A bucket for each caller, which fills again at a steady rate; a payload takes one token out.

    Args:
        per_second: tokens that a caller gets back each second.
        at_once: tokens that a bucket holds; a caller begins with a full one.
        clock: monotonic seconds.
    """

    def __init__(self, *, per_second: float, at_once: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._per_second = per_second
        self._at_once = at_once
        self._clock = clock
        self._buckets: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def take(self, caller: str, tokens: float) -> float:
        """Take tokens out of a caller's bucket.

        Returns:
            0 if they were there; else after how many seconds they will be, and none was taken.
        """
        now = self._clock()
        left, since = self._buckets.pop(caller, (self._at_once, now))
        left = min(self._at_once, left + (now - since) * self._per_second)
        wait = max(0.0, (tokens - left) / self._per_second)
        self._buckets[caller] = (left if wait else left - tokens, now)
        if len(self._buckets) > CALLERS_KEPT:
            self._buckets.popitem(last=False)  # who was away longest; by then its bucket is most likely full
        return wait
