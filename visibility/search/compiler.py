"""Compile a filter into two token queries, a narrow and a wide one: sure ⊆ filter ⊆ possible (DESIGN.md, "Two sides").

Tokens can be coarser than a filter: prefixes are stored at a few lengths, and a range can end inside a leaf. Answers are exact
nevertheless. A list opens every possible document and keeps those that satisfy the filter. A count adds the sure documents to those
that it opened: the possible documents that are not sure. NOT swaps the two sides. Negating only one side would lose rows silently.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import starmap
from typing import TYPE_CHECKING, cast

from strongroom.visibility.attributes import AttributeType
from strongroom.visibility.backends.token_query import (
    EVERYTHING,
    NOTHING,
    AnyOf,
    Bucket,
    Epoch,
    TokenQuery,
    all_of,
    any_of,
    difference,
    none_of,
)
from strongroom.visibility.fields import OF_CLOSED_RUNS
from strongroom.visibility.filter.tree import (
    OPEN_STATUSES,
    STATUS_NAMES,
    And,
    Attribute,
    Between,
    Compare,
    In,
    IsNull,
    Node,
    Not,
    Or,
    StartsWith,
)
from strongroom.visibility.index import tokens
from strongroom.visibility.index.buckets import OPEN_RUN
from strongroom.visibility.index.ranges import INT64_MAX, INT64_MIN, NANOSECONDS
from strongroom.visibility.index.tokens import Tokenizer
from strongroom.visibility.index.words import split_words

from .evaluate import matches

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from strongroom.kms import NamespaceKeys
    from strongroom.visibility.fields import Profile
    from strongroom.visibility.filter.tree import Value

_CLOSED = Bucket("b1", -OPEN_RUN, OPEN_RUN - 1)


@dataclass(frozen=True, slots=True)
class Approximation:
    """Two token queries with sure ⊆ filter ⊆ possible.

    Attributes:
        sure: Documents that certainly satisfy the filter.
        possible: Documents that may satisfy it.
    """

    sure: TokenQuery
    possible: TokenQuery

    @property
    def exact(self) -> bool:
        """Whether both queries are the same, so that the index alone can count."""
        return self.sure == self.possible

    @property
    def between(self) -> TokenQuery:
        """Documents that are possible and not sure. Whether they match shows only when they are opened."""
        return difference(self.possible, self.sure)


def compile_query(node: Node, keys: NamespaceKeys) -> Approximation:
    """Compile a filter for all documents of a namespace.

    While the index key rotates, the index has documents of two epochs, perhaps of different layouts. The filter is compiled for
    each epoch and asked of the documents of that epoch, so negations are correct for both.

    Args:
        node: The condition of the filter.
        keys: The keys of the namespace.

    Raises:
        DataLoss: This version does not know the layout of an epoch.
    """
    epochs = keys.epochs()
    sides = [compile_filter(node, Tokenizer(keys, epoch=epoch)) for epoch in epochs]
    if len(sides) == 1:
        return sides[0]
    return Approximation(
        any_of(*(all_of(Epoch(epoch), side.sure) for epoch, side in zip(epochs, sides, strict=True))),
        any_of(*(all_of(Epoch(epoch), side.possible) for epoch, side in zip(epochs, sides, strict=True))),
    )


def compile_filter(node: Node, tokenizer: Tokenizer) -> Approximation:
    """Compile a filter for the documents of one epoch."""
    match node:
        case And(items):
            parts = [compile_filter(item, tokenizer) for item in items]
            return Approximation(all_of(*(part.sure for part in parts)), all_of(*(part.possible for part in parts)))
        case Or(items):
            parts = [compile_filter(item, tokenizer) for item in items]
            return Approximation(any_of(*(part.sure for part in parts)), any_of(*(part.possible for part in parts)))
        case Not(item):
            inner = compile_filter(item, tokenizer)
            return Approximation(none_of(inner.possible), none_of(inner.sure))
        case IsNull(attribute):
            present = _with_same_as(attribute, tokenizer, lambda each: _present(each, tokenizer))
            return Approximation(none_of(present.possible), none_of(present.sure))
        case Compare(attribute, "=", value):
            return _with_same_as(attribute, tokenizer, lambda each: _equal(each, (value,), tokenizer))
        case In(attribute, values):
            return _with_same_as(attribute, tokenizer, lambda each: _equal(each, values, tokenizer))
        case StartsWith(attribute, head):
            encoded = head.encode("utf-8", "surrogatepass")
            return _with_same_as(attribute, tokenizer, lambda each: _prefix(each, encoded, tokenizer))
        case Compare() | Between():
            return _with_same_as(node.attribute, tokenizer, lambda each: _ordered(each, node, tokenizer))


def _with_same_as(
    attribute: Attribute, tokenizer: Tokenizer, compile_condition: Callable[[Attribute], Approximation]
) -> Approximation:
    """Compile a condition for documents with their own tokens, and for those whose value is the same as another attribute's."""
    own = compile_condition(attribute)
    same_as = _profile(attribute, tokenizer).same_as
    if same_as is None:
        return own
    other = compile_condition(Attribute(same_as, attribute.type))
    is_same = _holding(attribute, (tokens.SAME,), tokenizer)
    return Approximation(
        any_of(own.sure, all_of(is_same, other.sure)), any_of(own.possible, all_of(is_same, other.possible))
    )


