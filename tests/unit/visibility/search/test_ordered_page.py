"""A page of a list in the order of the index: each run says whether its group was sorted, so that the next page goes on after it."""

from __future__ import annotations

from uuid import UUID

import pytest

from strongroom.visibility import InvalidPageToken, Layout, parse_filter
from strongroom.visibility.search.compiler import compile_query
from strongroom.visibility.search.entries import Entry
from strongroom.visibility.search.list_plan import list_plan
from strongroom.visibility.search.listing import OrderedPage, listed_page
from strongroom.visibility.search.page_token import ListState, Position
from strongroom.visibility.search.prepared import Earlier, PreparedFilter
from tests.support.index_keys import index_keys


def entries(group, count):
    """Return runs of one second, in the order of the index, which is not that of their ranks."""
    return [
        Entry((group, number * 7 % count), {"id": UUID(int=group * 100 + number)}, None, (group,))
        for number in range(count)
    ]


def test_two_adjacent_groups_are_both_marked_as_in_the_order_of_the_index():
    """A page that ends with the first of two large seconds goes on after its last run, and repeats none."""
    page = OrderedPage(6, list_plan((), 1), None, (), sorted_runs=2)
    first, second, third = entries(1, 5), entries(2, 5), entries(3, 2)
    page.add(first[:3], is_complete=False)
    page.add(first[3:], is_complete=True)
    page.add(second, is_complete=False)
    page.add(third, is_complete=True)
    assert [entry.row for entry in page.entries[:10]] == [entry.row for entry in (*first, *second)]
    assert [entry.is_in_index_order for entry in page.entries] == [True] * 10 + [False] * 2


@pytest.mark.parametrize("order", ["", "ORDER BY StartTime", "ORDER BY CloseTime", "ORDER BY WorkflowId"])
async def test_a_token_in_the_order_of_the_index_is_refused_after_the_buckets_became_wider(order):
    """The list would go on in another order, and skip or repeat runs."""
    keys, parsed = index_keys(Layout("strict", {}, 60, 4096), 1), parse_filter(order, {})
    prepared = PreparedFilter(keys, parsed, compile_query(parsed.where, keys), Earlier())
    values = (10**9,) if "Time" in order else ("w",) if order else ()
    after = ListState(Position(False, 2 * 10**9, 10**9, "r", values, (2, 1), document=UUID(int=1).hex))
    with pytest.raises(InvalidPageToken):
        await listed_page(None, prepared, after=after, page_size=10, until=0.0)
