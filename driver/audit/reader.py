"""Read the records of all streams of a folder in order, from a cursor on."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from .stream import parse, read_base, segments, streams

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path
    from uuid import UUID


def read_records(root: Path, *, after: Mapping[UUID, int] | None = None) -> Iterator[tuple[UUID, int, bytes]]:
    """Yield stream, sequence and line of each record that is on disk; a stream at a time.

    A stream whose beginning was pruned is led in by the signed statement of that, under the sequence of the last record that went.

    Args:
        root: folder of all streams.
        after: by stream the last record that is known already.
    """
    for stream_id, folder in streams(root):
        for sequence, line in _read_stream(folder, (after or {}).get(stream_id, 0)):
            yield stream_id, sequence, line


def _read_stream(folder: Path, last: int) -> Iterator[tuple[int, bytes]]:
    base = read_base(folder)
    if base is not None and last < base[0]:
        yield base[0], (folder / "base.json").read_bytes()
        last = base[0]  # what was pruned may not be deleted yet
    found = segments(folder)
    for segment, following in zip(found, [*found[1:], None], strict=False):
        if following is not None and int(following.stem) <= last:
            continue  # all of it is known
        for line in _whole_lines(segment):
            parsed = parse(line)
            # What is no record is handed on: whoever verifies must see it.
            sequence = last + 1 if parsed is None else parsed[0]["sequence"]
            if sequence > last:
                yield sequence, line


def read_lines(root: Path) -> Iterator[bytes]:
    """Yield the lines of all records."""
    for _, folder in streams(root):
        if read_base(folder) is None:  # so all of it is to be read, and need not be looked into
            for segment in segments(folder):
                yield from _whole_lines(segment)
        else:
            for _, line in _read_stream(folder, 0):
                yield line


def _whole_lines(segment: Path) -> Iterator[bytes]:
    """Yield the lines of a segment that are on disk for good; a last one that is being written waits for another time."""
    with segment.open("rb") as file:
        os.fdatasync(file.fileno())  # a record that a power cut takes back must not have been shown to anybody
        for line in file:
            if line.endswith(b"\n"):
                yield line
