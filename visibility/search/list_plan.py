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
class ListPlan:
    """The plan of a list.

    Attributes:
        order: The order in which the documents are read.
        group: Function that returns the group of a document from its two buckets, b1 and b2. A group is one or both columns of the
            order; the last one is divided by the width of the buckets.
        bucket: Width of the buckets in seconds.
        is_sorted: Whether a group is always sorted. Otherwise a group of very many runs is listed in the order of the index.
        parts: Queries of the parts of the list. All documents of a part come before those of the next one. Only the last part has
            open runs if there are several.
    """

    order: IndexOrder
    group: Callable[[int, int], Group]
    bucket: int
    is_sorted: bool
    parts: tuple[TokenQuery, ...] = (EVERYTHING,)

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
        for part in self.parts[number:]:
            async for rows in reader.pages(all_of(query, part), order=self.order, start=start, chunk=chunk):
                yield rows
            start = None

    def _resumed(self, after: Position) -> tuple[int, IndexPosition]:
        """Return the part and the position at which the list goes on."""
        b1, b2 = after.buckets
        if after.document is None:
            *before, last = self.group(b1, b2)
            first = last * self.bucket + (self.bucket - 1 if self.order.descending else 0)
            return 0, IndexPosition((*before, first))
        buckets = tuple(b1 if column == "b1" else b2 for column in self.order.columns)
        number = len(self.parts) - 1 if b1 == OPEN_RUN else 0
        return number, IndexPosition(buckets, bytes.fromhex(after.document))


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

    return ListPlan(LIST_ORDER, group, bucket, is_sorted=bucket > 1)


def by_start(*, descending: bool, is_sorted: bool) -> ListPlan:
    """Return the plan of ORDER BY StartTime, for buckets of a second."""

    def group(b1: int, b2: int) -> Group:
        del b1
        return (b2,)

    return ListPlan(IndexOrder(("b2", "b1"), descending), group, 1, is_sorted)


def _by_close(bucket: int, *, descending: bool, is_sorted: bool) -> ListPlan:
    """Return the plan of ORDER BY CloseTime. Open runs come last.

    An open run sorts like the last possible close time, as in Elasticsearch. So closed runs of that bucket are in the same group.
    """
    last = (_FIRST_SECOND if descending else _LAST_SECOND) // bucket

    def group(b1: int, b2: int) -> Group:
        del b2
        number = b1 // bucket
        return (last,) if b1 == OPEN_RUN or (number <= last if descending else number >= last) else (number,)

    parts = (CLOSED, OPEN) if descending else (EVERYTHING,)
    return ListPlan(IndexOrder(("b1", "b2"), descending), group, bucket, is_sorted, parts)
