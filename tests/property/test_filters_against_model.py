"""Filters have the meaning that an independent model of Temporal's semantics gives them."""

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
    """Parser and evaluator agree with a second parser and evaluator, written from Temporal's semantics."""
    text = random_filter(random, ATTRIBUTES, order_by=0.2)
    ours = parse_filter(text, TYPES).where
    for document in random_documents(random, 20):
        assert matches(ours, record_of(document).attributes()) == model.matches(text, document, ATTRIBUTES), text


@given(randoms())
def test_both_parsers_accept_the_same_damaged_filters(random):
    """A filter that lost a few characters is legal for both parsers, or for neither."""
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
def test_a_document_is_converted_to_a_record_and_back(random):
    """A record holds all that a document of the plaintext copy holds."""
    for document in random_documents(random, 5, edges=True):
        assert document_of(record_of(document)) == document
