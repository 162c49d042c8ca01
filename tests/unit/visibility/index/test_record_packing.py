"""Packing and unpacking a record returns an equal record; other bytes are refused."""

from __future__ import annotations

from types import MappingProxyType

import pytest
from hypothesis import given
from hypothesis import strategies as st

from strongroom.kms.sealing import ciphers
from strongroom.storage import DataLoss
from strongroom.visibility import VisibilityRecord
from strongroom.visibility.index.record_packing import pack_filled, pack_record, unpack_record, unpack_records

INTEGERS = st.integers(-(2**63), 2**63 - 1)
IDS = st.one_of(
    st.uuids().map(str),
    st.uuids().map(lambda each: each.hex),
    st.uuids().map(lambda each: str(each).upper()),
    st.text(max_size=40),
)
VALUES = st.one_of(
    st.text(), INTEGERS, st.booleans(), st.floats(allow_nan=False, allow_infinity=False), st.lists(st.text()).map(tuple)
)


@st.composite
def records(draw):
    """Draw a record whose values often follow from each other, as in real runs."""
    workflow_id, run_id, start = draw(st.text()), draw(IDS), draw(INTEGERS)
    close = draw(st.one_of(st.none(), INTEGERS))
    durations = [st.none(), INTEGERS] + (
        [st.just(close - start)] if close is not None and -(2**63) <= close - start < 2**63 else []
    )
    return VisibilityRecord(
        workflow_id=workflow_id,
        run_id=run_id,
        workflow_type=draw(st.text()),
        execution_status="Completed",
        task_queue=draw(st.text()),
        start_time=start,
        execution_time=draw(st.one_of(st.just(start), INTEGERS)),
        close_time=close,
        execution_duration=draw(st.one_of(durations)),
        history_length=draw(st.one_of(st.none(), INTEGERS)),
        parent_workflow_id=draw(st.one_of(st.none(), st.text())),
        parent_run_id=draw(st.one_of(st.none(), IDS)),
        root_workflow_id=draw(st.one_of(st.none(), st.just(workflow_id), st.text())),
        root_run_id=draw(st.one_of(st.none(), st.just(run_id), IDS)),
        search_attributes=MappingProxyType(draw(st.dictionaries(st.text(), VALUES, max_size=4))),
        memo=draw(st.binary(max_size=40)),
    )


@pytest.fixture(params=ciphers.available(), autouse=True)
def _implementation(request, monkeypatch):
    """Run every test with Python and with the kernel."""
    monkeypatch.setenv(ciphers.VARIABLE, request.param)


def opened(packed):
    """Unpack one record."""
    (record,) = unpack_records([packed])
    return record


def packed_as(record, shortest):
    """Return the packed bytes of a record: filled ones of `shortest` bytes or more, or with 0 unfilled ones."""
    return pack_filled(record, shortest) if shortest else b"".join(pack_record(record))


@pytest.mark.parametrize("shortest", [0, 256])
@given(record=records())
def test_a_record_is_unpacked_unchanged(shortest, record):
    """No value is lost or changed, and no type changes."""
    unpacked = opened(packed_as(record, shortest))
    assert repr(unpacked) == repr(record)
    assert type(unpacked) is VisibilityRecord


@given(st.lists(records(), max_size=4))
def test_records_keep_their_order(originals):
    """Many records are unpacked in the order in which they were packed, filled and unfilled ones side by side."""
    packed = [packed_as(each, 256 * (place % 2)) for place, each in enumerate(originals)]
    assert unpack_records(packed) == originals


@given(record=records())
def test_a_filled_record_has_one_of_few_lengths(record):
    """The length of a filled record is 256, 1,024 or 4,096 bytes, and so on: the shortest that the record fits into."""
    length, packed = len(pack_filled(record, 256)), b"".join(pack_record(record))
    assert length in (256, 1024, 4096)
    assert len(packed) + 5 <= length
    assert length == 256 or length // 4 < len(packed) + 5


def test_the_parts_of_a_record_are_the_service_s_values_the_attributes_and_the_memo():
    """Values of different trust are in different parts, which are compressed apart."""
    record = VisibilityRecord("w,{", "r", "t", "Running", "q", 1, 1, search_attributes={"A": "x"}, memo=b"m")
    head, attributes, memo = pack_record(record)
    assert b"w,{" in head
    assert (attributes, memo) == (b'{"A":"x"}]\x00', b"m")


@given(record=records(), data=st.data())
def test_kernel_and_python_agree_on_a_damaged_record(record, data):
    """Whatever a byte is changed to, `unpack_records` returns what `unpack_record` returns, or raises DataLoss as it does."""
    packed = bytearray(b"".join(pack_record(record)))
    packed[data.draw(st.integers(0, len(packed) - 1))] = data.draw(st.integers(0, 255))
    try:
        expected = repr(unpack_record(bytes(packed)))
    except DataLoss:
        expected = None
    if expected is None:
        with pytest.raises(DataLoss):
            opened(bytes(packed))
    else:
        assert repr(opened(bytes(packed))) == expected


@pytest.mark.parametrize("json", [b"{}", b'"text"', b"[]", b"5", b"null", b"[[]]"])
def test_other_json_is_refused(json):
    """JSON that is not the array of a record is data loss, and no other error."""
    with pytest.raises(DataLoss):
        opened(b"\x02\x00" + json + b"\x00")


@given(st.one_of(st.binary(max_size=60), st.binary(max_size=60).map(lambda rest: b"\x02" + rest)))
@pytest.mark.parametrize("start", [b"", b"[1,", b"[2,", b"\x03"])
def test_other_bytes_are_refused(start, rest):
    """Bytes that are not a packed record are data loss, and no other error."""
    with pytest.raises(DataLoss):
        opened(start + rest)
