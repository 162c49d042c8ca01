"""The files of an audit log: a crash loses nothing, and a record that was altered, cut or removed is named."""

from __future__ import annotations

import os
from contextlib import contextmanager
from uuid import UUID, uuid4

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from strongroom.driver.audit import LogSettings, verify_records
from strongroom.driver.audit.chain import GENESIS
from strongroom.driver.audit.checkpoint import NOT_IN_DATABASE, Checkpoint, SignedCheckpoint, as_event
from strongroom.driver.audit.events import now
from strongroom.driver.audit.reader import read_lines, read_records
from strongroom.driver.audit.stream import Stream, segments
from strongroom.driver.audit.taking import take
from strongroom.kms import Secret, SigningKey
from tests.support.audit.disk import Disk
from tests.support.counts import examples

KEY, OTHER = SigningKey(Secret(bytes(range(32)))), SigningKey(Secret(bytes(32)))


@contextmanager
def taken(root, settings=None):
    """Yield a stream of the folder, and release it at the end."""
    stream = take(root, settings).stream
    try:
        yield stream
    finally:
        stream.close()


def event(number):
    """Return the content of a record."""
    return {"event": "outcome", "at": now(), "operation": f"operation.{number}"}


def signed(stream, key=KEY):
    """Return a signature over all records on disk."""
    covered = Checkpoint(stream.stream_id, *stream.written)
    made = SignedCheckpoint(NOT_IN_DATABASE, GENESIS, covered, "host:/folder", 0, now())
    return as_event(made.signed(key), public_key=key.public_key)


def written(root, records=10, *, key=KEY, settings=None):
    """Return the lines of a stream with a signature at the end."""
    with taken(root, settings) as stream:
        for number in range(records):
            stream.write([event(number)])
        stream.write([signed(stream, key)])
    return list(read_lines(root))


def problem(lines, **given):
    """Return the first problem of the only stream."""
    (stream,) = verify_records(lines, **given).streams
    return stream.problem


def test_what_was_written_verifies(tmp_path):
    """Control of the tests below."""
    found = verify_records(written(tmp_path), public_key=KEY.public_key)
    assert found.ok
    assert (found.records, found.streams[0].signed) == (11, 10)


def test_a_process_goes_on_where_another_ended(tmp_path):
    """The chain goes on from one process to the next."""
    written(tmp_path)
    written(tmp_path)
    found = verify_records(read_lines(tmp_path), public_key=KEY.public_key)
    assert found.ok
    assert [stream.records for stream in found.streams] == [22]


def test_two_processes_have_a_stream_each(tmp_path):
    """One process at a time writes a stream."""
    with taken(tmp_path) as one, taken(tmp_path) as two:
        one.write([event(1)])
        two.write([event(1)])
        assert one.stream_id != two.stream_id
    assert verify_records(read_lines(tmp_path)).records == 2


@pytest.mark.parametrize("cut", range(1, 60, 7))
def test_a_record_that_a_crash_cut_is_left_out(tmp_path, cut):
    """A record that a crash cut off was not acknowledged, and the next record gets its number."""
    written(tmp_path)
    (segment,) = segments(next(path for path in tmp_path.iterdir()))
    content = segment.read_bytes()
    segment.write_bytes(content[:-cut])
    lines = written(tmp_path, 3)
    found = verify_records(lines, public_key=KEY.public_key)
    assert [s.problem for s in found.streams] == [None]
    assert found.records == 10 + 4 + (1 if cut == 0 else 0)


def test_of_a_long_segment_only_the_ends_are_read(tmp_path):
    """A starting process needs no memory for the segment that it continues. A segment of 1 TiB with a hole in it takes no disk."""
    last = written(tmp_path)[-1]
    (segment,) = segments(next(path for path in tmp_path.iterdir()))
    with segment.open("r+b") as file:
        file.readline()
        file.truncate()
        file.seek(2**40)
        file.write(b"\n" + last.rstrip(b"\n") + b"\nan unfinished reco")
    with taken(tmp_path, LogSettings(segment_bytes=2**41)) as stream:
        assert stream.written[0] == 11
        stream.write([event(11)])
    with segment.open("rb") as file:
        file.seek(2**40 + 1)
        assert file.readline().rstrip(b"\n") == last.rstrip(b"\n")
        assert orjson.loads(file.readline())["sequence"] == 12


def test_a_line_that_is_no_record_is_left_for_verification(tmp_path):
    """A segment whose last line is longer than any record is not continued, and is not read into memory."""
    written(tmp_path)
    folder = next(path for path in tmp_path.iterdir())
    (segment,) = segments(folder)
    with segment.open("r+b") as file:
        file.seek(2**40)
        file.write(b"\n")
    stream = Stream(folder, UUID(folder.name.removeprefix("stream-")), os.open(folder, os.O_RDONLY), LogSettings())
    assert not stream.resume()
    stream.close()


def test_a_failed_write_is_written_later_and_once(tmp_path):
    """The disk is full in the middle of a write."""
    disk = Disk()
    with taken(tmp_path, disk.settings()) as stream:
        stream.write([event(0)])
        disk.torn = 20
        disk.fails(28, "No space left on device")
        with pytest.raises(OSError, match="No space"):
            stream.write([event(1), event(2)])
        assert (stream.waiting, stream.written[0]) == (2, 1)
        disk.works()
        stream.write([event(3)])
        assert (stream.waiting, stream.written[0]) == (0, 4)
    found = verify_records(read_lines(tmp_path))
    assert found.ok
    assert found.records == 4


