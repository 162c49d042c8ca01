"""The events of a history are shown in any encoding."""

from __future__ import annotations

import pytest

from strongroom.driver.cli.show.runs import _events_of
from strongroom.driver.importing.history_event import encode_batch, read_event
from strongroom.storage import DataBlob, Encoding, HistoryNode

EVENT = read_event(b"\x08\x07\x12\x02\x08\x05\x18\x01")


def shown(blob):
    """Return the shown events of a node with this blob."""
    return [tuple(event) for event in _events_of(HistoryNode(7, 1, 0, blob))]


def test_temporals_events_have_their_ids_times_and_types():
    """An encoded History is decoded."""
    blob = DataBlob(encode_batch([EVENT]))
    assert shown(blob) == [(7, 5 * 10**9, "WorkflowExecutionStarted", EVENT.data, [])]


@pytest.mark.parametrize("data", [b"", b'{"event": "ordered"}', b"\xff\xfe", encode_batch([EVENT])[:-1], b"\x10\x01"])
@pytest.mark.parametrize("encoding", Encoding)
def test_other_events_are_shown_as_they_are(data, encoding):
    """A service's own encoding is no error, and no node is left out."""
    assert shown(DataBlob(data, encoding)) == [(7, None, None, data, [data])]


def test_json_is_never_read_as_protobuf():
    """JSON whose bytes happen to be an encoded History is shown as JSON."""
    blob = DataBlob(encode_batch([EVENT]), Encoding.JSON)
    assert shown(blob) == [(7, None, None, blob.data, [blob.data])]
