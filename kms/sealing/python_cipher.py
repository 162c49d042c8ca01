"""Seal and open batches of rows with `cryptography` (FORMAT.md section 2).

The sealing loop and the opening loop are the only code that passes rows to a cipher. `strongroom_kernel` has the same
names (`__all__`) in Rust, and `ciphers.py` selects one of the two modules. No function takes a nonce, because a batch draws its own.
"""

from __future__ import annotations

import os
import struct
import threading
import time
from functools import cache
from itertools import islice
from typing import TYPE_CHECKING, NoReturn

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from .header import HEAD_BYTES, PADDED, Suite
from .packing import Unpacker, check_length
from .record_kind import encoder
from .tokens import Tokens
from .xaes import KEY_BYTES, PREFIX_BYTES, XAES256GCM

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from .ciphers import Resolve
    from .record_kind import RecordKey

__all__ = ["Cipher", "KeyMismatch", "NotOpened", "Tokens", "Unpacker", "open_rows"]

MOST_ROWS = 1 << 16
TAIL_BYTES = 12
TAG_BYTES = 16
LONG_BYTES = 16 * 2**10
"""Length from which a copy costs more than a memoryview. The first row decides for the whole batch."""
KeyMismatch = struct.error
NotOpened = (InvalidTag, ValueError)  # ValueError: the nonce is too short for GCM
TURN_ROWS = 256
TURN_BYTES = 512 * 2**10


class Cipher:
    """A cipher under the key of one suite.

    Args:
        key: The key, 32 bytes.
        suite: The number of a `Suite`.
    """

    __slots__ = ("_derive", "_prefix_bytes")

    def __init__(self, key: bytes, suite: int) -> None:
        if len(key) != KEY_BYTES:
            msg = f"a key must have {KEY_BYTES} bytes"
            raise ValueError(msg)
        self._derive: Callable[[bytes], AESGCM]
        if Suite(suite) is Suite.XAES_256_GCM:
            self._derive, self._prefix_bytes = XAES256GCM(key).derive, PREFIX_BYTES
        else:
            aes = AESGCM(key)
            self._derive, self._prefix_bytes = lambda _prefix: aes, 0

    def batch(self, count: int) -> SealingBatch:
        """Return a new batch with random nonces for `count` rows, at most 2^16, and a derived key."""
        if not 0 <= count <= MOST_ROWS:
            msg = f"a batch must have at most {MOST_ROWS} rows"
            raise ValueError(msg)
        prefix, tails = batch_nonces(count) if self._prefix_bytes else (b"", random_nonces(count))
        return SealingBatch(self._derive(prefix), prefix, tails)

    def seal(
        self, header: bytes, context: bytes, types: bytes, scope: RecordKey, rows: Sequence[tuple[RecordKey, bytes]]
    ) -> list[bytes]:
        """Seal rows as a batch of their own. See `SealingBatch.seal`."""
        if len(rows) != 1:
            return self.batch(len(rows)).seal(header, context, types, scope, rows)
        # A batch of one row skips the set-up for several rows, which halves the time.
        ((key, body),) = rows
        if not _is_padded(header):
            check_length(len(body))
        drawn = os.urandom(self._prefix_bytes + TAIL_BYTES)
        aes = self._derive(drawn[: self._prefix_bytes])
        associated = header + context + encoder(types)(*scope, *key)
        return [header + drawn + aes.encrypt(drawn[-TAIL_BYTES:], body, associated)]

    def subkey(self, prefix: bytes) -> AESGCM:
        """Return the key that opens values whose nonces begin with `prefix`. In suite 1 all values have the same key."""
        if self._prefix_bytes and len(prefix) != self._prefix_bytes:
            msg = "the first part of the nonce has another length"
            raise ValueError(msg)
        return self._derive(prefix)

    def __repr__(self) -> str:
        return "Cipher(<redacted>)"

    def __reduce__(self) -> NoReturn:
        msg = "key material is not pickled"
        raise TypeError(msg)