def test_after_an_error_of_the_disk_the_records_go_to_another_file(tmp_path):
    """A second attempt on the same file may report success although the data is lost."""
    disk = Disk()
    with taken(tmp_path, disk.settings()) as stream:
        stream.write([event(0)])
        disk.fails()
        with pytest.raises(OSError, match="Input/output"):
            stream.write([event(1), event(2)])
        disk.works()
        stream.write([event(3)])
        assert len(segments(next(path for path in tmp_path.iterdir()))) == 2
    found = verify_records(read_lines(tmp_path))
    assert found.ok, "the records in both files are the same"
    assert found.records == 4


def test_segments_follow_each_other(tmp_path):
    """A full segment is followed by another, and records are read in order from any one on."""
    written(tmp_path, 40, settings=LogSettings(segment_bytes=700))
    with taken(tmp_path) as stream:
        stream_id = stream.stream_id
        assert len(segments(next(path for path in tmp_path.iterdir()))) > 5
    assert verify_records(read_lines(tmp_path), public_key=KEY.public_key).ok
    for last in range(42):
        after = {stream_id: last}
        assert [sequence for _, sequence, _ in read_records(tmp_path, after=after)] == list(range(last + 1, 42))


@settings(deadline=None, max_examples=examples(60))
@given(data=st.data())
def test_every_tampering_is_named(tmp_path_factory, data):
    """A record that is altered, removed, repeated with a change, swapped, or cut off before a known checkpoint is reported."""
    root = tmp_path_factory.mktemp("audit")
    lines = written(root, 8)
    number = data.draw(st.integers(0, 7))
    how = data.draw(st.sampled_from(["alter", "rechain", "remove", "swap", "insert", "cut", "bit"]))
    witnessed = [_kept(lines)]
    if how == "alter":
        lines[number] = lines[number].replace(b"operation.", b"operatioN.")
    elif how == "rechain":
        lines = _rechained(lines, number)
    elif how == "remove":
        del lines[number]
    elif how == "swap":
        lines[number], lines[number + 1] = lines[number + 1], lines[number]
    elif how == "insert":
        lines.insert(number + 1, lines[number].replace(b"operation.", b"operatioN."))
    elif how == "cut":
        del lines[number:]
    else:
        place = data.draw(st.integers(0, len(lines[number]) - 2))
        altered = bytearray(lines[number])
        altered[place] ^= 1 << data.draw(st.integers(0, 7))
        if b"\n" in altered[:-1] or bytes(altered) == lines[number]:
            return
        lines[number] = bytes(altered)
    found = verify_records(lines, public_key=KEY.public_key, witnessed=witnessed)
    assert not found.ok, how
    if how in ("alter", "remove"):
        assert f"record {number + 1} " in next(stream.problem for stream in found.streams if stream.problem)


def test_a_chain_made_anew_does_not_fit_the_signature(tmp_path):
    """A record that is altered with all chains after it does not fit the signature."""
    lines = _rechained(written(tmp_path), 3)
    assert "signature" in problem(lines, public_key=KEY.public_key)
    assert problem(lines[:-1]) is None, "control: without the signature it is not noticed"


def test_another_key_is_another_writer(tmp_path):
    """Records that another key signed are refused, if the public key is given."""
    lines = written(tmp_path, key=OTHER)
    assert problem(lines, public_key=OTHER.public_key) is None
    assert "another key" in problem(lines, public_key=KEY.public_key)


def test_repeated_records_are_no_problem(tmp_path):
    """Repeated records are valid, because an interrupted export sends some again."""
    lines = written(tmp_path)
    assert problem([*lines[:7], *lines[3:], *lines[:2]], public_key=KEY.public_key) is None


def test_what_is_missing_at_the_end_is_told_by_a_checkpoint_kept_elsewhere(tmp_path):
    """Records that were cut off at the end are only noticed with a checkpoint from another place."""
    lines = written(tmp_path)
    kept = _kept(lines)
    assert problem(lines[:6], public_key=KEY.public_key) is None
    assert problem(lines[:6], witnessed=[kept]) == "records 7 to 10 are missing at the end"
    assert problem([], witnessed=[kept]) == "the whole stream is missing: 10 records"
    elsewhere = Checkpoint(uuid4(), 5, bytes(32))
    assert not verify_records(lines, witnessed=[elsewhere]).ok


@given(garbage=st.binary(max_size=200))
def test_no_input_crashes(garbage):
    """No input makes verification fail with an exception."""
    verify_records([garbage, b"{}" + garbage, b'{"stream":1,"sequence":"x","chain":"' + garbage * 3 + b'"}'])


def _kept(lines):
    """Return the checkpoint of the signature in the last line."""
    said = orjson.loads(lines[-1])
    from uuid import UUID  # noqa: PLC0415

    return Checkpoint(UUID(said["stream"]), said["covers"], bytes.fromhex(said["covered_chain"]))


def _rechained(lines, number):
    """Return lines with an altered record, and with every chain from there on recomputed."""
    from strongroom.driver.audit.chain import link, with_chain  # noqa: PLC0415
    from strongroom.driver.audit.stream import parse  # noqa: PLC0415

    chain, made = GENESIS, []
    for place, line in enumerate(lines):
        _, body, _ = parse(line)
        if place == number:
            body = body.replace(b"operation.", b"operatioN.")
        chain = link(chain, body)
        made.append(with_chain(body, chain))
    return made
