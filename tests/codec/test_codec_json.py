from __future__ import annotations

import base64
import json

import pytest
from google.protobuf.json_format import MessageToDict, ParseDict, ParseError
from hypothesis import given
from hypothesis import strategies as st
from temporalio.api.common.v1 import Payload, Payloads

from strongroom.driver.codec.http import Refused
from strongroom.driver.codec.json import read_payloads, write_payloads

PAYLOADS = st.lists(
    st.builds(
        Payload,
        metadata=st.dictionaries(st.text(max_size=8), st.binary(max_size=20), max_size=3),
        data=st.binary(max_size=50),
        external_payloads=st.lists(
            st.builds(Payload.ExternalPayloadDetails, size_bytes=st.integers(0, 2**40)), max_size=2
        ),
    ),
    max_size=4,
)
BASE64 = [base64.b64encode, base64.urlsafe_b64encode, lambda data: base64.b64encode(data).rstrip(b"=")]
VALUES = (
    st.builds(lambda write, data: write(data).decode(), st.sampled_from(BASE64), st.binary(max_size=20))
    | st.text(max_size=6)
    | st.none()
    | st.integers()
    | st.lists(st.integers(), max_size=2)
)
ITEMS = (
    st.fixed_dictionaries(
        {},
        optional={
            "data": VALUES,
            "metadata": st.dictionaries(st.text(max_size=4), VALUES, max_size=2) | VALUES,
            "externalPayloads": st.lists(st.fixed_dictionaries({"sizeBytes": VALUES}), max_size=2) | VALUES,
            "external_payloads": VALUES,
            "other": VALUES,
        },
    )
    | VALUES
)


@given(payloads=PAYLOADS)
def test_written_as_protobuf_writes_and_read_back(payloads):
    """The JSON equals that of protobuf's own function, and reading it gives the same message."""
    written = write_payloads(payloads)
    assert written.get("payloads") == MessageToDict(Payloads(payloads=payloads)).get("payloads", [])
    assert read_payloads(json.dumps(written).encode(), 4) == payloads


@given(items=st.lists(ITEMS, max_size=3))
def test_read_as_protobuf_reads(items):
    """Input is accepted or refused as by protobuf, with the same meaning."""
    try:
        expected = list(ParseDict({"payloads": items}, Payloads()).payloads)
    except ParseError:
        with pytest.raises(Refused):
            read_payloads(json.dumps({"payloads": items}).encode(), 3)
    else:
        assert read_payloads(json.dumps({"payloads": items}).encode(), 3) == expected


@pytest.mark.parametrize(
    "body", ["", "{", "[]", "1", "{}", '{"payloads":null}', '{"payloads":{}}', '{"payloads":[],"x":1}']
)
def test_what_is_no_payloads_is_refused(body):
    """The body needs a list of payloads, and may hold nothing else."""
    with pytest.raises(Refused):
        read_payloads(body.encode(), 3)
