"""Numbers and times as leaves of a tree with sixteen branches a node, and a range of them as few nodes of that tree.

A value has one token for each level of the tree above it; a range is asked for by the nodes that cover it. For each pair of values
the tokens show how far down they stay together, and nothing of which is larger.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

NANOSECONDS = 10**9
_BRANCH_BITS = 4
_BRANCHES = 1 << _BRANCH_BITS
_SUB_BITS = 3
_SUB_LEAVES = 1 << _SUB_BITS
"""Leaves of a power of two: eight, so that a leaf is at most an eighth wide."""
_MIDDLE = 1024
INT64_MIN, INT64_MAX = -(2**63), 2**63 - 1


@dataclass(frozen=True, slots=True)
class RangeTree:
    """A tree of ranges.

    Attributes:
        levels: how many tokens a value has; leaves are numbered from 0 to 16^levels - 1.
        leaf: from a value to its leaf; never falls as the value rises.
        lowest: from a leaf to the smallest int64 in it; beyond the last leaf, to a number larger than any.
    """

    levels: int
    leaf: Callable[[int], int]
    lowest: Callable[[int], int]

    def nodes(self, values: Iterable[int]) -> Iterator[tuple[int, list[int]]]:
        """Yield for each level, from the leaves (0) upwards, the node above each value."""
        leaves = list(map(self.leaf, values))
        for level in range(self.levels):
            yield level, [leaf >> (_BRANCH_BITS * level) for leaf in leaves]

    def cover(self, first: int, last: int) -> list[tuple[int, int]]:
        """Return the fewest nodes that hold the leaves from first to last, both inclusive; none for an empty range."""
        found = []
        for level in range(self.levels - 1):
            while first <= last and first % _BRANCHES:
                found.append((level, first))
                first += 1
            while first <= last and (last + 1) % _BRANCHES:
                found.append((level, last))
                last -= 1
            if first > last:
                return found
            first, last = first >> _BRANCH_BITS, last >> _BRANCH_BITS
        found += [(self.levels - 1, node) for node in range(first, last + 1)]
        return found

    def roots(self) -> list[tuple[int, int]]:
        """Return the nodes of the highest level, of which each int64 has one."""
        top = self.levels - 1
        first, last = (self.leaf(value) >> _BRANCH_BITS * top for value in (INT64_MIN, INT64_MAX))
        return [(top, node) for node in range(first, last + 1)]

    def leaves(self, low: int, high: int) -> tuple[tuple[int, int], tuple[int, int]]:
        """Return the leaves that lie wholly within [low, high], and those that touch it, each as (first, last)."""
        first, last = self.leaf(low), self.leaf(high)
        touched = (first, last)
        if self.lowest(first) < low:
            first += 1
        if self.lowest(last + 1) - 1 > high:
            last -= 1
        return (first, last), touched


def _magnitude_leaf(value: int) -> int:
    value = min(max(value, INT64_MIN), INT64_MAX)
    size = abs(value)
    if size == 0:
        return _MIDDLE
    exponent = size.bit_length() - 1
    sub = (size << _SUB_BITS >> exponent) & (_SUB_LEAVES - 1)
    rank = 1 + (exponent << _SUB_BITS) + sub
    return _MIDDLE + rank if value > 0 else _MIDDLE - rank


def _magnitude_lowest(leaf: int) -> int:
    if leaf == _MIDDLE:
        return 0
    exponent, sub = divmod(abs(leaf - _MIDDLE) - 1, _SUB_LEAVES)
    if exponent >= 63:  # noqa: PLR2004 - int64 ends here; of the leaves beyond only that of -2^63 is ever used
        return INT64_MAX + 1 if leaf > _MIDDLE else INT64_MIN
    if leaf > _MIDDLE:
        return _first_in(exponent, sub)
    return 1 - _first_in(exponent, sub + 1)  # minus the largest size in the mirrored leaf


def _first_in(exponent: int, sub: int) -> int:
    """Return the smallest size of at least 2^exponent * (1 + sub / 8)."""
    size = (_SUB_LEAVES + sub) << exponent
    return -(-size // _SUB_LEAVES)


def _second_leaf(nanoseconds: int) -> int:
    return min(max(nanoseconds // NANOSECONDS, 0), _LAST_SECOND)


def _second_lowest(leaf: int) -> int:
    return leaf * NANOSECONDS if leaf > 0 else INT64_MIN


MAGNITUDES = RangeTree(3, _magnitude_leaf, _magnitude_lowest)
"""Integers by their size: exact up to 15, then in leaves an eighth of a power of two wide."""

SECONDS = RangeTree(9, _second_leaf, _second_lowest)
"""Times in nanoseconds by their second, from 1970 on."""

_LAST_SECOND = (1 << _BRANCH_BITS * SECONDS.levels) - 1
