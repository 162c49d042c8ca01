"""The order of a list: open runs first, then the latest to close; or by what ORDER BY names, runs without a value last.

Equal ones are told apart by their run ids, descending, as in Temporal.

Values compare as Elasticsearch sorts them: texts by code point, Doubles at four decimals, a list by its least element, or by its
greatest where it is descending.
"""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING

from strongroom.visibility.attributes import AttributeType
from strongroom.visibility.index.ranges import INT64_MAX, INT64_MIN
from strongroom.visibility.index.tokens import DOUBLE_SCALE, scaled

from .page_token import Position

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from strongroom.visibility.filter.tree import Order
    from strongroom.visibility.index.record import AttributeValue, Scalar, VisibilityRecord


@functools.total_ordering
class _Falling:
    """A value that is ordered the other way round."""

    __slots__ = ("value",)

    def __init__(self, value: Scalar) -> None:
        self.value = value

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Falling) and self.value == other.value

    def __lt__(self, other: _Falling) -> bool:
        return other.value < self.value  # type: ignore[operator]

    __hash__ = None  # type: ignore[assignment]


def position(record: VisibilityRecord, order: Sequence[Order]) -> Position:
    """Return a run's place in a list that is ordered so."""
    values: tuple[Scalar | None, ...] = ()
    if order:
        attributes = record.attributes()
        values = tuple(_sorted_by(attributes.get(key.attribute.name), key) for key in order)
    return Position(record.close_time is None, record.close_time or 0, record.start_time, record.run_id, values)


def ranking(order: Sequence[Order]) -> Callable[[VisibilityRecord], tuple[object, ...]]:
    """Return a function that gives what runs are compared by in a list that is ordered so; the first run has the least."""
    if order:
        return lambda record: rank(position(record, order), order)
    return _default_rank


def _default_rank(record: VisibilityRecord) -> tuple[object, ...]:
    close_time = record.close_time  # as `rank`, without the place that most runs of a page have no need of
    return (close_time is not None, -(close_time or 0), -record.start_time, _Falling(record.run_id))


def rank(place: Position, order: Sequence[Order]) -> tuple[object, ...]:
    """Return what a place is compared by; see `ranking`."""
    named: list[object] = []
    for value, key in zip(place.values, order, strict=True):
        if value is None:
            named.append((1,))
        else:
            named.append((0, _Falling(value) if key.descending else value))
    if not order:
        named = [not place.is_open, -place.close_time, -place.start_time]
    return (*named, _Falling(place.run_id))


def _sorted_by(value: AttributeValue | None, key: Order) -> Scalar | None:
    if value is None or value == ():
        if key.attribute.type in (AttributeType.INT, AttributeType.DATETIME):
            return INT64_MIN if key.descending else INT64_MAX  # as the farthest number, which a run may have too
        return None
    if isinstance(value, tuple):
        return max(value) if key.descending else min(value)
    if key.attribute.type is AttributeType.DOUBLE:
        return scaled(float(value)) * (1.0 / DOUBLE_SCALE)  # a float again: beyond 2^53 neighbours are equal, as there
    return value
