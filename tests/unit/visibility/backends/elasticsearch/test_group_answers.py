"""An answer with groups that this index can't have is refused with the error of such answers, whatever its keys are."""

from __future__ import annotations

import pytest

from strongroom.visibility import SearchIndexAnswerError
from strongroom.visibility.backends.elasticsearch.answers import group_counts

FIRST, SECOND = "0123456789abcdef", "f" * 16


def answer(*keys):
    """Return the body of an answer with a document in each group."""
    buckets = [{"key": key, "doc_count": 1} for key in keys]
    groups = {"buckets": buckets, "sum_other_doc_count": 0, "doc_count_error_upper_bound": 0}
    return {"aggregations": {"groups": groups}}


@pytest.mark.parametrize(
    "keys",
    [
        (f"{FIRST} {SECOND}",),
        (FIRST, f"{SECOND} {FIRST}"),
        ("",),
        (FIRST, ""),
        (f"{FIRST} ",),
        (FIRST[:15],),
        (FIRST.upper(),),
        (FIRST, 5),
        (FIRST, None),
        (FIRST, FIRST),
    ],
)
def test_other_keys_are_refused(keys):
    """Two keys in one, no key, other characters, other types, and a key that comes twice."""
    with pytest.raises(SearchIndexAnswerError):
        group_counts(answer(*keys), "groups", most=10)


def test_groups_are_counted_by_token():
    """Control: the keys that the index writes."""
    assert group_counts(answer(FIRST, SECOND), "groups", most=10) == {int(FIRST, 16): 1, int(SECOND, 16): 1}
    assert group_counts(answer(), "groups", most=10) == {}