class SealingBatch:
    """A batch of rows that is sealed in one or several groups. It has one nonce for each row."""

    __slots__ = ("_aes", "_prefix", "_tails")

    def __init__(self, aes: AESGCM, prefix: bytes, tails: list[bytes]) -> None:
        self._aes = aes
        self._prefix = prefix
        self._tails = iter(tails)  # an iterator, so that each nonce is used once

    def seal(
        self, header: bytes, context: bytes, types: bytes, scope: RecordKey, rows: Sequence[tuple[RecordKey, bytes]]
    ) -> list[bytes]:
        """Seal rows that share a header.

        Args:
            header: The header of the values, 8 bytes. It is also the start of their associated data.
            context: The associated data between the header and the key.
            types: The types of all key parts, one byte each.
            scope: The leading key parts, which all rows share.
            rows: For each row the remaining key parts and the packed plaintext.

        Raises:
            KeyMismatch: A key part does not have its type.
            SealingLimitExceeded: A plaintext is longer than 64 MiB.
        """
        associated = header + context + encoder(types[: len(scope)])(*scope)
        tails = list(islice(self._tails, len(rows)))
        encrypt, encode, head = self._aes.encrypt, encoder(types[len(scope) :]), header + self._prefix
        sealed: list[bytes] = []
        for turn in turns(rows):
            sealed += [
                head + tail + encrypt(tail, body, associated + encode(*key))
                for tail, (key, body) in zip(tails[turn], rows[turn], strict=True)
            ]
        if not _is_padded(header):  # a padded plaintext was length-checked before padding
            # One pass over the results costs several times less than a check of each plaintext before sealing.
            check_length(max(map(len, sealed), default=0) - len(head) - TAIL_BYTES - TAG_BYTES)
        return sealed

    def __repr__(self) -> str:
        return "SealingBatch(<redacted>)"

    def __reduce__(self) -> NoReturn:
        msg = "a sealing batch can't be pickled, because a copy would reuse its nonces"
        raise TypeError(msg)


def open_rows(resolve: Resolve, types: bytes, scope: RecordKey, rows: Sequence[tuple[RecordKey, bytes]]) -> list[bytes]:
    """Open rows. Each value names its own key version and nonce. Most neighbours share the version and the nonce prefix.

    Args:
        resolve: Returns for a sealed value the subkey that opens it, its associated data up to the key, and the offset of the
            last 12 bytes of its nonce. Called once for each run of equal heads.
        types: The types of all key parts, one byte each.
        scope: The leading key parts, which all rows share.
        rows: For each row a tuple of the remaining key parts, and the sealed value.

    Returns:
        The packed plaintexts.

    Raises:
        NotOpened: A value does not open. The error names neither the value nor the cause.
        UnsupportedFormat: Bytes that are not a sealed value (from `resolve`).
        KeyMismatch: A key part does not have its type.
    """
    encoded_scope, encode = encoder(types[: len(scope)])(*scope), encoder(types[len(scope) :])
    if len(rows) == 1:  # skips the set-up for several rows
        ((key, sealed),) = rows
        subkey, context, start = resolve(sealed)
        nonce, end = sealed[start : start + TAIL_BYTES], start + TAIL_BYTES
        return [subkey.decrypt(nonce, sealed[end:], context + encoded_scope + encode(*key))]
    count, short = len(rows), not rows or len(rows[0][1]) < LONG_BYTES
    last: bytes | None = None
    opened = []
    for turn in turns(rows):
        for key, sealed in rows[turn]:
            head = sealed[:HEAD_BYTES]
            if head != last:
                subkey, context, start = resolve(sealed)
                decrypt, associated, end, last = subkey.decrypt, context + encoded_scope, start + TAIL_BYTES, head
            body = sealed[end:] if short else memoryview(sealed)[end:]
            opened.append(decrypt(sealed[start:end], body, associated + encode(*key)))
    if len(opened) != count:
        msg = "the list of rows was changed while its rows were opened"
        raise IndexError(msg)
    return opened


def _is_padded(header: bytes) -> bool:
    return bool(header) and bool(header[3] & PADDED)


def turns(rows: Sequence[tuple[RecordKey, bytes]]) -> Iterator[slice]:
    """Return slices of a batch that take about a millisecond each, and let other threads run between them.

    Without these pauses an event loop waits up to 5 ms for the interpreter's lock whenever a thread processes a long batch.
    """
    if len(rows) <= TURN_ROWS and len(rows) * len(rows[0][1] if rows else b"") <= TURN_BYTES:
        yield slice(None)
        return
    # On the main thread, no event loop waits for the lock. A pause would only cause cache misses in the processor.
    yields = threading.current_thread() is not threading.main_thread()
    step = max(1, min(TURN_ROWS, TURN_BYTES // (len(rows[0][1]) + 1)))
    for start in range(0, len(rows), step):
        if start and yields:
            time.sleep(0)
        yield slice(start, start + step)


def batch_nonces(count: int) -> tuple[bytes, list[bytes]]:
    """Return the XAES nonces of a batch: 24 random bytes, whose last 12 bytes are then counted up modulo 2^96.

    Each call draws a new start and keeps no state. A retry, a fork or a restored snapshot of the process therefore has no
    counter to repeat (FORMAT.md section 2.2).

    Args:
        count: The number of nonces, at most 2^16, so that all but the last two bytes change at most once.

    Returns:
        The first 12 bytes, which are equal for all, and the last 12 bytes of each nonce.
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
    """Return 0 to 2^16 - 1 as two bytes each. To concatenate these is faster than to encode each counter."""
    return tuple(number.to_bytes(2, "big") for number in range(1 << 16))


def random_nonces(count: int) -> list[bytes]:
    """Return random nonces of suite 1, 96 bits each."""
    drawn = os.urandom(TAIL_BYTES * count)
    return [drawn[i : i + TAIL_BYTES] for i in range(0, len(drawn), TAIL_BYTES)]
