"""Make the tokens of a batch of documents, attribute by attribute. The token of each distinct value is made once.

Most values occur in a batch more than once, so this is cheaper than one document after another. Nothing is kept between batches,
because a cache of values and their tokens would outlive the keys.
"""

from __future__ import annotations

from collections import defaultdict
from functools import partial
from itertools import compress
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

from strongroom.storage.visibility_rows.records import HASHED_COLUMNS
from strongroom.visibility.attributes import AttributeType

from .tokens import (
    PRESENT,
    SAME,
    TREES,
    encoder,
    equal_to,
    filler,
    first_group_token,
    group_token,
    grouped,
    number_on_tree,
    prefix,
    range_node,
    salted,
    word,
)
from .words import split_words

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from strongroom.kms import TokenKey
    from strongroom.visibility.fields import Profile

    from .record import AttributeValue
    from .tokens import Tokenizer

DocumentTokens: TypeAlias = tuple[tuple[int, ...], tuple[int | None, ...]]
"""The token set in ascending order, then the tokens of `HASHED_COLUMNS`. The order hides which attribute a token belongs to."""


class _Draft(NamedTuple):
    """A document whose tokens are being made."""

    attributes: Mapping[str, AttributeValue]
    token_set: set[int]
    hashes: list[int | None]


def tokens_of(
    tokenizer: Tokenizer, batch: Iterable[Mapping[str, AttributeValue]], types: Mapping[str, AttributeType]
) -> list[DocumentTokens]:
    """Return the tokens of documents.

    Args:
        tokenizer: The tokenizer of the documents' epoch.
        batch: The attributes of each document.
        types: The types of all attributes that occur.
    """
    documents = [_Draft(attributes, set(), [None] * len(HASHED_COLUMNS)) for attributes in batch]
    documents_with: dict[str, list[_Draft]] = defaultdict(list)
    for document in documents:
        for name in document.attributes:
            documents_with[name].append(document)
    for name, owners in documents_with.items():
        _add_attribute(tokenizer, name, types[name], owners)
    if tokenizer.layout.token_class > 1:
        for document in documents:
            _fill(tokenizer, document)
    return [(tuple(sorted(document.token_set)), tuple(document.hashes)) for document in documents]


def _add_attribute(tokenizer: Tokenizer, name: str, attribute_type: AttributeType, documents: Sequence[_Draft]) -> None:
    """Add the tokens of one attribute to the documents that have it."""
    key, layout = tokenizer.key(name), tokenizer.layout
    profile, column = tokenizer.profile(name, attribute_type), layout.column(name)
    if profile.same_as is not None:
        documents = _add_same(key, name, profile.same_as, documents, hidden=profile.hides_same)
    if not documents:
        return
    token_sets = [document.token_set for document in documents]
    values: list[Any] = [document.attributes[name] for document in documents]
    if profile.present and not profile.always:
        _add(key, token_sets, [PRESENT] * len(token_sets))
    if attribute_type is AttributeType.KEYWORD_LIST:
        token_sets, values = _flatten(token_sets, values)
    if profile.salted:
        counts = [profile.salts or layout.salts.get(value, 1) for value in values]
        salts = [_salt(key, document) % count for document, count in zip(documents, counts, strict=True)]
        _add(key, token_sets, [salted(attribute_type, value, salt) for value, salt in zip(values, salts, strict=True)])
    elif column is not None:
        column_index = HASHED_COLUMNS.index(column)
        for document, token in zip(documents, _make(key, values, equal_to(attribute_type)), strict=True):
            document.hashes[column_index] = token
    elif profile.equality:
        _add(key, token_sets, values, equal_to(attribute_type))
    _add_group_tokens(tokenizer, name, attribute_type, token_sets, values)
    _add_parts(key, profile, attribute_type, token_sets, values)


def _add_group_tokens(
    tokenizer: Tokenizer,
    name: str,
    attribute_type: AttributeType,
    token_sets: Sequence[set[int]],
    values: Sequence[Any],
) -> None:
    """Add the group token of each value, if the attribute has them."""
    if tokenizer.layout.has_group_tokens(name, attribute_type):
        key = tokenizer.key(name)
        first = first_group_token(key)
        for token_set, number in zip(token_sets, _make(key, values, grouped(attribute_type)), strict=True):
            token_set.add(group_token(first, number))


def _add_parts(
    key: TokenKey,
    profile: Profile,
    attribute_type: AttributeType,
    token_sets: Sequence[set[int]],
    values: Sequence[Any],
) -> None:
    """Add the tokens of prefixes, words and range nodes."""
    if profile.prefixes:
        encoded = list(map(encoder(attribute_type), values))
        for length in profile.prefixes:
            shortest = length + (not profile.includes_whole)
            is_long = [len(value) >= shortest for value in encoded]
            heads = [value[:length] for value in compress(encoded, is_long)]
            _add(key, compress(token_sets, is_long), heads, prefix)
    if profile.words:
        words = {value: split_words(value) for value in set(values)}
        _add(key, *_flatten(token_sets, [words[value] for value in values]), word)
    if profile.ranges is not None:
        numbers = [number_on_tree(attribute_type, value) for value in values]
        for level, nodes in TREES[profile.ranges].nodes(numbers):
            _add(key, token_sets, nodes, partial(range_node, level))


def _add_same(key: TokenKey, name: str, other: str, documents: Sequence[_Draft], *, hidden: bool) -> list[_Draft]:
    """Add the token for "same as the other attribute" where it applies, unless it is hidden; return the other documents."""
    is_same = [document.attributes[name] == document.attributes[other] for document in documents]
    if not hidden:
        _add(key, [document.token_set for document in compress(documents, is_same)], [SAME] * sum(is_same))
    return [document for document, same in zip(documents, is_same, strict=True) if not same]


def _add(
    key: TokenKey, token_sets: Iterable[set[int]], parts: Sequence[Any], message: Callable[[Any], bytes] = bytes
) -> None:
    """Add the token of each part to the token set in the same position."""
    for token_set, token in zip(token_sets, _make(key, parts, message), strict=True):
        token_set.add(token)


def _make(key: TokenKey, parts: Sequence[Any], message: Callable[[Any], bytes]) -> list[int]:
    """Return the token of each part's message."""
    if len(parts) == 1:  # the usual case: a service writes most runs one by one
        return key.numbers([message(parts[0])])
    distinct = list(set(parts))
    tokens = dict(zip(distinct, key.numbers([message(part) for part in distinct]), strict=True))
    return [tokens[part] for part in parts]


def _flatten(token_sets: Sequence[set[int]], values: Sequence[Iterable[str]]) -> tuple[list[set[int]], list[str]]:
    """Return all elements of values, each with the token set of its document."""
    pairs = list(zip(token_sets, values, strict=True))
    return [token_set for token_set, value in pairs for _ in value], [item for _, value in pairs for item in value]


def _fill(tokenizer: Tokenizer, document: _Draft) -> None:
    """Fill a token set with meaningless tokens, so that it does not show how many attributes the run has."""
    missing = -len(document.token_set) % tokenizer.layout.token_class
    run_id = str(document.attributes["RunId"])
    document.token_set.update(tokenizer.key("").numbers([filler(number, run_id) for number in range(missing)]))


def _salt(key: TokenKey, document: _Draft) -> int:
    """Return the number that selects the salt of a run.

    It depends on the attribute's key and the run alone: not on other attributes, and rewriting a run reveals nothing.
    """
    return int.from_bytes(key.token(b"%" + str(document.attributes["RunId"]).encode())[:8], "big")
