"""Names and tokens of documents in Elasticsearch have exactly one spelling."""

from __future__ import annotations

from base64 import urlsafe_b64encode

import pytest
from hypothesis import given
from hypothesis import strategies as st

from strongroom.kms import IntegrityError
from strongroom.visibility.backends.elasticsearch.documents import document_name, record_id, token_set_text, token_texts


@given(tokens=st.lists(st.integers(-(2**63), 2**63 - 1), max_size=5))
def test_a_token_is_the_base64_of_its_eight_bytes(tokens):
    """Encoding all tokens at once gives the same text as one after another."""
    each = [urlsafe_b64encode(token.to_bytes(8, "big", signed=True)).decode().rstrip("=") for token in tokens]
    assert token_texts(tokens) == each
    assert token_set_text(tokens) == " ".join(each)


@given(identifier=st.binary(min_size=16, max_size=16))
def test_a_name_is_decoded_to_its_id(identifier):
    """`record_id` reverses `document_name`."""
    assert record_id(document_name(identifier)) == identifier


@pytest.mark.parametrize("change", [lambda name: name[:-1] + "B", lambda name: name + "=", lambda name: " " + name[1:]])
def test_another_spelling_of_a_name_is_refused(change):
    """Base64 has several spellings of the same bytes. A document under a second one would be the same run twice."""
    with pytest.raises(IntegrityError):
        record_id(change(document_name(b"\xff" * 15 + b"\x00")))
