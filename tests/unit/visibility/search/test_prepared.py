"""A filter is prepared once per text, and is cached no longer than the keys."""

from __future__ import annotations

import gc

import pytest

from strongroom.visibility import AttributeType, Layout, UnknownAttribute
from strongroom.visibility.search.compiler import compile_query
from strongroom.visibility.search.prepared import PreparedFilters
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
