"""Compile a filter into two token queries, a narrow and a wide one: sure ⊆ filter ⊆ possible (DESIGN.md, "Two sides").

Tokens can be coarser than a filter: prefixes are stored at a few lengths, and a range can end inside a leaf. Answers are exact
nevertheless. A list opens every possible document and keeps those that satisfy the filter. A count adds the sure documents to those
that it opened: the possible documents that are not sure. NOT swaps the two sides. Negating only one side would lose rows silently.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from strongroom.visibility.attributes import AttributeType
from strongroom.visibility.backends.token_query import (
    NOTHING,
    Epoch,
    all_of,
    any_of,
    none_of,
)
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
    merged_alternatives,
)
from strongroom.visibility.index import tokens
from strongroom.visibility.index.doubles import scaled
from strongroom.visibility.index.ranges import INT64_MAX, INT64_MIN
from strongroom.visibility.index.tokens import Tokenizer
from strongroom.visibility.index.words import split_words

from .approximation import Approximation, exact
from .evaluate import matches
from .nesting import shallow
from .range_conditions import ordered, within
from .text_conditions import ordered_texts
from .token_conditions import equal_to, holding, present, profile_of, undecided

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from strongroom.kms import NamespaceKeys
    from strongroom.visibility.backends.token_query import TokenQuery
    from strongroom.visibility.filter.tree import Value


MOST_TOKENS = 2**18
"""Maximum number of tokens of a condition: 1,024 ids with `strict` have as many. More need some 100 MB, so documents are opened."""


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
    sides = [shallow(compile_filter(node, Tokenizer(keys, epoch=epoch))) for epoch in epochs]
    if len(sides) == 1:
        return sides[0]
    return Approximation(
        any_of(*(all_of(Epoch(epoch), side.sure) for epoch, side in zip(epochs, sides, strict=True))),
        any_of(*(all_of(Epoch(epoch), side.possible) for epoch, side in zip(epochs, sides, strict=True))),
    )


def same_as_start(attribute: Attribute, keys: NamespaceKeys) -> TokenQuery | None:
    """Return the documents whose value for an attribute is their StartTime; None if a layout does not show this."""
    queries = []
    for epoch in keys.epochs():
        tokenizer = Tokenizer(keys, epoch=epoch)
        if profile_of(attribute, tokenizer).same_as != "StartTime":
            return None
        queries.append(all_of(Epoch(epoch), holding(attribute, (tokens.SAME,), tokenizer)))
    return any_of(*queries)


def compile_filter(node: Node, tokenizer: Tokenizer) -> Approximation:
    """Compile a filter for the documents of one epoch."""
    match node:
        case And(items):
            parts = _conjuncts(items, tokenizer)
            return Approximation(all_of(*(part.sure for part in parts)), all_of(*(part.possible for part in parts)))
        case Or(items):
            parts = [compile_filter(item, tokenizer) for item in merged_alternatives(items)]
            return Approximation(any_of(*(part.sure for part in parts)), any_of(*(part.possible for part in parts)))
        case Not(item):
            inner = compile_filter(item, tokenizer)
            return Approximation(none_of(inner.possible), none_of(inner.sure))
        case IsNull(attribute):
            having = _with_same_as(attribute, tokenizer, lambda each: present(each, tokenizer))
            return Approximation(none_of(having.possible), none_of(having.sure))
        case Compare(attribute, "=", value):
            return _with_same_as(attribute, tokenizer, lambda each: _equal(each, (value,), tokenizer))
        case In(attribute, values):
            return _with_same_as(attribute, tokenizer, lambda each: _equal(each, values, tokenizer))
        case StartsWith(attribute, head):
            encoded = head.encode("utf-8", "surrogatepass")
            return _with_same_as(attribute, tokenizer, lambda each: _prefix(each, encoded, tokenizer))
        case Compare() | Between():
            return _with_same_as(node.attribute, tokenizer, lambda each: _ordered(each, node, tokenizer))


def _conjuncts(items: Sequence[Node], tokenizer: Tokenizer) -> list[Approximation]:
    """Compile the items of an AND. Bounds of one number or time are one range, whose ends alone are opened."""
    ranges: dict[Attribute, list[Compare | Between]] = {}
    others: list[Node] = []
    for item in items:
        if isinstance(item, Compare | Between) and _is_bound(item, tokenizer):
            ranges.setdefault(item.attribute, []).append(item)
        else:
            others.append(item)
    compiled = [compile_filter(item, tokenizer) for item in others]
    return [*(_range(attribute, nodes, tokenizer) for attribute, nodes in ranges.items()), *compiled]


def _is_bound(node: Compare | Between, tokenizer: Tokenizer) -> bool:
    profile = profile_of(node.attribute, tokenizer)
    of_numbers = node.attribute.type in (AttributeType.INT, AttributeType.DOUBLE, AttributeType.DATETIME)
    is_equality = isinstance(node, Compare) and node.operator == "="
    return (of_numbers or profile.includes_whole) and not is_equality and profile.same_as is None


def _range(attribute: Attribute, nodes: Sequence[Compare | Between], tokenizer: Tokenizer) -> Approximation:
    """Compile order comparisons of one number, time or text. All of them must hold."""
    return (ordered_texts if attribute.type is AttributeType.KEYWORD else ordered)(attribute, nodes, tokenizer)


def _with_same_as(
    attribute: Attribute, tokenizer: Tokenizer, compile_condition: Callable[[Attribute], Approximation]
) -> Approximation:
    """Compile a condition for documents with their own tokens, and for those whose value is the same as another attribute's."""
    own = compile_condition(attribute)
    profile = profile_of(attribute, tokenizer)
    same_as = profile.same_as
    if same_as is None:
        return own
    other = compile_condition(Attribute(same_as, attribute.type))
    if profile.hides_same:  # no token shows that both values are equal
        return Approximation(own.sure, any_of(own.possible, other.possible))
    is_same = holding(attribute, (tokens.SAME,), tokenizer)
    return Approximation(
        any_of(own.sure, all_of(is_same, other.sure)), any_of(own.possible, all_of(is_same, other.possible))
    )


