"""Token queries: tokens, time buckets and epochs, combined with AND, OR and NOT. A search index answers nothing else."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Sequence


@dataclass(frozen=True, slots=True)
class Bucket:
    """Documents whose bucket is in [low, high], in seconds."""

    column: Literal["b1", "b2"]
    low: int
    high: int


@dataclass(frozen=True, slots=True)
class AnyOf:
    """Documents that have at least one of some tokens.

    Attributes:
        tokens: The tokens, all of one attribute.
        implied: A bucket range that contains every document with such a token. An index may search this range only.
        column: The PostgreSQL column of the tokens; None for the token set.
        is_presence: Whether the documents are exactly those that have a value in the column.
        is_exclusive: Whether each document has at most one of the tokens, as of a number or a Keyword.
    """

    tokens: frozenset[int]
    implied: Bucket | None = None
    column: str | None = None
    is_presence: bool = False
    is_exclusive: bool = False


@dataclass(frozen=True, slots=True)
class Epoch:
    """Documents whose tokens were made in an epoch of the index key."""

    epoch: int


@dataclass(frozen=True, slots=True)
class All:
    """Documents that satisfy every item. Without items, all documents."""

    items: tuple[TokenQuery, ...] = ()


@dataclass(frozen=True, slots=True)
class Some:
    """Documents that satisfy at least one item. Without items, no document."""

    items: tuple[TokenQuery, ...] = ()


@dataclass(frozen=True, slots=True)
class Not:
    """Documents that do not satisfy the item."""

    item: TokenQuery


TokenQuery: TypeAlias = AnyOf | Bucket | Epoch | All | Some | Not
EVERYTHING = All()
NOTHING = Some()


_FEW = 8
"""Number of items that are not merged. A filter of a program can have thousands, and an index limits the number of its clauses."""


def all_of(*items: TokenQuery) -> TokenQuery:
    """Return the intersection of queries, simplified. Of many items, those that exclude tokens are merged.

    An intersection within it is spread out, because Elasticsearch limits how deep queries are nested. `any_of` does the same.
    """
    kept = [part for item in items for part in conjuncts(item)]
    if len(kept) > _FEW:
        excluded = [item.item for item in kept if isinstance(item, Not) and isinstance(item.item, AnyOf)]
        others = [item for item in kept if not (isinstance(item, Not) and isinstance(item.item, AnyOf))]
        kept = [*others, *(Not(item) for item in _merged(excluded))]
    if NOTHING in kept:
        return NOTHING
    return kept[0] if len(kept) == 1 else All(tuple(kept))


def conjuncts(query: TokenQuery) -> tuple[TokenQuery, ...]:
    """Return the queries that a query joins by AND. An intersection is never an item of another one, see `all_of`."""
    return query.items if isinstance(query, All) else (query,)


def any_of(*items: TokenQuery) -> TokenQuery:
    """Return the union of queries, simplified. Of many items, those that have tokens are merged."""
    kept = [part for item in items for part in (item.items if isinstance(item, Some) else (item,))]
    if len(kept) > _FEW:
        with_tokens = [item for item in kept if isinstance(item, AnyOf)]
        kept = [*(item for item in kept if not isinstance(item, AnyOf)), *_merged(with_tokens)]
    if EVERYTHING in kept:
        return EVERYTHING
    return kept[0] if len(kept) == 1 else Some(tuple(kept))


def _merged(items: Sequence[AnyOf]) -> list[TokenQuery]:
    """Return a union of token sets with one item for each place of the tokens."""
    places: dict[tuple[Bucket | None, str | None, bool], list[frozenset[int]]] = {}
    for item in items:
        places.setdefault((item.implied, item.column, item.is_presence), []).append(item.tokens)
    return [AnyOf(frozenset().union(*tokens), *place) for place, tokens in places.items()]


def none_of(item: TokenQuery) -> TokenQuery:
    """Return the negation of a query, simplified."""
    if item == EVERYTHING:
        return NOTHING
    if item == NOTHING:
        return EVERYTHING
    return item.item if isinstance(item, Not) else Not(item)


def count_tokens(query: TokenQuery) -> int:
    """Return the number of tokens of a query."""
    match query:
        case AnyOf(tokens):
            return len(tokens)
        case All(items) | Some(items):
            return sum(map(count_tokens, items))
        case Not(item):
            return count_tokens(item)
    return 0


def without_implied(query: TokenQuery) -> TokenQuery:
    """Return a query for the same documents without the bucket ranges that its tokens imply.

    A list reads less with such a range. A count does not read it in an index of tokens, so it would have to read every document.
    """
    match query:
        case AnyOf():
            return replace(query, implied=None)
        case All(items):
            return All(tuple(map(without_implied, items)))
        case Some(items):
            return Some(tuple(map(without_implied, items)))
        case Not(item):
            return Not(without_implied(item))
    return query


def _differ_in_tokens(query: AnyOf, excluded: AnyOf) -> bool:
    exclusive = query.is_exclusive and excluded.is_exclusive and query.column == excluded.column
    return exclusive and query.tokens > excluded.tokens


def difference(query: TokenQuery, excluded: TokenQuery) -> TokenQuery:
    """Return a query for the documents that satisfy `query` and not `excluded`.

    Two queries often have conditions in common; then only the others are negated. Two ranges differ in their ends. An index finds
    both faster than the negation of a complete query.
    """
    if query == excluded:
        return NOTHING
    if isinstance(query, Not) and isinstance(excluded, Not):
        return difference(excluded.item, query.item)
    wanted, others = conjuncts(query), conjuncts(excluded)
    if common := frozenset(wanted).intersection(others):
        rest, negated = (all_of(*(item for item in items if item not in common)) for items in (wanted, others))
        return all_of(*(item for item in wanted if item in common), difference(rest, negated))
    if isinstance(query, AnyOf) and isinstance(excluded, AnyOf) and _differ_in_tokens(query, excluded):
        return replace(query, tokens=query.tokens - excluded.tokens)
    if isinstance(query, Bucket) and isinstance(excluded, Bucket) and query.column == excluded.column:
        below = query.low, min(query.high, excluded.low - 1)
        above = max(query.low, excluded.high + 1), query.high
        ends = dict.fromkeys((below, above))
        return any_of(*(Bucket(query.column, low, high) for low, high in ends if low <= high))
    return all_of(query, none_of(excluded))
