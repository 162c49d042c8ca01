"""Packing and unpacking a record returns an equal record; other bytes are refused."""

from __future__ import annotations

from types import MappingProxyType

import pytest
from hypothesis import given
from hypothesis import strategies as st

from strongroom.kms.sealing import ciphers
from strongroom.storage import DataLoss
from strongroom.visibility import VisibilityRecord
from strongroom.visibility.index.record_packing import pack_record, unpack_record, unpack_records

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


@given(records())
def test_a_record_is_unpacked_unchanged(record):
    """No value is lost or changed, and no type changes."""
    unpacked = opened(pack_record(record))
    assert repr(unpacked) == repr(record)
    assert type(unpacked) is VisibilityRecord


@given(st.lists(records(), max_size=4))
def test_records_keep_their_order(originals):
    """Many records are unpacked in the order in which they were packed."""
    assert unpack_records([pack_record(each) for each in originals]) == originals


@given(record=records(), data=st.data())
def test_kernel_and_python_agree_on_a_damaged_record(record, data):
    """Whatever a byte is changed to, `unpack_records` returns what `unpack_record` returns, or raises DataLoss as it does."""
    packed = bytearray(pack_record(record))
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
