"""The rate limit of the codec server: a token bucket for each caller."""

from __future__ import annotations

import time
from collections import OrderedDict
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

CALLERS_KEPT = 10_000


class RateLimit:
    """A token bucket for each caller, which refills at a steady rate. A payload takes one token.

    Args:
        per_second: The refill rate, in tokens a second.
        at_once: The size of a bucket, in tokens. A caller begins with a full bucket.
        clock: The monotonic clock, in seconds.
    """

    def __init__(self, *, per_second: float, at_once: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._per_second = per_second
        self._at_once = at_once
        self._clock = clock
        self._buckets: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def take(self, caller: str, tokens: float) -> float:
        """Take tokens from a caller's bucket.

        Args:
            caller: The name of the caller.
            tokens: The number of tokens.

        Returns:
            0 if the tokens were taken. Otherwise no token is taken, and this is the time until the bucket holds them, in seconds.
        """
        now = self._clock()
        left, since = self._buckets.pop(caller, (self._at_once, now))
        left = min(self._at_once, left + (now - since) * self._per_second)
        wait = max(0.0, (tokens - left) / self._per_second)
        self._buckets[caller] = (left if wait else left - tokens, now)
        if len(self._buckets) > CALLERS_KEPT:
            self._buckets.popitem(last=False)  # the least recent caller, whose bucket is most likely full
        return wait
