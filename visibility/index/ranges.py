"""Range trees: numbers and times are leaves of a tree with 16 or 32 branches per node, and a range is covered by a few nodes.

A value has one token for each level of the tree: for its leaf and for each node above it. A range query asks for the nodes that
cover the range. For each pair of values the tokens show down to which level they share a node, but not which value is larger.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

NANOSECONDS = 10**9
INT64_MIN, INT64_MAX = -(2**63), 2**63 - 1


@dataclass(frozen=True, slots=True)
class RangeTree:
    """A tree of ranges.

    Attributes:
        levels: Number of levels, which is the number of tokens of a value.
        bits: A node has 2^bits branches, so leaves are numbered from 0 to 2^(bits * levels) - 1.
        leaf: Function that returns the leaf of a value. A larger value never has a smaller leaf.
        lowest: Function that returns the smallest int64 of a leaf, or a number above int64 for a leaf after the last one.
    """

    levels: int
    bits: int
    leaf: Callable[[int], int]
    lowest: Callable[[int], int]

    def nodes(self, values: Iterable[int]) -> Iterator[tuple[int, list[int]]]:
        """Yield each level, from the leaves (0) upwards, with the node of each value on it."""
        leaves = list(map(self.leaf, values))
        for level in range(self.levels):
            yield level, [leaf >> (self.bits * level) for leaf in leaves]

    def cover(self, first: int, last: int) -> list[tuple[int, int]]:
        """Return the fewest nodes, as (level, node), that cover the leaves from first to last, inclusive."""
        nodes, branches = [], 1 << self.bits
        for level in range(self.levels - 1):
            while first <= last and first % branches:
                nodes.append((level, first))
                first += 1
            while first <= last and (last + 1) % branches:
                nodes.append((level, last))
                last -= 1
            if first > last:
                return nodes
            first, last = first >> self.bits, last >> self.bits
        nodes += [(self.levels - 1, node) for node in range(first, last + 1)]
        return nodes

    def roots(self) -> list[tuple[int, int]]:
        """Return the nodes of the highest level, as (level, node). Each int64 is below one of them."""
        top = self.levels - 1
        first, last = (self.leaf(value) >> self.bits * top for value in (INT64_MIN, INT64_MAX))
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


def _magnitudes(levels: int, bits: int, leaf_bits: int) -> RangeTree:
    """Return a tree of integers by magnitude, with 2^leaf_bits leaves between two powers of two."""
    middle = 1 << (bits * levels - 1)
    leaf, lowest = (partial(function, middle, leaf_bits) for function in (_magnitude_leaf, _magnitude_lowest))
    return RangeTree(levels, bits, leaf, lowest)


def _magnitude_leaf(middle: int, bits: int, value: int) -> int:
    value = min(max(value, INT64_MIN), INT64_MAX)
    size = abs(value)
    if size == 0:
        return middle
    exponent = size.bit_length() - 1
    sub = (size << bits >> exponent) & ((1 << bits) - 1)
    rank = 1 + (exponent << bits) + sub
    return middle + rank if value > 0 else middle - rank


def _magnitude_lowest(middle: int, bits: int, leaf: int) -> int:
    if leaf == middle:
        return 0
    exponent, sub = divmod(abs(leaf - middle) - 1, 1 << bits)
    if exponent >= 63:  # noqa: PLR2004 - int64 ends here; the leaf of -2^63 is the only one beyond
        return INT64_MAX + 1 if leaf > middle else INT64_MIN
    if leaf > middle:
        return _first_in(bits, exponent, sub)
    return 1 - _first_in(bits, exponent, sub + 1)  # the negative of the largest size in the mirrored leaf


def _first_in(bits: int, exponent: int, sub: int) -> int:
    """Return the smallest size of at least 2^exponent * (1 + sub / 2^bits)."""
    return -(-(((1 << bits) + sub) << exponent) >> bits)


def _second_leaf(nanoseconds: int) -> int:
    return min(max(nanoseconds // NANOSECONDS, 0), _LAST_SECOND)


def _second_lowest(leaf: int) -> int:
    return leaf * NANOSECONDS if leaf > 0 else INT64_MIN


MAGNITUDES = _magnitudes(4, 5, 11)
"""Tree of integers by magnitude: one leaf per integer up to 4,095, then leaves of 1/2048 of a power of two."""

COARSE_MAGNITUDES = _magnitudes(4, 4, 7)
"""The same in layouts of version 3: one leaf per integer up to 255, then leaves of 1/128 of a power of two."""

SECONDS = RangeTree(9, 4, _second_leaf, _second_lowest)
"""Tree of times in nanoseconds: one leaf per second from 1970 on."""

_LAST_SECOND = (1 << SECONDS.bits * SECONDS.levels) - 1
