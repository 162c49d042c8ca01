from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from strongroom.driver.serve.frames import (
    HEADER,
    LEAST,
    PART,
    FrameReader,
    FrameType,
    FrameWriter,
    Message,
    ProtocolError,
)
from tests.support.serve.client import frame
from tests.support.serve.client import frames as frames_of

if TYPE_CHECKING:
    from collections.abc import Sequence

CALLS = st.lists(
    st.tuples(
        st.sampled_from([FrameType.CALL, FrameType.ANSWER, FrameType.ERROR]),
        st.integers(1, 2**32 - 1),
        st.binary(max_size=300),
        st.integers(1, 50),
    ),
    max_size=6,
    unique_by=lambda message: message[1],
)


@given(CALLS, st.lists(st.integers(0, 5), max_size=60), st.lists(st.integers(1, 40), max_size=60))
def test_messages_survive_any_split(
    messages: list[tuple[FrameType, int, bytes, int]], turns: list[int], cuts: list[int]
) -> None:
    """The reader returns the same messages, however their parts are interleaved and however the bytes are cut."""
    queues = [frames_of(kind, call_id, content, part=part) for kind, call_id, content, part in messages]
    stream = b""
    for turn in turns:
        if turn < len(queues) and queues[turn]:
            stream += queues[turn].pop(0)
    stream += b"".join(part for queue in queues for part in queue)
    reader, received = FrameReader(), []
    for cut in cuts:
        received += reader.feed(stream[:cut])
        stream = stream[cut:]
    received += reader.feed(stream)
    assert sorted(received) == sorted(Message(kind, call_id, content) for kind, call_id, content, _ in messages)


@given(st.lists(st.tuples(st.integers(1, 99), st.integers(0, 3 * PART)), max_size=5, unique_by=lambda each: each[0]))
def test_the_reader_understands_the_writer(sizes: list[tuple[int, int]]) -> None:
    """What the writer writes is what the reader returns, and nothing stays queued."""
    written: list[bytes] = []
    writer = FrameWriter(written.append)
    for call_id, size in sizes:
        writer.add(FrameType.ANSWER, call_id, bytes(size))
    writer.flush()
    assert {(each.id, len(each.content)) for each in FrameReader().feed(b"".join(written))} == set(sizes)
    assert writer.queued == 0


@pytest.mark.parametrize(
    "data",
    [
        HEADER.pack(2**30, FrameType.CALL, 1, 1),
        HEADER.pack(2**32 - 1, FrameType.CALL, 1, 1),
        HEADER.pack(6 + PART + 1, FrameType.CALL, 1, 1),
        HEADER.pack(5, FrameType.CALL, 1, 1),
        HEADER.pack(0, FrameType.CALL, 1, 1),
        HEADER.pack(6, 0, 1, 1),
        HEADER.pack(6, 11, 1, 1),
        HEADER.pack(6, 255, 1, 1),
        HEADER.pack(6, FrameType.CALL, 2, 1),
        HEADER.pack(6, FrameType.CALL, 0x81, 1),
        HEADER.pack(7, FrameType.CANCEL, 1, 1) + b"x",
        HEADER.pack(6, FrameType.PING, 0, 0),
        b"GET / HTTP/1.1\r\n\r\n",
        b"\x16\x03\x01\x02",
    ],
)
def test_a_malformed_frame_is_refused(data: bytes) -> None:
    """A frame that is not of the protocol is an error, as soon as its header is there and before its content is."""
    with pytest.raises(ProtocolError):
        FrameReader().feed(data)


def test_a_length_is_refused_before_the_rest_of_the_header() -> None:
    """Four bytes are enough to refuse a frame of 1 GiB."""
    with pytest.raises(ProtocolError):
        FrameReader().feed((2**30).to_bytes(4, "big"))


def test_a_message_over_the_limit_is_refused() -> None:
    """A message of many parts is refused at the part that exceeds the limit, even if it never ends."""
    reader = FrameReader(message=3 * PART)
    part = frame(FrameType.CALL, 1, bytes(PART), is_last=False)
    for _ in range(3):
        reader.feed(part)
    with pytest.raises(ProtocolError):
        reader.feed(part)


@pytest.mark.parametrize("size", [0, 1, PART])
def test_incomplete_messages_are_limited_together(size: int) -> None:
    """Many messages that never end are refused, even if they have no bytes."""
    reader = FrameReader(incomplete=64 * LEAST)
    parts = [frame(FrameType.CALL, call_id, bytes(size), is_last=False) for call_id in range(1, 66)]
    with pytest.raises(ProtocolError):
        reader.feed(b"".join(parts))


def test_completed_messages_no_longer_count() -> None:
    """The limit is on incomplete messages, so a connection can carry any number of messages."""
    reader = FrameReader(incomplete=2 * PART)
    for call_id in range(1, 50):
        reader.feed(frame(FrameType.CALL, call_id, bytes(PART), is_last=False))
        assert len(reader.feed(frame(FrameType.CALL, call_id, b"x"))) == 1


def test_a_small_message_overtakes_a_large_one() -> None:
    """A message of one part is written before the rest of a large message that was queued first."""
    written: list[bytes] = []

    def pausing(data: bytes) -> None:
        written.append(data)
        writer.is_paused = True

    writer = FrameWriter(pausing)
    writer.add(FrameType.ANSWER, 1, bytes(10 * PART))
    writer.flush()
    writer.add(FrameType.ANSWER, 2, b"small")
    while writer.queued:
        writer.is_paused = False
        writer.flush()
    assert [message.id for message in FrameReader().feed(b"".join(written))] == [2, 1]


def test_large_messages_take_turns() -> None:
    """Two large messages are written part by part in turn."""
    written: list[bytes] = []
    writer = FrameWriter(written.append)
    for call_id in (1, 2):
        writer.add(FrameType.ANSWER, call_id, bytes(3 * PART))
    writer.flush()
    assert _ids(written) == [1, 2, 1, 2, 1, 2]


def test_large_messages_in_progress_are_limited() -> None:
    """Messages that are written in turn have a limit together, so that the reader's limit holds. A larger one is written alone."""
    written: list[bytes] = []
    writer = FrameWriter(written.append, in_progress=8 * PART)
    sizes = [3 * PART, 3 * PART, 3 * PART, 20 * PART, 3 * PART]
    for call_id, size in enumerate(sizes, 1):
        writer.add(FrameType.ANSWER, call_id, bytes(size))
    writer.flush()
    assert writer.queued == 0
    assert _ids(written)[:6] == [1, 2] * 3
    assert [message.id for message in FrameReader(incomplete=20 * PART).feed(b"".join(written))] == [1, 2, 3, 4, 5]


def _ids(written: Sequence[bytes]) -> list[int]:
    """Return the id of each frame."""
    data, ids = b"".join(written), []
    while data:
        length, _, _, call_id = HEADER.unpack_from(data)
        ids.append(call_id)
        data = data[4 + length :]
    return ids
