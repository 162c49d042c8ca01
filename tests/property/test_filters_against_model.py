from __future__ import annotations

import pytest
from hypothesis import given

from strongroom.visibility import AttributeType, InvalidQuery, matches, parse_filter
from tests.support.plaintext_copy import CUSTOM, Attributes, InvalidFilter, model, random_documents, random_filter
from tests.support.plaintext_copy.generate import randoms
from tests.support.plaintext_copy.records import document_of, record_of

ATTRIBUTES = Attributes(CUSTOM)
TYPES = {name: AttributeType(kind) for name, kind in CUSTOM.items()}


@given(randoms())
def test_a_filter_means_what_the_model_of_temporal_says(random):
    """Our parser and evaluator agree with another parser and another evaluator, written from Temporal's semantics."""
    text = random_filter(random, ATTRIBUTES, order_by=0.2)
    ours = parse_filter(text, TYPES).where
    for document in random_documents(random, 20):
        assert matches(ours, record_of(document).attributes()) == model.matches(text, document, ATTRIBUTES), text


@given(randoms())
def test_a_filter_that_is_cut_is_refused_by_both_or_none(random):
    """Both parsers see the same language: a filter that lost a piece is legal for both, or for neither."""
    text = random_filter(random, ATTRIBUTES)
    start = random.randrange(len(text) + 1)
    text = text[:start] + text[start + random.randrange(1, 4) :]
    try:
        model.matches(text, {}, ATTRIBUTES)
    except InvalidFilter:
        with pytest.raises(InvalidQuery):
            parse_filter(text, TYPES)
    else:
        parse_filter(text, TYPES)


@given(randoms())
def test_documents_and_records_are_the_same_thing(random):
    """What the twin holds of a run is what our record of it says."""
    for document in random_documents(random, 5, edges=True):
        assert document_of(record_of(document)) == document
