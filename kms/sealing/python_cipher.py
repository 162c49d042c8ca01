"""Seal and open batches on `cryptography`: the only two loops in which rows meet a cipher (FORMAT.md section 2).

Narrow on purpose, bytes in and bytes out: `strongroom_kernel` has the same names (`__all__`), written in Rust, and `ciphers.py`
says which of the two is used. No nonce is passed in: a batch draws its own.
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
from .xaes import PREFIX_BYTES, XAES256GCM

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from .ciphers import Resolve
    from .record_kind import Key

__all__ = ["Cipher", "KeyMismatch", "NotOpened", "Tokens", "Unpacker", "open_rows"]

TAIL_BYTES = 12
TAG_BYTES = 16
LONG_BYTES = 16 * 2**10
"""From here on a copy costs more than a view; a batch is judged by its first row."""
KeyMismatch = struct.error
NotOpened = (InvalidTag, ValueError)  # ValueError: a nonce cut too short for GCM
TURN_ROWS = 256
TURN_BYTES = 512 * 2**10


class Cipher:
    """The key of one suite.

    Args:
        key: 32 bytes.
        suite: see `Suite`.
    """

    __slots__ = ("_derive", "_prefix_bytes")

    def __init__(self, key: bytes, suite: int) -> None:
        self._derive: Callable[[bytes], AESGCM]
        if Suite(suite) is Suite.XAES_256_GCM:
            self._derive, self._prefix_bytes = XAES256GCM(key).derive, PREFIX_BYTES
        else:
            aes = AESGCM(key)
            self._derive, self._prefix_bytes = lambda _prefix: aes, 0

    def batch(self, count: int) -> SealingBatch:
        """Draw the nonces of a batch of at most 2^16 rows, and derive its key."""
        prefix, tails = batch_nonces(count) if self._prefix_bytes else (b"", random_nonces(count))
        return SealingBatch(self._derive(prefix), prefix, tails)

    def seal(
        self, header: bytes, context: bytes, types: bytes, scope: Key, rows: Sequence[tuple[Key, bytes]]
    ) -> list[bytes]:
        """Seal rows as a batch of their own; see `SealingBatch.seal`."""
        if len(rows) != 1:
            return self.batch(len(rows)).seal(header, context, types, scope, rows)
        # The same without what only several rows need: half the time.
        ((key, body),) = rows
        if not _is_padded(header):
            check_length(len(body))
        drawn = os.urandom(self._prefix_bytes + TAIL_BYTES)
        aes = self._derive(drawn[: self._prefix_bytes])
        associated = header + context + encoder(types)(*scope, *key)
        return [header + drawn + aes.encrypt(drawn[-TAIL_BYTES:], body, associated)]

    def subkey(self, prefix: bytes) -> AESGCM:
        """Return what opens values whose nonces begin with `prefix`; in suite 1 all have the same key, whatever it is."""
        return self._derive(prefix)

    def __repr__(self) -> str:
        return "Cipher(<redacted>)"

    def __reduce__(self) -> NoReturn:
        msg = "key material is not pickled"
        raise TypeError(msg)


class SealingBatch:
    """The rows of one batch, sealed in one or several groups; it has nonces for as many as it was made for."""

    __slots__ = ("_aes", "_prefix", "_tails")

    def __init__(self, aes: AESGCM, prefix: bytes, tails: list[bytes]) -> None:
        self._aes = aes
        self._prefix = prefix
        self._tails = iter(tails)  # each nonce is taken once, whoever shares the batch

    def seal(
        self, header: bytes, context: bytes, types: bytes, scope: Key, rows: Sequence[tuple[Key, bytes]]
    ) -> list[bytes]:
        """Seal rows that share a header.

        Args:
            header: the start of each value and of its associated data.
            context: what follows in that.
            types: of all parts of a row's key, a byte each.
            scope: the leading parts, which all rows share.
            rows: the row's own key parts, and the packed plaintext.

        Raises:
            KeyMismatch: a key part is not of its type.
            SealingLimitExceeded: a plaintext is longer than 64 MiB.
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
        if not _is_padded(header):  # else `pack` has checked what is shorter than this
            # In one pass over what was made: to look at each plaintext beforehand costs several times as much.
            check_length(max(map(len, sealed), default=0) - len(head) - TAIL_BYTES - TAG_BYTES)
        return sealed

    def __repr__(self) -> str:
        return "SealingBatch(<redacted>)"

    def __reduce__(self) -> NoReturn:
        msg = "a batch is not copied: its nonces are its own"
        raise TypeError(msg)


def open_rows(resolve: Resolve, types: bytes, scope: Key, rows: Sequence[tuple[Key, bytes]]) -> list[bytes]:
    """Open rows; each names its own key version and nonce, neighbours mostly share them.

    Args:
        resolve: for a sealed value, the subkey that opens it, its associated data up to the key, and the offset of the
            last 12 bytes of its nonce. Called once for each run of equal heads.
        types: of all parts of a row's key, a byte each.
        scope: the leading parts, which all rows share.
        rows: tuples of the row's own key parts, a tuple, and the sealed value.

    Returns:
        The packed plaintexts.

    Raises:
        NotOpened: a value does not open here; which, and why, is not told.
        UnsupportedFormat: bytes that are not a sealed value (from `resolve`).
        KeyMismatch: a key part is not of its type.
    """
    encoded_scope, encode = encoder(types[: len(scope)])(*scope), encoder(types[len(scope) :])
    if len(rows) == 1:  # without what only several rows need
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
        msg = "the list of rows was changed while they were opened"
        raise IndexError(msg)
    return opened


def _is_padded(header: bytes) -> bool:
    return bool(header) and bool(header[3] & PADDED)


def turns(rows: Sequence[tuple[Key, bytes]]) -> Iterator[slice]:
    """Cut a batch into turns of about a millisecond; between them any other thread may run.

    Without it an event loop that has given a long batch to a thread waits 5 ms each time until the interpreter takes turns by itself.
    """
    if len(rows) <= TURN_ROWS and len(rows) * len(rows[0][1] if rows else b"") <= TURN_BYTES:
        yield slice(None)
        return
    # Whoever seals on the main thread has nobody to wait for it there, and would only lose its cache to other processes.
    yields = threading.current_thread() is not threading.main_thread()
    step = max(1, min(TURN_ROWS, TURN_BYTES // (len(rows[0][1]) + 1)))
    for start in range(0, len(rows), step):
        if start and yields:
            time.sleep(0)
        yield slice(start, start + step)


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