def _equal(attribute: Attribute, values: Sequence[Value], tokenizer: Tokenizer) -> Approximation:
    """Compile the condition that an attribute has one of some values."""
    profile = profile_of(attribute, tokenizer)
    if not (profile.equality or profile.words or profile.ranges or profile.bucket):
        return undecided(attribute, tokenizer)
    if attribute.type is AttributeType.TEXT:
        words = frozenset().union(*(split_words(str(value)) for value in values))
        return exact(holding(attribute, map(tokens.word, words), tokenizer))
    if attribute.type is AttributeType.DATETIME:
        spans = [within(attribute, int(value), int(value), tokenizer) for value in values]
        return Approximation(any_of(*(span.sure for span in spans)), any_of(*(span.possible for span in spans)))
    if attribute.type is AttributeType.INT:
        values = [value for value in values if value == int(value) and INT64_MIN <= value <= INT64_MAX]
    if attribute.type is AttributeType.DOUBLE:
        return _equal_doubles(attribute, values, tokenizer)
    if len(values) * max(profile.salts, 1) > MOST_TOKENS:
        return undecided(attribute, tokenizer)
    messages = (message for value in values for message in tokenizer.equality(attribute.name, attribute.type, value))
    closed = attribute.name == "ExecutionStatus" and OPEN_STATUSES.isdisjoint(values)
    return exact(equal_to(attribute, messages, tokenizer, closed=closed))


def _equal_doubles(attribute: Attribute, values: Sequence[Value], tokenizer: Tokenizer) -> Approximation:
    """Compile the condition that a Double has one of some values. Values beyond int64 share a token, so they are not sure."""
    of_one = [value for value in values if not tokens.is_limited(scaled(float(value)))]
    sure, possible = (
        equal_to(attribute, map(tokens.equal_to(attribute.type), chosen), tokenizer) for chosen in (of_one, values)
    )
    return Approximation(sure, possible)


def _prefix(attribute: Attribute, head: bytes, tokenizer: Tokenizer) -> Approximation:
    """Compile the condition that a value starts with a prefix."""
    profile = profile_of(attribute, tokenizer)
    stored = [length for length in profile.prefixes if length <= len(head)]
    if not stored:
        return undecided(attribute, tokenizer) if head else present(attribute, tokenizer)
    longest = max(stored)
    sharing = holding(attribute, (tokens.prefix(head[:longest]),), tokenizer)
    if longest < len(head):
        return Approximation(NOTHING, sharing)
    if profile.includes_whole:
        return exact(sharing)
    return exact(any_of(sharing, equal_to(attribute, (tokens.encoded_equality(head),), tokenizer)))


def _ordered(attribute: Attribute, node: Compare | Between, tokenizer: Tokenizer) -> Approximation:
    """Compile an order comparison."""
    all_values = _all_values(attribute)
    if all_values:  # search for each value that satisfies the condition, in text order as in Elasticsearch
        satisfying = [value for value in all_values if matches(node, {attribute.name: value})]
        return _equal(attribute, satisfying, tokenizer)
    if attribute.type is AttributeType.KEYWORD and not profile_of(attribute, tokenizer).includes_whole:
        return undecided(attribute, tokenizer)  # tokens do not show the order of texts
    return _range(attribute, (node,), tokenizer)


def _all_values(attribute: Attribute) -> Sequence[Value]:
    """Return all values that an attribute can have, if they are few; otherwise nothing."""
    if attribute.type is AttributeType.BOOL:
        return (False, True)
    return STATUS_NAMES if attribute.name == "ExecutionStatus" else ()
