"""An answer of a part of the shards is an error. It would look like an answer that misses runs."""

from __future__ import annotations

import pytest

from strongroom.visibility import SearchIndexUnavailable
from strongroom.visibility.backends.elasticsearch.answers import refreshed, searched

NOTHING = {"total": {"value": 0, "relation": "eq"}, "hits": []}


@pytest.mark.parametrize(
    "shards",
    [
        {"total": 5, "successful": 3, "skipped": 0, "failed": 0},
        {"total": 5, "successful": 4, "skipped": 0, "failed": 1},
        {"total": 1, "successful": 0, "skipped": 0, "failed": 0},
    ],
)
def test_a_search_that_some_shards_did_not_answer_is_refused(shards):
    """A shard without a copy is in `total` alone, and not in `failed`."""
    with pytest.raises(SearchIndexUnavailable, match="some shards"):
        searched({"timed_out": False, "_shards": shards, "hits": NOTHING})


def test_skipped_shards_and_missing_replicas_are_no_failures():
    """A skipped shard counts as successful, and a refresh counts replicas that are nowhere."""
    whole = {"timed_out": False, "_shards": {"total": 5, "successful": 5, "skipped": 4, "failed": 0}, "hits": NOTHING}
    assert searched(whole) == whole
    refreshed({"_shards": {"total": 2, "successful": 1, "failed": 0}})
