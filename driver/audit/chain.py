"""The chain through a stream's records (audit_log.md, "The chain"), and the lines that it stands in.

`chained` is the specification of the kernel's function of that name, which makes the same bytes without the interpreter's lock.
"""

from __future__ import annotations

from hashlib import sha256
from importlib import import_module
from typing import TYPE_CHECKING, Protocol, cast

from strongroom.kms.ciphers import NATIVE, chosen

if TYPE_CHECKING:
    from collections.abc import Sequence

GENESIS = bytes(32)
"""The chain before the first record."""
MARK = b',"chain":"'
MARKED_BYTES = len(MARK) + 64 + len(b'"}')


class Chained(Protocol):
    """See `chained`."""

    def __call__(self, head: bytes, first: int, chain: bytes, said: Sequence[bytes], /) -> tuple[bytes, bytes]:
        """Return lines, and the chain after the last one."""


def chained(head: bytes, first: int, chain: bytes, said: Sequence[bytes], /) -> tuple[bytes, bytes]:
    """Make the lines of records.

    Args:
        head: what each begins with, up to its number.
        first: the number of the first one.
        chain: the chain before it, 32 bytes.
        said: of each record the rest of its members.

    Returns:
        The lines, joined, and the chain after the last one.
    """
    lines = []
    for number, members in enumerate(said, first):
        body = b"%b%d,%b}" % (head, number, members)
        chain = link(chain, body)
        lines.append(with_chain(body, chain))
    return b"".join(lines), chain


def fastest() -> Chained:
    """Return the kernel's `chained` if the kernel is what seals here, and has it; else the one above."""
    if chosen() != NATIVE:
        return chained
    return cast("Chained", getattr(import_module("strongroom_kernel"), "chained", chained))


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
