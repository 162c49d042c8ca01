"""What is asked of an index: tokens and time buckets, combined. Every backend answers this, and nothing else."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias


@dataclass(frozen=True, slots=True)
class Bucket:
    """Documents whose bucket column lies in [low, high], in seconds."""

    column: Literal["b1", "b2"]
    low: int
    high: int


@dataclass(frozen=True, slots=True)
class AnyOf:
    """Documents that hold at least one of these tokens.

    Attributes:
        tokens: of one attribute.
        implied: where each document that holds one lies anyway; a backend that walks in that order may begin and end there.
        column: in which PostgreSQL has them; None for the bag of all others.
        whole: each document with a token in that column holds one of these, and no other does.
    """

    tokens: frozenset[int]
    implied: Bucket | None = None
    column: str | None = None
    whole: bool = False


@dataclass(frozen=True, slots=True)
class Epoch:
    """Documents whose tokens were made in this epoch of the index key."""

    k: int


@dataclass(frozen=True, slots=True)
class All:
    """Documents that satisfy every item; without items, all documents."""

    items: tuple[TokenQuery, ...] = ()


@dataclass(frozen=True, slots=True)
class Some:
    """Documents that satisfy some item; without items, none."""

    items: tuple[TokenQuery, ...] = ()


@dataclass(frozen=True, slots=True)
class Not:
    """Documents that do not satisfy the item."""

    item: TokenQuery


TokenQuery: TypeAlias = AnyOf | Bucket | Epoch | All | Some | Not
EVERYTHING = All()
NOTHING = Some()


def all_of(*items: TokenQuery) -> TokenQuery:
    """Intersect, without what changes nothing."""
    kept = [item for item in items if item != EVERYTHING]
    if NOTHING in kept:
        return NOTHING
    return kept[0] if len(kept) == 1 else All(tuple(kept))


def any_of(*items: TokenQuery) -> TokenQuery:
    """Unite, without what changes nothing."""
    kept = [item for item in items if item != NOTHING]
    if EVERYTHING in kept:
        return EVERYTHING
    return kept[0] if len(kept) == 1 else Some(tuple(kept))


def none_of(item: TokenQuery) -> TokenQuery:
    """Negate."""
    if item == EVERYTHING:
        return NOTHING
    if item == NOTHING:
        return EVERYTHING
    return item.item if isinstance(item, Not) else Not(item)


def difference(whole: TokenQuery, part: TokenQuery) -> TokenQuery:
    """Return what satisfies `whole` and not `part`.

    Where they differ in one condition of several, that one alone is negated; of two spans of a bucket it is the seconds at the ends,
    which an index finds by themselves. A planner sees neither in a negation of the whole.
    """
    if whole == part:
        return NOTHING
    if isinstance(whole, All) and isinstance(part, All) and len(whole.items) == len(part.items):
        differing = [
            place for place, (one, other) in enumerate(zip(whole.items, part.items, strict=True)) if one != other
        ]
        if len(differing) == 1:
            (place,) = differing
            rest = difference(whole.items[place], part.items[place])
            return all_of(*whole.items[:place], rest, *whole.items[place + 1 :])
    if isinstance(whole, Bucket) and isinstance(part, Bucket) and whole.column == part.column:
        ends = (whole.low, min(whole.high, part.low - 1)), (max(whole.low, part.high + 1), whole.high)
        return any_of(*(Bucket(whole.column, low, high) for low, high in dict.fromkeys(ends) if low <= high))
    return all_of(whole, none_of(part))
