"""Read the records of all streams in a folder in order, starting at a position."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from strongroom.kms.private_files import open_regular

from .base import read_base
from .stream import parse, segments, streams

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path
    from uuid import UUID


def read_records(root: Path, *, after: Mapping[UUID, int] | None = None) -> Iterator[tuple[UUID, int, bytes]]:
    """Yield stream, number and line of each record on disk, one stream after the other.

    A stream whose beginning was pruned starts with the signed statement about it. Its number is that of the last pruned record.

    Args:
        root: The folder of all streams.
        after: The number of the last record to skip, by stream.
    """
    for stream_id, folder in _all_streams(root):
        for sequence, line in _read_stream(folder, (after or {}).get(stream_id, 0)):
            yield stream_id, sequence, line


def _all_streams(root: Path) -> Iterator[tuple[UUID, Path]]:
    """Yield the streams, and those that began meanwhile, because records that were read may name them."""
    seen: set[UUID] = set()
    while found := [each for each in streams(root) if each[0] not in seen]:
        seen.update(stream_id for stream_id, _ in found)
        yield from found


def _read_stream(folder: Path, last: int) -> Iterator[tuple[int, bytes]]:
    base = read_base(folder)
    if base is not None and last < base[0]:
        with open_regular(folder / "base.json") as file:
            yield base[0], file.read()
        last = base[0]  # Pruned records may still be in the folder.
    ordered = segments(folder)
    for segment, following in zip(ordered, [*ordered[1:], None], strict=False):
        if following is not None and int(following.stem) <= last:
            continue  # All records of the segment are skipped.
        for line in _whole_lines(segment):
            parsed = parse(line)
            # A line that is not a record is yielded too, so that verification finds it.
            sequence = last + 1 if parsed is None else parsed[0]["sequence"]
            if sequence > last:
                yield sequence, line


def read_lines(root: Path) -> Iterator[bytes]:
    """Yield the lines of all records."""
    for _, folder in _all_streams(root):
        if read_base(folder) is None:  # All lines are wanted, so they need not be parsed.
            for segment in segments(folder):
                yield from _whole_lines(segment)
        else:
            for _, line in _read_stream(folder, 0):
                yield line


def _whole_lines(segment: Path) -> Iterator[bytes]:
    """Yield the lines of a segment that are on disk, except an unfinished last line."""
    with open_regular(segment) as file:
        os.fdatasync(file.fileno())  # A reader must not see a record that a power cut could remove.
        for line in file:
            if line.endswith(b"\n"):
                yield line
