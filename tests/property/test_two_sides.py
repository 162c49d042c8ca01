"""Every sure document matches, and every matching document is possible: in each layout, and in several layouts at once."""

from __future__ import annotations

from itertools import product, starmap
from typing import NamedTuple
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from strongroom.kms import KeyClass, NamespaceKeys, Secret, Suite
from strongroom.kms.keys.data_key import DataKey
from strongroom.visibility import AttributeType, matches, parse_filter
from strongroom.visibility.backends.token_query import All, Bucket, Epoch, Not, Some, difference
from strongroom.visibility.index.document import seal_documents
from strongroom.visibility.index.layout import Layout, attribute_mark
from strongroom.visibility.search.compiler import compile_query
from tests.support.plaintext_copy import CUSTOM, Attributes, random_documents, random_filter
from tests.support.plaintext_copy.generate import randoms
from tests.support.plaintext_copy.records import record_of
from tests.support.visibility.token_queries import holds, holds_in_one_set

ATTRIBUTES = Attributes(CUSTOM)
TYPES = {name: AttributeType(kind) for name, kind in CUSTOM.items()}
SALTS = {"Completed": 3, "Running": 2}
IDENTITY = Secret(bytes([9] * 32))


def keys_of(*layouts):
    """Return the keys of a namespace with one epoch per layout; the last epoch is active."""
    numbered = dict(enumerate(layouts, 1))
    return NamespaceKeys(
        cell_id=UUID(int=1),
        namespace_id=UUID(int=2),
        data={1: DataKey(Secret(bytes(32)), version=1, suite=Suite.XAES_256_GCM)},
        index={epoch: Secret(bytes([epoch] * 32)) for epoch in numbered},
        identity={1: IDENTITY},
        active={KeyClass.INDEX: len(layouts), KeyClass.DATA: 1, KeyClass.IDENTITY: 1},
        layouts={epoch: str(layout) for epoch, layout in numbered.items()},
    )


PREFIXES = frozenset(attribute_mark(keys_of(Layout()), name) for name in ("Customer", "Größe"))
LAYOUTS = [
    Layout(),
    Layout(version=3),
    Layout("strict", SALTS, 60, 1024),
    Layout("strict", {}, 3600, 4096),
    Layout(prefixed=PREFIXES),
    Layout("strict", {}, 3600, 1024, PREFIXES),
]


def wrong(text, documents, keys, rows):
    """Return the runs for which sure, possible or the difference of both breaks its promise."""
    where = parse_filter(text, TYPES).where
    compiled = compile_query(where, keys)
    return [
        (seen.__name__, record.run_id)
        for record, row in zip(documents, rows, strict=True)
        for seen in (holds, holds_in_one_set)
        if not seen(compiled.sure, row) <= matches(where, record.attributes()) <= seen(compiled.possible, row)
        or seen(compiled.between, row) is not (seen(compiled.possible, row) and not seen(compiled.sure, row))
    ]


def sealed(records, *layouts):
    """Return the rows of records, spread over one epoch per layout, and keys with all epochs."""
    rows = []
    for place, record in enumerate(records):
        writer = keys_of(*layouts[: place % len(layouts) + 1])
        rows += seal_documents(writer, [(1, 1, record)], TYPES)
    return rows, keys_of(*layouts)


@pytest.mark.parametrize(
    "layouts", [*([one] for one in LAYOUTS), LAYOUTS], ids=lambda layouts: " + ".join(map(str, layouts))
)
@given(random=randoms())
def test_the_two_sides_hold_in_every_layout(layouts, random):
    """Sure ⊆ filter ⊆ possible in every layout, and for negations too."""
    records = [record_of(document) for document in random_documents(random, 8)]
    rows, keys = sealed(records, *layouts)
    for _ in range(3):
        text = random_filter(random, ATTRIBUTES)
        assert not wrong(text, records, keys, rows), text


class Buckets(NamedTuple):
    """The buckets of a document."""

    b1: int
    b2: int


SPANS = st.builds(Bucket, st.sampled_from(["b1", "b2"]), st.integers(0, 6), st.integers(0, 6))
SPANNED = st.recursive(
    SPANS,
    lambda inner: st.one_of(st.builds(Not, inner), *(st.builds(kind, st.tuples(inner, inner)) for kind in (All, Some))),
)


@given(query=SPANNED, excluded=SPANNED, shared=SPANNED)
def test_a_difference_holds_what_satisfies_the_first_query_only(query, excluded, shared):
    """This is true of any two queries, and of two queries that differ in one condition."""
    for first, second in ((query, excluded), (All((shared, query)), All((shared, excluded))), (query, query)):
        rest = difference(first, second)
        for document in starmap(Buckets, product(range(7), repeat=2)):
            assert holds(rest, document) is (holds(first, document) and not holds(second, document))


def test_the_difference_of_two_spans_is_their_ends():
    """An index finds the ends directly. For a negation it would read all entries."""
    assert difference(Bucket("b2", 3, 9), Bucket("b2", 4, 8)) == Some((Bucket("b2", 3, 3), Bucket("b2", 9, 9)))
    assert difference(All((Epoch(1), Bucket("b2", 3, 9))), All((Epoch(1), Bucket("b2", 3, 8)))) == All(
        (Epoch(1), Bucket("b2", 9, 9))
    )
