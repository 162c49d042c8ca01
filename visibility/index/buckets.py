"""Buckets: the close and the start time of a document, rounded down. Every search index sorts documents by them."""

from __future__ import annotations

from .ranges import NANOSECONDS

OPEN_RUN = 2**62
"""Close bucket of an open run. It is greater than that of any closed run, so open runs come first in a list."""


def close_bucket(close_time: int | None, size: int = 1) -> int:
    """Return the bucket of a close time, in seconds.

    Args:
        close_time: Nanoseconds since 1970; None for an open run.
        size: The size of a bucket in seconds.
    """
    return OPEN_RUN if close_time is None else close_time // (size * NANOSECONDS) * size


def start_bucket(start_time: int, size: int = 1) -> int:
    """Return the bucket of a start time, in seconds.

    Args:
        start_time: Nanoseconds since 1970.
        size: The size of a bucket in seconds.
    """
    return start_time // (size * NANOSECONDS) * size


def buckets_of(close_time: int | None, start_time: int, size: int, *, upper_bound: bool) -> tuple[int, int]:
    """Return the columns b1 and b2 of a run.

    Args:
        close_time: Nanoseconds since 1970; None for an open run.
        start_time: Nanoseconds since 1970.
        size: The size of a bucket in seconds.
        upper_bound: Whether b2 of a closed run is the later one of both buckets, so that it does not show the start. A run never
            starts after it closed, except by the clock of another host.
    """
    closed, started = close_bucket(close_time, size), start_bucket(start_time, size)
    return closed, max(closed, started) if upper_bound and close_time is not None else started
