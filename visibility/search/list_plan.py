"""How an index returns a list in order: which documents one after the other, and which of them are still to be sorted.

An index knows buckets, not exact times. So runs whose documents share a bucket form a *group*. Every run of a group comes before the
next group, and the caller sorts the runs of a group by their opened values.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from strongroom.visibility.backends.search_index import LIST_ORDER, IndexOrder, IndexPosition
from strongroom.visibility.backends.token_query import EVERYTHING, all_of
from strongroom.visibility.index.buckets import OPEN_RUN
from strongroom.visibility.index.ranges import INT64_MAX, INT64_MIN, NANOSECONDS

from .token_conditions import CLOSED, OPEN

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Sequence
    from typing import TypeAlias

    from strongroom.storage import Row
    from strongroom.visibility.backends.search_index import IndexReader
    from strongroom.visibility.backends.token_query import TokenQuery
    from strongroom.visibility.filter.tree import Order

    from .page_token import Position

    Group: TypeAlias = tuple[int, ...]

_FIRST_SECOND, _LAST_SECOND = INT64_MIN // NANOSECONDS, INT64_MAX // NANOSECONDS


@dataclass(frozen=True, slots=True)
class Leg:
    """A part of a list. The documents of a leg come before those of the next one.

    Attributes:
        within: The documents of the leg.
        order: Their order.
    """

    within: TokenQuery
    order: IndexOrder


@dataclass(frozen=True, slots=True)
class ListPlan:
    """The plan of a list.

    Attributes:
        legs: The parts of the list.
        group: Function that returns the group of a document from its two buckets, b1 and b2.
        start: Function that returns the leg and the position at which the group of two buckets starts.
        is_sorted: Whether a group is always sorted. Otherwise a group of very many runs is listed in the order of the index.
    """

    legs: tuple[Leg, ...]
    group: Callable[[int, int], Group]
    start: Callable[[int, int], tuple[int, IndexPosition]]
    is_sorted: bool

    def group_of(self, row: Row) -> Group:
        """Return the group of a document."""
        return self.group(row["b1"], row["b2"])

    async def pages(
        self, reader: IndexReader, query: TokenQuery, *, after: Position | None, chunk: int
    ) -> AsyncIterator[Sequence[Row]]:
        """Yield the documents of a query in the order of the list.

        Args:
            reader: The reader of the index.
            query: The query.
            after: The position of the last run that was listed. The documents of its group come again, unless the group is listed in
                the order of the index. None for the beginning.
            chunk: Maximum number of documents in the first page.
        """
        number, start = (0, None) if after is None else self._resumed(after)
        for leg in self.legs[number:]:
            async for rows in reader.pages(all_of(query, leg.within), order=leg.order, start=start, chunk=chunk):
                yield rows
            start = None

    def _resumed(self, after: Position) -> tuple[int, IndexPosition]:
        number, start = self.start(*after.buckets)
        if after.document is None:
            return number, start
        number = self._leg_of(*after.buckets)
        values = dict(zip(("b1", "b2"), after.buckets, strict=True))
        buckets = tuple(values[column] for column in self.legs[number].order.columns)
        return number, IndexPosition(buckets, bytes.fromhex(after.document))

    def _leg_of(self, b1: int, b2: int) -> int:
        del b2
        return len(self.legs) - 1 if b1 == OPEN_RUN else 0


def list_plan(order: Sequence[Order], bucket: int) -> ListPlan | None:
    """Return the plan of a list.

    Args:
        order: The keys of ORDER BY; empty for the default order.
        bucket: Width of the coarsest buckets of the namespace, in seconds. If it is 1, every bucket is the exact second.

    Returns:
        The plan; None if the index can't order the documents, so that all of them must be sorted by their opened values.
    """
    if not order:
        return _by_default(bucket)
    key, is_sorted = order[0], len(order) > 1 or bucket > 1
    if key.attribute.name == "CloseTime":
        return _by_close(bucket, descending=key.descending, is_sorted=is_sorted)
    if key.attribute.name == "StartTime" and bucket == 1:  # wider buckets do not show the start of a closed run
        return by_start(descending=key.descending, is_sorted=is_sorted)
    return None


def _by_default(bucket: int) -> ListPlan:
    def group(b1: int, b2: int) -> Group:
        return (OPEN_RUN, b2 // bucket) if b1 == OPEN_RUN else (b1 // bucket,)

    def start(b1: int, b2: int) -> tuple[int, IndexPosition]:
        last_second = (b2 if b1 == OPEN_RUN else b1) // bucket * bucket + bucket - 1
        return 0, IndexPosition((OPEN_RUN, last_second) if b1 == OPEN_RUN else (last_second,))

    return ListPlan((Leg(EVERYTHING, LIST_ORDER),), group, start, is_sorted=bucket > 1)


def by_start(*, descending: bool, is_sorted: bool) -> ListPlan:
    """Return the plan of ORDER BY StartTime, for buckets of a second."""

    def group(b1: int, b2: int) -> Group:
        del b1
        return (b2,)

    def start(b1: int, b2: int) -> tuple[int, IndexPosition]:
        del b1
        return 0, IndexPosition((b2,))

    return ListPlan((Leg(EVERYTHING, IndexOrder(("b2", "b1"), descending)),), group, start, is_sorted)


def _by_close(bucket: int, *, descending: bool, is_sorted: bool) -> ListPlan:
    """Return the plan of ORDER BY CloseTime. Open runs come last.

    An open run sorts like the last possible close time, as in Elasticsearch. So closed runs of that bucket are in the same group.
    """
    last = (_FIRST_SECOND if descending else _LAST_SECOND) // bucket

    def group(b1: int, b2: int) -> Group:
        del b2
        number = b1 // bucket
        return (last,) if b1 == OPEN_RUN or (number <= last if descending else number >= last) else (number,)

    def start(b1: int, b2: int) -> tuple[int, IndexPosition]:
        (number,) = group(b1, b2)
        return 0, IndexPosition((number * bucket + (bucket - 1 if descending else 0),))

    order = IndexOrder(("b1", "b2"), descending)
    legs = (Leg(CLOSED, order), Leg(OPEN, order)) if descending else (Leg(EVERYTHING, order),)
    return ListPlan(legs, group, start, is_sorted)
