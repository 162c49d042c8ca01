"""Read the records of a file from its end, because what is newest is at the end of a segment of up to 64 MiB."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, BinaryIO, NamedTuple

from strongroom.kms.private_files import open_regular

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

BLOCK = 2**18
"""Number of bytes that are read at a time."""
LINE = 2**24
"""Maximum size of a line in bytes. No record is as long, so a file with a longer line holds something else there."""


class Ends(NamedTuple):
    """The ends of a file of lines.

    Attributes:
        first: The first line.
        last: The last whole line. Both are without their line feeds, and empty if the line is longer than `LINE`.
        size: The size of all whole lines, in bytes.
    """

    first: bytes
    last: bytes
    size: int


def ends_of(file: BinaryIO) -> Ends:
    """Return the ends of a file of lines, without reading what is between them. A file without a whole line has the size 0."""
    whole = file.seek(0, os.SEEK_END)
    size = _line_start(file, whole)
    if not size:
        return Ends(b"", b"", 0 if size == 0 else whole)
    start = _line_start(file, size - 1)
    last = b"" if start is None else _read(file, start, size)
    file.seek(0)
    first = file.readline(LINE)
    return Ends(first.rstrip(b"\n") if first.endswith(b"\n") else b"", last.rstrip(b"\n"), size)


def _line_start(file: BinaryIO, end: int) -> int | None:
    """Return the start of the line that ends before a position; None if it is longer than `LINE`."""
    stop = max(0, end - LINE)
    while end > stop:
        start = max(stop, end - BLOCK)
        if (found := _read(file, start, end).rfind(b"\n")) >= 0:
            return start + found + 1
        end = start
    return 0 if stop == 0 else None


def _read(file: BinaryIO, start: int, end: int) -> bytes:
    file.seek(start)
    return file.read(end - start)


def lines_backwards(path: Path) -> Iterator[bytes]:
    """Yield the whole lines of a file without their line feeds, the last line first. An unfinished last line is left out."""
    with open_regular(path) as file:
        end = file.seek(0, os.SEEK_END)
        rest, is_last = b"", True
        while end > 0:
            start = max(0, end - BLOCK)
            file.seek(start)
            lines = (file.read(end - start) + rest).split(b"\n")
            end = start
            if is_last:
                lines.pop()  # What follows the last line feed. Without one in the block, more of it comes before.
                is_last = not lines
            rest = lines.pop(0) if start and lines else b""
            yield from reversed(lines)
