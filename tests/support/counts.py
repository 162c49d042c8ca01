"""The sizes of tests that do less than they can. Environment variables of the same names set them; see tests/README.md."""

from __future__ import annotations

import os

DEFAULTS = {
    "EXAMPLES": 1,
    "FILTERS": 75,
    "DOCUMENTS": 400,
    "SECONDS": float("inf"),
    "WORDS": 6000,
    "KILLS": 20,
    "NAMESPACES": 4000,
    "GONE": 1,
}


def seconds_of(name: str) -> float:
    """Return a time, in seconds."""
    return float(os.environ.get(name, DEFAULTS[name]))


def count_of(name: str) -> int:
    """Return a number of things."""
    return int(os.environ.get(name, DEFAULTS[name]))


def examples(number: int) -> int:
    """Return the number of generated examples of a property: this number times EXAMPLES."""
    return number * count_of("EXAMPLES")
