"""What a doctor finds."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Finding:
    """The outcome of one check.

    Attributes:
        check: of what.
        ok: whether it held.
        text: what was found, and what to do.
        soon: whether it will not hold for long.
    """

    check: str
    ok: bool
    text: str
    soon: bool = False
