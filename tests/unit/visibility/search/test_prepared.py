"""A filter is prepared once per text, and is cached no longer than the keys."""

from __future__ import annotations

import gc

import pytest

from strongroom.visibility import AttributeType, Layout, UnknownAttribute, new_layout
from strongroom.visibility.backends.token_query import count_tokens
from strongroom.visibility.search.compiler import compile_query
from strongroom.visibility.search.prepared import Earlier, PreparedFilters
from tests.support.index_keys import index_keys

TYPES = {"Customer": AttributeType.KEYWORD}
QUERY = "Customer = 'c'"


def test_a_filter_is_prepared_once_for_the_same_keys_text_and_types():
    """The second call returns the compiled filter of the first."""
    prepared, keys = PreparedFilters(), index_keys(Layout(), 1)
    first = prepared.prepare(keys, QUERY, TYPES)
    assert prepared.prepare(keys, QUERY, dict(TYPES)).compiled is first.compiled
    assert first.compiled == compile_query(first.parsed.where, keys)


def test_other_keys_or_types_get_a_filter_of_their_own():
    """Tokens of other keys find nothing, and a name can be registered again with another type."""
    prepared, keys = PreparedFilters(), index_keys(Layout(), 1)
    compiled = prepared.prepare(keys, QUERY, TYPES).compiled
    assert prepared.prepare(index_keys(Layout(), 2), QUERY, TYPES).compiled != compiled
    words = prepared.prepare(keys, QUERY, {"Customer": AttributeType.TEXT})
    assert words.compiled != compiled
    with pytest.raises(UnknownAttribute):
        prepared.prepare(keys, QUERY, {})


def test_no_filter_outlives_the_keys():
    """The cache drops the filters of a namespace with its keys."""
    prepared, keys = PreparedFilters(), index_keys(Layout(), 1)
    prepared.prepare(keys, QUERY, TYPES)
    assert len(prepared._filters) == 1
    del keys
    gc.collect()
    assert len(prepared._filters) == 0


def test_the_cache_is_bounded():
    """The limit holds for any number of texts and namespaces."""
    prepared, namespaces = PreparedFilters(kept=10), [index_keys(Layout(), root) for root in range(5)]
    for number in range(100):
        prepared.prepare(namespaces[number % 5], f"Customer = '{number}'", TYPES)
        assert sum(map(len, prepared._filters.values())) <= 10


def test_the_lists_of_a_filter_share_what_they_learnt():
    """What one list of a filter needed beyond its page is known to the next one, and not to a list of another filter."""
    prepared, keys = PreparedFilters(), index_keys(Layout(), 1)
    prepared.prepare(keys, QUERY, TYPES).earlier.listed(100)
    assert prepared.prepare(keys, QUERY, TYPES).earlier.overlap == 128
    assert prepared.prepare(keys, "", TYPES).earlier.overlap == 16


@pytest.mark.parametrize(
    ("needed", "documents"), [(-10, 16), (0, 16), (16, 16), (17, 32), (32, 32), (33, 64), (129, 200), (5000, 200)]
)
def test_the_overlap_follows_a_larger_need_at_once(needed, documents):
    """Few values are used, because each page size has a prepared statement of its own."""
    earlier = Earlier()
    earlier.listed(needed)
    assert earlier.overlap == documents


def test_the_overlap_shrinks_by_half():
    """One list of a quiet second does not make the next one of a full second slow."""
    earlier = Earlier(200)
    seen = []
    for _ in range(5):
        earlier.listed(1)
        seen.append(earlier.overlap)
    assert seen == [100, 50, 25, 16, 16]


def test_a_filter_with_many_tokens_counts_as_many_filters():
    """With `strict` an id has 256 tokens, so a short filter can take megabytes. The cache holds a bounded number of tokens."""
    prepared, keys = PreparedFilters(kept=100), index_keys(new_layout("strict"), 1)
    few, many = "WorkflowId = 'a'", f"WorkflowId IN ({', '.join(repr(str(number)) for number in range(40))})"
    kept = prepared.prepare(keys, few, {}).compiled
    assert prepared.prepare(keys, few, {}).compiled is kept
    large = prepared.prepare(keys, many, {}).compiled
    assert prepared.prepare(keys, many, {}).compiled is not large, "it has 10,240 tokens, for which there is no room"


def test_more_ids_than_tokens_are_made_for_are_decided_by_opened_documents():
    """The tokens of 10,000 ids with `strict` would take some gigabytes."""
    keys = index_keys(new_layout("strict"), 1)
    numbers = ", ".join(repr(str(number)) for number in range(1025))
    compiled = PreparedFilters().prepare(keys, f"WorkflowId IN ({numbers})", {}).compiled
    assert not compiled.exact
    assert count_tokens(compiled.possible) < 10