def _exact(query: TokenQuery) -> Approximation:
    return Approximation(query, query)


def _implied(attribute: Attribute) -> Bucket | None:
    """Return the bucket range of all runs that have a value for an attribute; None for all runs."""
    return _CLOSED if attribute.name in OF_CLOSED_RUNS else None


def _holding(attribute: Attribute, messages: Iterable[bytes], tokenizer: Tokenizer) -> TokenQuery:
    """Return the documents that have a token of any of some messages in their token set."""
    searched = tokenizer.query(attribute.name, messages)
    return AnyOf(searched, _implied(attribute)) if searched else NOTHING


def _equal_to(
    attribute: Attribute, messages: Iterable[bytes], tokenizer: Tokenizer, *, closed: bool = False
) -> TokenQuery:
    """Return the documents that have an equality token of any of some messages, in its column if there is one.

    Args:
        attribute: The attribute.
        messages: The messages of the tokens.
        tokenizer: The tokenizer of the epoch.
        closed: Whether all these documents are of closed runs.
    """
    searched = tokenizer.query(attribute.name, messages)
    implied = _CLOSED if closed else _implied(attribute)
    return AnyOf(searched, implied, tokenizer.layout.column(attribute.name)) if searched else NOTHING


def _profile(attribute: Attribute, tokenizer: Tokenizer) -> Profile:
    return tokenizer.layout.profile(attribute.name, attribute.type)


def _present(attribute: Attribute, tokenizer: Tokenizer) -> Approximation:
    """Compile the condition that an attribute has a value."""
    profile = _profile(attribute, tokenizer)
    if profile.always:
        return _exact(EVERYTHING)
    if profile.bucket == "b1":
        return _exact(_CLOSED)
    if profile.present:
        present = tokenizer.query(attribute.name, (tokens.PRESENT,))
        column = tokenizer.layout.column(attribute.name)
        return _exact(AnyOf(present, column=column, is_presence=column is not None))
    messages: Iterable[bytes]
    if profile.ranges is not None:
        messages = starmap(tokens.range_node, tokens.TREES[profile.ranges].roots())
    elif profile.equality:  # a Bool
        messages = (tokens.equality(attribute.type, value) for value in (False, True))
    else:
        return Approximation(NOTHING, _implied(attribute) or EVERYTHING)
    return _exact(_holding(attribute, messages, tokenizer))


def _undecided(attribute: Attribute, tokenizer: Tokenizer) -> Approximation:
    """Compile a condition that the index has no tokens for: any document with a value may satisfy it."""
    return Approximation(NOTHING, _present(attribute, tokenizer).possible)


def _equal(attribute: Attribute, values: Sequence[Value], tokenizer: Tokenizer) -> Approximation:
    """Compile the condition that an attribute has one of some values."""
    profile = _profile(attribute, tokenizer)
    if not (profile.equality or profile.words or profile.ranges or profile.bucket):
        return _undecided(attribute, tokenizer)
    if attribute.type is AttributeType.TEXT:
        words = frozenset().union(*(split_words(str(value)) for value in values))
        return _exact(_holding(attribute, map(tokens.word, words), tokenizer))
    if attribute.type is AttributeType.DATETIME:
        spans = [_within(attribute, int(value), int(value), tokenizer) for value in values]
        return Approximation(any_of(*(span.sure for span in spans)), any_of(*(span.possible for span in spans)))
    if attribute.type is AttributeType.INT:
        values = [value for value in values if value == int(value) and INT64_MIN <= value <= INT64_MAX]
    messages = (message for value in values for message in tokenizer.equality(attribute.name, attribute.type, value))
    closed = attribute.name == "ExecutionStatus" and OPEN_STATUSES.isdisjoint(values)
    return _exact(_equal_to(attribute, messages, tokenizer, closed=closed))


