"""The runs that a list keeps while it is sorted."""

from __future__ import annotations

from strongroom.visibility.search.entries import Entry
from strongroom.visibility.search.page_token import SortedRun
from strongroom.visibility.search.sorting import Candidate, Sorting


def candidates(numbers):
    """Return opened candidates with these ranks."""
    return [
        Candidate((number,), SortedRun((number,), f"run {number}", 1, f"{number:032x}"), Entry((number,), {}, None))
        for number in numbers
    ]


def test_only_the_runs_of_the_page_stay_open():
    """The record of a run may be large. Of the runs of later pages, only the values that they are sorted by are kept."""
    sorting = Sorting([], is_rest=False, wanted=2, most=4, bucket=1)
    sorting.replace(set(), candidates([5, 1, 3, 9, 7]))
    assert [(each.rank, each.entry is not None) for each in sorting.candidates] == [
        ((1,), True),
        ((3,), True),
        ((5,), False),
        ((7,), False),
    ]
    assert sorting.end == (7,)
    sorting.replace({f"{1:032x}"}, candidates([0]))
    assert [each.rank for each in sorting.candidates if each.entry is not None] == [(0,), (3,)]
