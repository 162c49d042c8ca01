"""A record is the same after it was packed, whatever its values; old forms are read, others refused."""

from __future__ import annotations

from types import MappingProxyType

import orjson
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
    """Return records whose values often tell each other, as those of real runs do."""
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
    """Everything here holds of Python and of the kernel."""
    monkeypatch.setenv(ciphers.VARIABLE, request.param)


def opened(packed):
    """Return one unpacked record."""
    (record,) = unpack_records([packed])
    return record


@given(records())
def test_a_record_is_unpacked_as_it_was(record):
    """No value is lost, and none becomes another one, nor one of another type."""
    found = opened(pack_record(record))
    assert repr(found) == repr(record)
    assert type(found) is VisibilityRecord


@given(st.lists(records(), max_size=4))
def test_records_stay_in_their_order(found):
    assert unpack_records([pack_record(each) for each in found]) == found


@given(record=records(), data=st.data())
def test_both_make_the_same_of_a_damaged_record(record, data):
    """Whatever a byte is turned into, the record is what `unpack_record` says it is, or lost as it says."""
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


def test_the_first_form_is_read():
    """A record that an earlier version sealed opens for ever."""
    values = ["w", "r", "t", "Running", "q", 5, 5, *[None] * 9]
    packed = orjson.dumps([1, *values, {"Tags": ["a", "b"]}, b"memo".hex()])
    assert opened(packed) == VisibilityRecord(
        "w", "r", "t", "Running", "q", 5, 5, search_attributes=MappingProxyType({"Tags": ("a", "b")}), memo=b"memo"
    )


@given(st.one_of(st.binary(max_size=60), st.binary(max_size=60).map(lambda rest: b"\x02" + rest)))
@pytest.mark.parametrize("start", [b"", b"[1,", b"[2,", b"\x03"])
def test_other_bytes_are_refused(start, rest):
    """What is of no form is data lost, and no other error."""
    with pytest.raises(DataLoss):
        opened(start + rest)
