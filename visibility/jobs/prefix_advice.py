"""Report what the tokens of all prefixes of a custom Keyword would reveal and cost."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

from strongroom.visibility.fields import ALL_PREFIXES

if TYPE_CHECKING:
    from collections.abc import Mapping

_TOKEN_BYTES = 14
"""Size of a token: 8 bytes in its row and about 6 in the index (DESIGN.md, "Document")."""


@dataclass(frozen=True, slots=True)
class PrefixAdvice:
    """What `index rotate --prefixes` would reveal of a custom Keyword, and what it would cost.

    Attributes:
        chosen: Whether the namespace has chosen it.
        recovered: Share of the values that an attacker recognises who knows how common each value and each of its prefixes is.
        tokens: Mean number of prefix tokens of a value.
        bytes: Mean number of bytes of these tokens for a run, also for runs without a value.
    """

    chosen: bool
    recovered: float
    tokens: float
    bytes: float


def prefix_advice(counts: Mapping[object, int], present: float, *, chosen: bool) -> PrefixAdvice:
    """Return the advice for a Keyword.

    Args:
        counts: Number of runs of each value.
        present: Share of the runs that have a value.
        chosen: Whether the namespace has chosen it.
    """
    encoded = {str(value).encode("utf-8", "surrogatepass"): count for value, count in counts.items()}
    lengths = {value: [length for length in ALL_PREFIXES if length <= len(value)] for value in encoded}
    heads: Counter[bytes] = Counter()
    for value, count in encoded.items():
        heads.update({value[:length]: count for length in lengths[value]})
    shown: dict[tuple[int, ...], int] = {}
    for value, count in encoded.items():
        # One of several values that look alike is named right on average.
        shown[(count, *(heads[value[:length]] for length in lengths[value]))] = count
    runs = sum(encoded.values())
    tokens = sum(count * len(lengths[value]) for value, count in encoded.items()) / runs
    recovered = max(sum(shown.values()), *encoded.values()) / runs
    return PrefixAdvice(chosen, recovered, tokens, tokens * _TOKEN_BYTES * present)
