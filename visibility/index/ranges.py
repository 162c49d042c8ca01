"""Range trees: numbers and times are leaves of a tree with 16 branches per node, and a range is covered by a few nodes.

A value has one token for each level of the tree: for its leaf and for each node above it. A range query asks for the nodes that
cover the range. For each pair of values the tokens show down to which level they share a node, but not which value is larger.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

NANOSECONDS = 10**9
_BRANCH_BITS = 4
_BRANCHES = 1 << _BRANCH_BITS
_SUB_BITS = 7
_SUB_LEAVES = 1 << _SUB_BITS
"""Number of leaves between two powers of two: a leaf is at most 1/128 of the power wide."""
_MIDDLE = 2**15
INT64_MIN, INT64_MAX = -(2**63), 2**63 - 1


@dataclass(frozen=True, slots=True)
class RangeTree:
    """A tree of ranges.

    Attributes:
        levels: Number of levels, which is the number of tokens of a value. Leaves are numbered from 0 to 16^levels - 1.
        leaf: Function that returns the leaf of a value. A larger value never has a smaller leaf.
        lowest: Function that returns the smallest int64 of a leaf, or a number above int64 for a leaf after the last one.
    """

    levels: int
    leaf: Callable[[int], int]
    lowest: Callable[[int], int]

    def nodes(self, values: Iterable[int]) -> Iterator[tuple[int, list[int]]]:
        """Yield each level, from the leaves (0) upwards, with the node of each value on it."""
        leaves = list(map(self.leaf, values))
        for level in range(self.levels):
            yield level, [leaf >> (_BRANCH_BITS * level) for leaf in leaves]

    def cover(self, first: int, last: int) -> list[tuple[int, int]]:
        """Return the fewest nodes, as (level, node), that cover the leaves from first to last, inclusive."""
        nodes = []
        for level in range(self.levels - 1):
            while first <= last and first % _BRANCHES:
                nodes.append((level, first))
                first += 1
            while first <= last and (last + 1) % _BRANCHES:
                nodes.append((level, last))
                last -= 1
            if first > last:
                return nodes
            first, last = first >> _BRANCH_BITS, last >> _BRANCH_BITS
        nodes += [(self.levels - 1, node) for node in range(first, last + 1)]
        return nodes

    def roots(self) -> list[tuple[int, int]]:
        """Return the nodes of the highest level, as (level, node). Each int64 is below one of them."""
        top = self.levels - 1
        first, last = (self.leaf(value) >> _BRANCH_BITS * top for value in (INT64_MIN, INT64_MAX))
        return [(top, node) for node in range(first, last + 1)]

    def leaves(self, low: int, high: int) -> tuple[tuple[int, int], tuple[int, int]]:
        """Return the leaves that are inside [low, high] and the leaves that overlap it, each as (first, last)."""
        first, last = self.leaf(low), self.leaf(high)
        overlapping = (first, last)
        if self.lowest(first) < low:
            first += 1
        if self.lowest(last + 1) - 1 > high:
            last -= 1
        return (first, last), overlapping


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
    if exponent >= 63:  # noqa: PLR2004 - int64 ends here; the leaf of -2^63 is the only one beyond
        return INT64_MAX + 1 if leaf > _MIDDLE else INT64_MIN
    if leaf > _MIDDLE:
        return _first_in(exponent, sub)
    return 1 - _first_in(exponent, sub + 1)  # the negative of the largest size in the mirrored leaf


def _first_in(exponent: int, sub: int) -> int:
    """Return the smallest size of at least 2^exponent * (1 + sub / 128)."""
    size = (_SUB_LEAVES + sub) << exponent
    return -(-size // _SUB_LEAVES)


def _second_leaf(nanoseconds: int) -> int:
    return min(max(nanoseconds // NANOSECONDS, 0), _LAST_SECOND)


def _second_lowest(leaf: int) -> int:
    return leaf * NANOSECONDS if leaf > 0 else INT64_MIN


MAGNITUDES = RangeTree(4, _magnitude_leaf, _magnitude_lowest)
"""Tree of integers by magnitude: one leaf per integer up to 255, then leaves of 1/128 of a power of two."""

SECONDS = RangeTree(9, _second_leaf, _second_lowest)
"""Tree of times in nanoseconds: one leaf per second from 1970 on."""

_LAST_SECOND = (1 << _BRANCH_BITS * SECONDS.levels) - 1
