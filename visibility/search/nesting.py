"""Rewrite deeply nested token queries with fewer levels, because Elasticsearch takes 30 at most.

Alternating ANDs and ORs form a path to the deepest item. Each part of the path is `A or (B and rest)`. Ten parts are joined into one
part, which has two more levels.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, NamedTuple

from strongroom.visibility.backends.token_query import EVERYTHING, NOTHING, All, Not, Some, all_of, any_of, none_of

from .approximation import Approximation

if TYPE_CHECKING:
    from collections.abc import Sequence

    from strongroom.visibility.backends.token_query import TokenQuery

MOST_LEVELS = 20
"""Maximum number of levels of a side. A search adds some: for the namespace, epochs, the difference of two sides, long terms."""
_JOINED = 10
"""Number of parts of a path that are joined at once. Fewer need more levels and fewer clauses."""


class _Part(NamedTuple):
    """The query `either or (both and item)` of the item at the end of a part of a path."""

    either: TokenQuery
    both: TokenQuery


def shallow(sides: Approximation, most: int = MOST_LEVELS) -> Approximation:
    """Return an approximation of the same filter with at most `most` levels.

    If conditions are so nested that no rewriting helps, the two sides differ there, and opened documents decide.
    """
    if levels(sides.sure) <= most and levels(sides.possible) <= most:
        return sides
    return Approximation(
        _fewer(without_negations(sides.sure), most, otherwise=NOTHING),
        _fewer(without_negations(sides.possible), most, otherwise=EVERYTHING),
    )


def levels(query: TokenQuery) -> int:
    """Return how deep a query is nested; 1 for a query without parts."""
    match query:
        case All(items) | Some(items):
            return 1 + max(map(levels, items), default=0)
        case Not(item):
            return 1 + levels(item)
    return 1


def without_negations(query: TokenQuery) -> TokenQuery:
    """Return the same query with negations of single conditions only."""
    match query:
        case All(items):
            return all_of(*map(without_negations, items))
        case Some(items):
            return any_of(*map(without_negations, items))
        case Not(All(items)):
            return any_of(*(without_negations(none_of(item)) for item in items))
        case Not(Some(items)):
            return all_of(*(without_negations(none_of(item)) for item in items))
    return query


def _fewer(query: TokenQuery, most: int, *, otherwise: TokenQuery) -> TokenQuery:
    """Return a query with at most `most` levels. What can't be rewritten is replaced by another query."""
    if levels(query) <= most:
        return query
    parts: list[_Part] = []
    reduced = partial(_fewer, most=most // 2, otherwise=otherwise)
    while isinstance(query, All | Some):
        deepest = max(query.items, key=levels)
        others = [reduced(item) for item in query.items if item is not deepest]
        parts.append(_Part(NOTHING, all_of(*others)) if isinstance(query, All) else _Part(any_of(*others), EVERYTHING))
        query = deepest
    if not parts:  # a negated condition, or no level is left
        return otherwise
    while len(parts) > 1:
        parts = [_joined(parts[at : at + _JOINED]) for at in range(0, len(parts), _JOINED)]
    whole = any_of(parts[0].either, all_of(parts[0].both, query))
    return whole if levels(whole) <= most else otherwise


def _joined(parts: Sequence[_Part]) -> _Part:
    """Return one part for several, each of which is the item of the one before."""
    either: TokenQuery = NOTHING
    both: TokenQuery = EVERYTHING
    for part in parts:
        either, both = any_of(either, all_of(both, part.either)), all_of(both, part.both)
    return _Part(either, both)
