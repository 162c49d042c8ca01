"""Read the records of a file from its end, because what is newest is at the end of a segment of up to 64 MiB."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from strongroom.kms.private_files import open_regular

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

BLOCK = 2**18
"""Number of bytes that are read at a time."""


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
