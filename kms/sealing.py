"""Seal and open batches: the only two loops in which rows meet a cipher (FORMAT.md section 2).

Narrow on purpose, bytes in and bytes out, so that a native kernel can take their place.
"""

from __future__ import annotations

import os
import struct
from functools import cache
from typing import TYPE_CHECKING, TypeAlias

from cryptography.exceptions import InvalidTag

from .errors import IntegrityError, InvalidRequest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from .record_kind import Key

    Encrypt: TypeAlias = Callable[[bytes, bytes, bytes], bytes]
    Decrypt: TypeAlias = Callable[[bytes, bytes, bytes], bytes]
    Opener: TypeAlias = Callable[[bytes], tuple[Decrypt, bytes, int]]

TAIL_BYTES = 12
HEAD_BYTES = 20
"""Header and nonce prefix of suite 2: what neighbours that were sealed in one batch have in common."""


def batch_nonces(count: int) -> tuple[bytes, list[bytes]]:
    """Draw a batch's XAES nonces: 24 random bytes, counted up in the last 12, modulo 2^96 (FORMAT.md section 2.2).

    Drawn anew on every call, so nothing survives a retry, a fork or a restored snapshot of the process.

    Args:
        count: at most 2^16, so that all but the last two bytes change at most once.

    Returns:
        The first 12 bytes, which all have in common, and the last 12 of each.
    """
    start = os.urandom(2 * TAIL_BYTES)
    prefix, upper, first = start[:TAIL_BYTES], start[TAIL_BYTES:-2], int.from_bytes(start[-2:], "big")
    endings = _two_byte_endings()
    tails = [upper + ending for ending in endings[first : first + count]]
    if len(tails) < count:
        carried = ((int.from_bytes(upper, "big") + 1) % (1 << 80)).to_bytes(len(upper), "big")
        tails += [carried + ending for ending in endings[: count - len(tails)]]
    return prefix, tails


@cache
def _two_byte_endings() -> tuple[bytes, ...]:
    """Return 0 to 2^16 - 1 as bytes: joining them on is faster than writing each counter out."""
    return tuple(number.to_bytes(2, "big") for number in range(1 << 16))


def random_nonces(count: int) -> list[bytes]:
    """Draw the 96-bit nonces of suite 1, each at random."""
    drawn = os.urandom(TAIL_BYTES * count)
    return [drawn[i : i + TAIL_BYTES] for i in range(0, len(drawn), TAIL_BYTES)]


def seal_batch(
    encrypt: Encrypt,
    *,
    head: bytes,
    tails: Iterable[bytes],
    associated: bytes,
    encode: Callable[..., bytes],
    rows: Iterable[tuple[Key, bytes]],
) -> list[bytes]:
    """Seal rows that share a header.

    Args:
        encrypt: (nonce, data, associated data) under the batch's key.
        head: header, and nonce prefix if the suite has one: the start of each record.
        tails: the last 12 bytes of each record's nonce.
        associated: the associated data up to the row's own key parts.
        encode: encodes the row's own key parts.
        rows: the row's own key parts, and the packed plaintext.

    Raises:
        InvalidRequest: a key part is not of its type.
    """
    try:
        return [
            head + tail + encrypt(tail, body, associated + encode(*key))
            for tail, (key, body) in zip(tails, rows, strict=True)
        ]
    except struct.error:
        raise InvalidRequest(_KEY_MISMATCH) from None


def open_batch(
    opener: Opener,
    *,
    encode: Callable[..., bytes],
    rows: Iterable[tuple[Key, bytes]],
) -> list[bytes]:
    """Open rows; each names its own key version and nonce, neighbours mostly share them.

    Args:
        opener: for a sealed value, how to decrypt it, its associated data up to the row's own key parts, and the
            offset of the last 12 bytes of its nonce. Called once for each run of equal heads.
        encode: encodes the row's own key parts.
        rows: the row's own key parts, and the sealed value.

    Returns:
        The packed plaintexts.

    Raises:
        IntegrityError: a value does not open here; which, and why, is not told.
        UnsupportedFormat: bytes that are not a sealed value (from the opener).
        InvalidRequest: a key part is not of its type.
    """
    last: bytes | None = None
    opened = []
    try:
        for key, sealed in rows:
            head = sealed[:HEAD_BYTES]
            if head != last:
                decrypt, associated, start = opener(sealed)
                end, last = start + TAIL_BYTES, head
            opened.append(decrypt(sealed[start:end], sealed[end:], associated + encode(*key)))
    except (InvalidTag, ValueError):  # ValueError: a nonce cut too short for GCM
        raise IntegrityError from None
    except struct.error:
        raise InvalidRequest(_KEY_MISMATCH) from None
    return opened


_KEY_MISMATCH = "the parts of a row's key are not those of its record kind"