def _prefix(attribute: Attribute, head: bytes, tokenizer: Tokenizer) -> Approximation:
    """Compile the condition that a value starts with a prefix."""
    profile = _profile(attribute, tokenizer)
    stored = [length for length in profile.prefixes if length <= len(head)]
    if not stored:
        return _undecided(attribute, tokenizer) if head else _present(attribute, tokenizer)
    longest = max(stored)
    sharing = _holding(attribute, (tokens.prefix(head[:longest]),), tokenizer)
    if longest < len(head):
        return Approximation(NOTHING, sharing)
    return _exact(any_of(sharing, _equal_to(attribute, (tokens.encoded_equality(head),), tokenizer)))


def _ordered(attribute: Attribute, node: Compare | Between, tokenizer: Tokenizer) -> Approximation:
    """Compile an order comparison."""
    all_values = _all_values(attribute)
    if all_values:  # search for each value that satisfies the condition, in text order as in Elasticsearch
        satisfying = [value for value in all_values if matches(node, {attribute.name: value})]
        return _equal(attribute, satisfying, tokenizer)
    if attribute.type is AttributeType.KEYWORD:
        return _undecided(attribute, tokenizer)  # tokens do not show the order of texts
    match node:
        case Between(_, low, high):
            return _within(attribute, _at_least(attribute, low), _at_most(attribute, high), tokenizer)
        case Compare(_, ">=", value):
            return _within(attribute, _at_least(attribute, value), INT64_MAX, tokenizer)
        case Compare(_, ">", value):
            return _within(attribute, _at_most(attribute, value) + 1, INT64_MAX, tokenizer)
        case Compare(_, "<=", value):
            return _within(attribute, INT64_MIN, _at_most(attribute, value), tokenizer)
        case Compare(_, _, value):
            return _within(attribute, INT64_MIN, _at_least(attribute, value) - 1, tokenizer)


def _all_values(attribute: Attribute) -> Sequence[Value]:
    """Return all values that an attribute can have, if they are few; otherwise nothing."""
    if attribute.type is AttributeType.BOOL:
        return (False, True)
    return STATUS_NAMES if attribute.name == "ExecutionStatus" else ()


def _at_least(attribute: Attribute, value: Value) -> int:
    """Return the smallest integer on the attribute's range tree that is at least a number."""
    return math.ceil(_on_tree(attribute, value))


def _at_most(attribute: Attribute, value: Value) -> int:
    """Return the largest integer on the attribute's range tree that is at most a number."""
    return math.floor(_on_tree(attribute, value))


def _on_tree(attribute: Attribute, value: Value) -> float:
    if attribute.type is AttributeType.DOUBLE:
        return tokens.asked(float(value))
    number = cast("float", value)
    return min(max(number, 2 * INT64_MIN), 2 * INT64_MAX)  # beyond every stored value, but finite


def _within(attribute: Attribute, low: int, high: int, tokenizer: Tokenizer) -> Approximation:
    """Compile low <= value <= high, for integers on the attribute's range tree."""
    low, high = max(low, INT64_MIN), min(high, INT64_MAX)
    if low > high:
        return _exact(NOTHING)
    profile = _profile(attribute, tokenizer)
    if profile.bucket is not None:
        inside = Bucket(profile.bucket, -(-low // NANOSECONDS), (high + 1) // NANOSECONDS - 1)
        sure = inside if inside.low <= inside.high else NOTHING
        return Approximation(sure, Bucket(profile.bucket, low // NANOSECONDS, high // NANOSECONDS))
    if profile.ranges is None:
        return _undecided(attribute, tokenizer)
    tree = tokens.TREES[profile.ranges]
    nodes = [tree.cover(*leaves) for leaves in tree.leaves(low, high)]
    return Approximation(*(_holding(attribute, starmap(tokens.range_node, each), tokenizer) for each in nodes))
