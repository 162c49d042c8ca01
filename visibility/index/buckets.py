"""Buckets: the close and the start time of a document in whole seconds. Every search index sorts documents by them."""

from __future__ import annotations

from .ranges import NANOSECONDS

OPEN_RUN = 2**62
"""Close bucket of an open run. It is greater than that of any closed run, so open runs come first in a list."""


def close_bucket(close_time: int | None) -> int:
    """Return the bucket of a close time.

    Args:
        close_time: Nanoseconds since 1970; None for an open run.
    """
    return OPEN_RUN if close_time is None else close_time // NANOSECONDS


def start_bucket(start_time: int) -> int:
    """Return the bucket of a start time.

    Args:
        start_time: Nanoseconds since 1970.
    """
    return start_time // NANOSECONDS
