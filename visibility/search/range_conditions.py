"""Compile ranges of numbers and times: the nodes of a range tree, or the seconds of a bucket (DESIGN.md, "Two sides")."""

from __future__ import annotations

import math
from itertools import starmap
from typing import TYPE_CHECKING, Literal, cast

from strongroom.visibility.attributes import AttributeType
from strongroom.visibility.backends.token_query import NOTHING, Bucket, all_of, any_of
from strongroom.visibility.filter.tree import Between
from strongroom.visibility.index import tokens
from strongroom.visibility.index.buckets import OPEN_RUN
from strongroom.visibility.index.doubles import on_scale
from strongroom.visibility.index.ranges import INT64_MAX, INT64_MIN, NANOSECONDS

from .approximation import Approximation, exact
from .token_conditions import CLOSED, OPEN, holding, profile_of, undecided

if TYPE_CHECKING:
    from collections.abc import Sequence
    from decimal import Decimal

    from strongroom.visibility.backends.token_query import TokenQuery
    from strongroom.visibility.fields import Profile
    from strongroom.visibility.filter.tree import Attribute, Compare, Value
    from strongroom.visibility.index.ranges import RangeTree
    from strongroom.visibility.index.tokens import Tokenizer


def ordered(attribute: Attribute, nodes: Sequence[Compare | Between], tokenizer: Tokenizer) -> Approximation:
    """Compile order comparisons of one number or time. All of them must hold."""
    bounds = [_bounds(attribute, node) for node in nodes]
    lows, highs = [low for low, _ in bounds if low is not None], [high for _, high in bounds if high is not None]
    return within(attribute, max(lows, default=None), min(highs, default=None), tokenizer)


def _bounds(attribute: Attribute, node: Compare | Between) -> tuple[int | None, int | None]:
    """Return the smallest and the largest integer on the attribute's range tree that satisfy a comparison; None for no bound."""
    match node:
        case Between(_, low, high):
            return _at_least(attribute, low), _at_most(attribute, high)
        case _ if node.operator == ">=":
            return _at_least(attribute, node.value), None
        case _ if node.operator == ">":
            return _at_most(attribute, node.value) + 1, None
        case _ if node.operator == "<=":
            return None, _at_most(attribute, node.value)
        case _:
            return None, _at_least(attribute, node.value) - 1


def within(attribute: Attribute, low: int | None, high: int | None, tokenizer: Tokenizer) -> Approximation:
    """Compile low <= value <= high, for integers on the attribute's range tree. None is no bound."""
    if attribute.type is AttributeType.DOUBLE:
        return _double_within(attribute, low, high, tokenizer)
    low = INT64_MIN if low is None else max(low, INT64_MIN)
    high = INT64_MAX if high is None else min(high, INT64_MAX)
    if low > high:
        return exact(NOTHING)
    profile = profile_of(attribute, tokenizer)
    if profile.bucket is not None:
        return _in_buckets(profile, low, high, tokenizer.layout.bucket)
    if profile.ranges is None:
        return undecided(attribute, tokenizer)
    tree = tokens.TREES[profile.ranges]
    return _sides(attribute, tree, *tree.leaves(low, high), tokenizer)


def _in_buckets(profile: Profile, low: int, high: int, size: int) -> Approximation:
    """Compile low <= value <= high for a time that has a bucket column, with buckets of `size` seconds."""
    column, width = cast("Literal['b1', 'b2']", profile.bucket), size * NANOSECONDS
    inside = Bucket(column, -(-low // width) * size, ((high + 1) // width - 1) * size)
    sure: TokenQuery = inside if inside.low <= inside.high else NOTHING
    overlapping = Bucket(column, low // width * size, high // width * size)
    if not profile.upper_bound:
        return Approximation(sure, overlapping)
    # The column is not below the bucket of a closed run's start, so only the lower end of the range excludes closed runs.
    later = Bucket(column, overlapping.low, OPEN_RUN)
    return Approximation(all_of(OPEN, sure), all_of(later, any_of(CLOSED, overlapping)))


def _double_within(attribute: Attribute, low: int | None, high: int | None, tokenizer: Tokenizer) -> Approximation:
    """Compile low <= value <= high for a Double.

    The outermost leaves hold all values beyond int64 too. So with a bound they are possible and not sure.
    """
    if low is not None and high is not None and low > high:
        return exact(NOTHING)
    profile = profile_of(attribute, tokenizer)
    if profile.ranges is None:
        return undecided(attribute, tokenizer)
    tree = tokens.TREES[profile.ranges]
    first = INT64_MIN if low is None else _limited(low, INT64_MIN + 1, INT64_MAX)
    last = INT64_MAX if high is None else _limited(high, INT64_MIN - 1, INT64_MAX - 1)
    inside = tree.leaves(first, last)[0] if first <= last else (1, 0)
    first = INT64_MIN if low is None else _limited(low, INT64_MIN, INT64_MAX)
    last = INT64_MAX if high is None else _limited(high, INT64_MIN, INT64_MAX)
    overlapping = tree.leaves(first, last)[1]
    return _sides(attribute, tree, inside, overlapping, tokenizer)


def _at_least(attribute: Attribute, value: Value) -> int:
    """Return the smallest integer on the attribute's range tree that is at least a number."""
    return math.ceil(_on_tree(attribute, value))


def _at_most(attribute: Attribute, value: Value) -> int:
    """Return the largest integer on the attribute's range tree that is at most a number."""
    return math.floor(_on_tree(attribute, value))


def _on_tree(attribute: Attribute, value: Value) -> Decimal | float:
    return on_scale(float(value)) if attribute.type is AttributeType.DOUBLE else cast("float", value)


def _limited(number: int, least: int, most: int) -> int:
    return min(max(number, least), most)


def _sides(
    attribute: Attribute,
    tree: RangeTree,
    inside: tuple[int, int],
    overlapping: tuple[int, int],
    tokenizer: Tokenizer,
) -> Approximation:
    """Compile a range of leaves. Possible are the same nodes and the leaves at both ends, so that the two sides differ in those.

    Args:
        attribute: The attribute.
        tree: Its range tree.
        inside: The first and the last leaf inside the range. The first is greater if there is none.
        overlapping: The first and the last leaf that overlap the range.
        tokenizer: The tokenizer of the epoch.
    """
    nodes: list[tuple[int, int]] = []
    (first, last), ends = inside, tree.cover(*overlapping)
    if first <= last:
        nodes = tree.cover(first, last)
        ends = [*tree.cover(overlapping[0], first - 1), *tree.cover(last + 1, overlapping[1])]
    return Approximation(
        *(
            holding(attribute, starmap(tokens.range_node, chosen), tokenizer, exclusive=True)
            for chosen in (nodes, [*nodes, *ends])
        )
    )
