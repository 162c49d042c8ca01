"""The order of a list: open runs first, then by close time, start time and run id, descending; or the order of ORDER BY.

With ORDER BY, runs without a value come last, and equal runs are ordered by run id, descending, as in Temporal. Values compare as
Elasticsearch sorts them: texts by code point, Doubles at four decimals, a list by its least element, or by its greatest one if the
order is descending.
"""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING

from strongroom.visibility.attributes import AttributeType
from strongroom.visibility.index.buckets import close_bucket, start_bucket
from strongroom.visibility.index.doubles import sort_value
from strongroom.visibility.index.ranges import INT64_MAX, INT64_MIN
from strongroom.visibility.index.record import value_reader

from .page_token import Position

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from strongroom.storage import Row
    from strongroom.visibility.filter.tree import Order
    from strongroom.visibility.index.record import AttributeValue, Scalar, VisibilityRecord


@functools.total_ordering
class _Descending:
    """A value that compares in reverse order."""

    __slots__ = ("value",)

    def __init__(self, value: Scalar) -> None:
        self.value = value

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Descending) and self.value == other.value

    def __lt__(self, other: _Descending) -> bool:
        return other.value < self.value  # type: ignore[operator]

    __hash__ = None  # type: ignore[assignment]


def position_of(record: VisibilityRecord, order: Sequence[Order], row: Row, *, is_in_index_order: bool) -> Position:
    """Return the position of a run in a list with an order.

    Args:
        record: The record of the run.
        order: The keys of ORDER BY; empty for the default order.
        row: The row of its document.
        is_in_index_order: Whether the runs of its group are listed in the order of the index.
    """
    values = sorted_values(record, order)
    document = row["id"].hex() if is_in_index_order else None
    close_time = record.close_time
    # The exact seconds, not the buckets of the row, because the next page may come after a rotation to smaller ones.
    buckets = close_bucket(close_time), start_bucket(record.start_time)
    return Position(close_time is None, close_time or 0, record.start_time, record.run_id, values, buckets, document)


def sorted_values(record: VisibilityRecord, order: Sequence[Order]) -> tuple[Scalar | None, ...]:
    """Return the values that a run is sorted by; None for an attribute that it does not have."""
    return tuple(_sorted_by(value_reader(key.attribute.name)(record), key) for key in order)


def ranking(order: Sequence[Order]) -> Callable[[VisibilityRecord], tuple[object, ...]]:
    """Return a function that returns the rank of a run in a list with an order. The first run has the lowest rank."""
    if not order:
        return _default_rank
    readers = [(value_reader(key.attribute.name), key) for key in order]

    def ranked(record: VisibilityRecord) -> tuple[object, ...]:
        keys = [_key(_sorted_by(read(record), key), key) for read, key in readers]
        return (*keys, _Descending(record.run_id))

    return ranked


def _key(value: Scalar | None, key: Order) -> tuple[object, ...]:
    if value is None:
        return (1,)
    return (0, _Descending(value) if key.descending else value)


def _default_rank(record: VisibilityRecord) -> tuple[object, ...]:
    close_time = record.close_time  # as `rank`, without a `Position` for every run of a page
    return (close_time is not None, -(close_time or 0), -record.start_time, _Descending(record.run_id))


def rank(position: Position, order: Sequence[Order]) -> tuple[object, ...]:
    """Return the rank of a position; see `ranking`."""
    if order:
        return rank_of_values(position.values, position.run_id, order)
    return (not position.is_open, -position.close_time, -position.start_time, _Descending(position.run_id))


def rank_of_values(values: Sequence[Scalar | None], run_id: str, order: Sequence[Order]) -> tuple[object, ...]:
    """Return the rank of a run with these values of the ORDER BY attributes; see `ranking`."""
    return (*(_key(value, key) for value, key in zip(values, order, strict=True)), _Descending(run_id))


def _sorted_by(value: AttributeValue | None, key: Order) -> Scalar | None:
    if value is None or value == ():
        if key.attribute.type in (AttributeType.INT, AttributeType.DATETIME):
            # The last number, as in Elasticsearch. A run can have it too.
            return INT64_MIN if key.descending else INT64_MAX
        return None
    if isinstance(value, tuple):
        return max(value) if key.descending else min(value)
    if key.attribute.type is AttributeType.DOUBLE:
        return sort_value(float(value))
    return value
