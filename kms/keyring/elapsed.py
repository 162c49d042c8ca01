"""The clock for the age of cached keys. It counts the time in which the machine was suspended."""

from __future__ import annotations

import time

_CLOCK = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)
"""Linux's `CLOCK_MONOTONIC` stops while the machine is suspended. On macOS it does not."""


def elapsed() -> float:
    """Return seconds that never go backwards.

    A job on another host waits until this process has read the registry. If this machine is suspended meanwhile, its cached keys
    must be too old when it wakes up, because the key that it would seal with may be destroyed.
    """
    return time.clock_gettime(_CLOCK)
