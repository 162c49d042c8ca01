"""The hash chain through a stream's records, and the lines of the file (docs/how-to/audit-log.md, "The chain").

`append` specifies the kernel's function of the same name, which writes the same bytes. The kernel does not hold the interpreter's
lock, because a writing thread would wait for busy callers each time it takes the lock again.
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
    """The type of `append`."""

    def __call__(
        self, file: int, offset: int, head: bytes, first: int, chain: bytes, records: list[bytes], /
    ) -> tuple[int, bytes]:
        """Write records. Return the number of bytes and the chain after the last record."""


def append(file: int, offset: int, head: bytes, first: int, chain: bytes, records: list[bytes], /) -> tuple[int, bytes]:
    """Number records, chain them, and write their lines.

    Args:
        file: The file's descriptor. If it was opened with O_DSYNC, the lines are on disk when this returns.
        offset: The position in the file, in bytes.
        head: The beginning of each record, up to its sequence number.
        first: The number of the first record.
        chain: The chain before the first record, 32 bytes.
        records: The JSON members that follow the sequence number, for each record.

    Returns:
        The number of bytes that were written, and the chain after the last record.

    Raises:
        OSError: The write failed. Some records may have been written.
    """
    lines = []
    for number, members in enumerate(records, first):
        body = b"%b%d,%b}" % (head, number, members)
        chain = link(chain, body)
        lines.append(with_chain(body, chain))
    data = memoryview(b"".join(lines))
    written = 0
    while written < len(data):
        written += os.pwrite(file, data[written:], offset + written)
    return written, chain


def chosen_append() -> Append:
    """Return the kernel's `append` if the kernel is in use, otherwise the function in this module."""
    chosen: Append = append
    return ciphers.chosen_function("append", chosen)


def link(chain: bytes, body: bytes) -> bytes:
    """Return the chain after a record.

    Args:
        chain: The chain before the record, 32 bytes.
        body: The record's JSON object without its `chain`.
    """
    return sha256(chain + body).digest()


def with_chain(body: bytes, chain: bytes) -> bytes:
    """Return the line of a record: its JSON object with the chain as the last member."""
    return b'%b%b%b"}\n' % (body[:-1], MARK, chain.hex().encode())
