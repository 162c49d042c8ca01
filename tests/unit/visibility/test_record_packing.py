"""A record is the same after it was packed, whatever its values; old forms are read, others refused."""

from __future__ import annotations

from types import MappingProxyType

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from strongroom.storage import DataLoss
from strongroom.visibility import VisibilityRecord
from strongroom.visibility.record_packing import pack_record, unpack_record

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


@given(records())
def test_a_record_is_unpacked_as_it_was(record):
    """No value is lost, and none becomes another one."""
    assert unpack_record(pack_record(record)) == record


def test_the_first_form_is_read():
    """A record that an earlier version sealed opens for ever."""
    values = ["w", "r", "t", "Running", "q", 5, 5, *[None] * 9]
    packed = orjson.dumps([1, *values, {"Tags": ["a", "b"]}, b"memo".hex()])
    assert unpack_record(packed) == VisibilityRecord(
        "w", "r", "t", "Running", "q", 5, 5, search_attributes=MappingProxyType({"Tags": ("a", "b")}), memo=b"memo"
    )


@given(st.one_of(st.binary(max_size=60), st.binary(max_size=60).map(lambda rest: b"\x02" + rest)))
@pytest.mark.parametrize("start", [b"", b"[1,", b"[2,", b"\x03"])
def test_other_bytes_are_refused(start, rest):
    """What is of no form is data lost, and no other error."""
    with pytest.raises(DataLoss):
        unpack_record(start + rest)
