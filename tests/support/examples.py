"""The number of generated examples of a property that needs many."""

from __future__ import annotations

import os


def examples(count: int) -> int:
    """Return the number of examples. EXAMPLES=10 multiplies it."""
    return count * int(os.environ.get("EXAMPLES", "1"))
