"""The chain through a stream's records (docs/audit-log.md, "The chain"), and the lines that it stands in.

`append` is the specification of the kernel's function of that name, which writes the same bytes without the interpreter's lock: a
thread that shares it with busy callers waits for it each time that it wants it back.
"""

from __future__ import annotations

import os
from hashlib import sha256
from typing import Protocol

from strongroom.kms.sealing import ciphers

GENESIS = bytes(32)
"""The chain before the first record."""
MARK = b',"chain":"'
MARKED_BYTES = len(MARK) + 64 + len(b'"}')


class Append(Protocol):
    """See `append`."""

    def __call__(
        self, file: int, offset: int, head: bytes, first: int, chain: bytes, said: list[bytes], /
    ) -> tuple[int, bytes]:
        """Write records; return how many bytes, and the chain after the last one."""


def append(file: int, offset: int, head: bytes, first: int, chain: bytes, said: list[bytes], /) -> tuple[int, bytes]:
    """Number records, chain them, and write their lines.

    Args:
        file: descriptor; what it was opened with says whether the lines are on disk when this returns.
        offset: where in the file.
        head: what each record begins with, up to its number.
        first: the number of the first one.
        chain: the chain before it, 32 bytes.
        said: of each record the rest of its members.

    Returns:
        How many bytes were written, and the chain after the last record.

    Raises:
        OSError: some may have been written.
    """
    lines = []
    for number, members in enumerate(said, first):
        body = b"%b%d,%b}" % (head, number, members)
        chain = link(chain, body)
        lines.append(with_chain(body, chain))
    data = memoryview(b"".join(lines))
    written = 0
    while written < len(data):
        written += os.pwrite(file, data[written:], offset + written)
    return written, chain


def fastest() -> Append:
    """Return the kernel's `append` if the kernel is in use, else the one above."""
    chosen: Append = append
    return ciphers.chosen_function("append", chosen)


def link(chain: bytes, body: bytes) -> bytes:
    """Return the chain after a record.

    Args:
        chain: before it, 32 bytes.
        body: the record's JSON object without its `chain`.
    """
    return sha256(chain + body).digest()


def with_chain(body: bytes, chain: bytes) -> bytes:
    """Return the line of a record."""
    return b'%b%b%b"}\n' % (body[:-1], MARK, chain.hex().encode())
