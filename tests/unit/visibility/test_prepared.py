"""Filters are made ready once for each text, and kept no longer than the keys."""

from __future__ import annotations

import gc
from uuid import UUID

import pytest

from strongroom.kms import KeyClass, NamespaceKeys, Secret
from strongroom.visibility import AttributeType, Layout, UnknownAttribute
from strongroom.visibility.compiler import compile_query
from strongroom.visibility.prepared import PreparedFilters

TYPES = {"Customer": AttributeType.KEYWORD}
QUERY = "Customer = 'c'"


def keys_of(root):
    """Return the keys of a namespace."""
    return NamespaceKeys(
        cell_id=UUID(int=1),
        namespace_id=UUID(int=2),
        data={},
        index={1: Secret(bytes([root]) * 32)},
        identity={},
        active={KeyClass.INDEX: 1},
        layouts={1: str(Layout())},
    )


def test_a_filter_is_made_once_for_the_same_keys_text_and_types():
    prepared, keys = PreparedFilters(), keys_of(1)
    first = prepared.prepare(keys, QUERY, TYPES)
    assert prepared.prepare(keys, QUERY, dict(TYPES)).compiled is first.compiled
    assert first.compiled == compile_query(first.parsed.where, keys)


def test_other_keys_and_other_types_have_their_own():
    """Tokens of other keys find nothing, and a name may come to stand for something else."""
    prepared, keys = PreparedFilters(), keys_of(1)
    compiled = prepared.prepare(keys, QUERY, TYPES).compiled
    assert prepared.prepare(keys_of(2), QUERY, TYPES).compiled != compiled
    words = prepared.prepare(keys, QUERY, {"Customer": AttributeType.TEXT})
    assert words.compiled != compiled
    with pytest.raises(UnknownAttribute):
        prepared.prepare(keys, QUERY, {})


def test_nothing_outlives_the_keys():
    prepared, keys = PreparedFilters(), keys_of(1)
    prepared.prepare(keys, QUERY, TYPES)
    assert len(prepared._of) == 1
    del keys
    gc.collect()
    assert len(prepared._of) == 0


def test_no_more_are_kept_than_there_is_room_for():
    """However many texts a tenant asks with, and from however many namespaces."""
    prepared, namespaces = PreparedFilters(kept=10), [keys_of(root) for root in range(5)]
    for number in range(100):
        prepared.prepare(namespaces[number % 5], f"Customer = '{number}'", TYPES)
        assert sum(map(len, prepared._of.values())) <= 10
