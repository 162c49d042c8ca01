"""What the index is sure of matches, and what matches it holds possible: in each form of documents, and in several at once."""

from __future__ import annotations

from itertools import product, starmap
from typing import NamedTuple
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from strongroom.kms import KeyClass, NamespaceKeys, Secret, Suite
from strongroom.kms.keys.data_key import DataKey
from strongroom.storage import HASHED_COLUMNS
from strongroom.visibility import AttributeType, matches, parse_filter
from strongroom.visibility.backends.token_query import All, AnyOf, Bucket, Epoch, Not, Some, difference
from strongroom.visibility.index.document import seal_documents
from strongroom.visibility.index.layout import Layout
from strongroom.visibility.search.compiler import compile_query
from tests.support.plaintext_copy import CUSTOM, Attributes, random_documents, random_filter
from tests.support.plaintext_copy.generate import randoms
from tests.support.plaintext_copy.records import record_of

ATTRIBUTES = Attributes(CUSTOM)
TYPES = {name: AttributeType(kind) for name, kind in CUSTOM.items()}
SALTS = {"Completed": 3, "Running": 2}
LAYOUTS = [
    Layout(form=1),
    Layout(),
    Layout("strict", SALTS, form=1),
    Layout("strict", SALTS),
]


def keys_of(*layouts):
    """Return the keys of a namespace with an epoch of each layout, the last one active."""
    numbered = dict(enumerate(layouts, 1))
    return NamespaceKeys(
        cell_id=UUID(int=1),
        namespace_id=UUID(int=2),
        data={1: DataKey(Secret(bytes(32)), version=1, suite=Suite.XAES_256_GCM)},
        index={epoch: Secret(bytes([epoch] * 32)) for epoch in numbered},
        identity={1: Secret(bytes([9] * 32))},
        active={KeyClass.INDEX: len(layouts), KeyClass.DATA: 1, KeyClass.IDENTITY: 1},
        layouts={epoch: str(layout) for epoch, layout in numbered.items()},
    )


def holds(query, row):
    """Whether a document satisfies a token query, by what an index sees of it."""
    match query:
        case AnyOf(tokens, implied, column, whole):
            in_column = None if column is None else row.h[HASHED_COLUMNS.index(column)]
            if whole:
                return in_column is not None
            found = not tokens.isdisjoint(row.t if column is None else (in_column,))
            assert not found or implied is None or holds(implied, row), "it lies where each that holds one lies"
            return found
        case Bucket(column, low, high):
            return low <= getattr(row, column) <= high
        case Epoch(k):
            return row.k == k
        case All(items):
            return all(holds(item, row) for item in items)
        case Some(items):
            return any(holds(item, row) for item in items)
        case Not(item):
            return not holds(item, row)


def in_one_bag(query, row):
    """The same by what an index sees that has all tokens in one bag."""
    match query:
        case AnyOf(tokens):
            return not tokens.isdisjoint((*row.t, *row.h))
        case All(items):
            return all(in_one_bag(item, row) for item in items)
        case Some(items):
            return any(in_one_bag(item, row) for item in items)
        case Not(item):
            return not in_one_bag(item, row)
    return holds(query, row)


def wrong(text, documents, keys, rows):
    """Return the runs that one of the sides, or what is between them, has or lacks against its promise."""
    where = parse_filter(text, TYPES).where
    compiled = compile_query(where, keys)
    return [
        (seen.__name__, record.run_id)
        for record, row in zip(documents, rows, strict=True)
        for seen in (holds, in_one_bag)
        if not seen(compiled.sure, row) <= matches(where, record.attributes()) <= seen(compiled.possible, row)
        or seen(compiled.between, row) is not (seen(compiled.possible, row) and not seen(compiled.sure, row))
    ]


def sealed(records, *layouts):
    """Return records as rows, each by chance of one of the epochs, and the keys of all."""
    rows = []
    for place, record in enumerate(records):
        writer = keys_of(*layouts[: place % len(layouts) + 1])
        rows += seal_documents(writer, [(1, 1, record)], TYPES)
    return rows, keys_of(*layouts)


@pytest.mark.parametrize(
    "layouts", [*([one] for one in LAYOUTS), LAYOUTS], ids=lambda layouts: " + ".join(map(str, layouts)) or "first"
)
@given(random=randoms())
def test_the_two_sides_hold_in_every_layout(layouts, random):
    """Sure ⊆ filter ⊆ possible, whatever the form and preset of the documents, and for a negation as well."""
    records = [record_of(document) for document in random_documents(random, 8)]
    rows, keys = sealed(records, *layouts)
    for _ in range(3):
        text = random_filter(random, ATTRIBUTES)
        assert not wrong(text, records, keys, rows), text


class Place(NamedTuple):
    """What a bucket sees of a document."""

    b1: int
    b2: int


SPANS = st.builds(Bucket, st.sampled_from(["b1", "b2"]), st.integers(0, 6), st.integers(0, 6))
SPANNED = st.recursive(
    SPANS,
    lambda inner: st.one_of(st.builds(Not, inner), *(st.builds(kind, st.tuples(inner, inner)) for kind in (All, Some))),
)


@given(whole=SPANNED, part=SPANNED, shared=SPANNED)
def test_a_difference_is_one(whole, part, shared):
    """Of any two queries, and of two that differ in one condition alone."""
    for one, other in ((whole, part), (All((shared, whole)), All((shared, part))), (whole, whole)):
        rest = difference(one, other)
        for place in starmap(Place, product(range(7), repeat=2)):
            assert holds(rest, place) is (holds(one, place) and not holds(other, place))


def test_the_difference_of_two_spans_is_their_ends():
    """Which an index looks up, where a negation is looked for in all entries."""
    assert difference(Bucket("b2", 3, 9), Bucket("b2", 4, 8)) == Some((Bucket("b2", 3, 3), Bucket("b2", 9, 9)))
    assert difference(All((Epoch(1), Bucket("b2", 3, 9))), All((Epoch(1), Bucket("b2", 3, 8)))) == All(
        (Epoch(1), Bucket("b2", 9, 9))
    )
