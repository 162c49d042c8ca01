"""Compile the conditions that a document has a token, and that an attribute has a value."""

from __future__ import annotations

from itertools import starmap
from typing import TYPE_CHECKING

from strongroom.visibility.attributes import AttributeType
from strongroom.visibility.backends.token_query import EVERYTHING, NOTHING, AnyOf, Bucket
from strongroom.visibility.fields import OF_CLOSED_RUNS
from strongroom.visibility.index import tokens
from strongroom.visibility.index.buckets import OPEN_RUN

from .approximation import Approximation, exact

if TYPE_CHECKING:
    from collections.abc import Iterable

    from strongroom.visibility.backends.token_query import TokenQuery
    from strongroom.visibility.fields import Profile
    from strongroom.visibility.filter.tree import Attribute
    from strongroom.visibility.index.tokens import Tokenizer

CLOSED = Bucket("b1", -OPEN_RUN, OPEN_RUN - 1)
OPEN = Bucket("b1", OPEN_RUN, OPEN_RUN)


def profile_of(attribute: Attribute, tokenizer: Tokenizer) -> Profile:
    """Return the profile of an attribute in the layout of the tokenizer."""
    return tokenizer.profile(attribute.name, attribute.type)


def _implied(attribute: Attribute) -> Bucket | None:
    """Return the bucket range of all runs that have a value for an attribute; None for all runs."""
    return CLOSED if attribute.name in OF_CLOSED_RUNS else None


def holding(
    attribute: Attribute, messages: Iterable[bytes], tokenizer: Tokenizer, *, exclusive: bool = False
) -> TokenQuery:
    """Return the documents that have a token of any of some messages in their token set.

    Args:
        attribute: The attribute.
        messages: The messages of the tokens.
        tokenizer: The tokenizer of the epoch.
        exclusive: Whether each document has at most one of the tokens.
    """
    searched = tokenizer.query(attribute.name, messages)
    return AnyOf(searched, _implied(attribute), is_exclusive=exclusive) if searched else NOTHING


def equal_to(
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
    implied = CLOSED if closed else _implied(attribute)
    exclusive = attribute.type is not AttributeType.KEYWORD_LIST
    return (
        AnyOf(searched, implied, tokenizer.layout.column(attribute.name), is_exclusive=exclusive)
        if searched
        else NOTHING
    )


def present(attribute: Attribute, tokenizer: Tokenizer) -> Approximation:
    """Compile the condition that an attribute has a value."""
    profile = profile_of(attribute, tokenizer)
    if profile.always:
        return exact(EVERYTHING)
    if profile.bucket == "b1":
        return exact(CLOSED)
    if profile.present:
        searched = tokenizer.query(attribute.name, (tokens.PRESENT,))
        column = tokenizer.layout.column(attribute.name)
        return exact(AnyOf(searched, column=column, is_presence=column is not None))
    messages: Iterable[bytes]
    if profile.ranges is not None:
        messages = starmap(tokens.range_node, tokens.TREES[profile.ranges].roots())
    elif attribute.type is AttributeType.BOOL and profile.equality:
        messages = (tokens.equality(attribute.type, value) for value in (False, True))
    else:
        return Approximation(NOTHING, _implied(attribute) or EVERYTHING)
    return exact(holding(attribute, messages, tokenizer))


def undecided(attribute: Attribute, tokenizer: Tokenizer) -> Approximation:
    """Compile a condition that the index has no tokens for: any document with a value may satisfy it."""
    return Approximation(NOTHING, present(attribute, tokenizer).possible)
