"""A loop over `AESGCM.encrypt` and nothing else. No real program can do so little; it is the minimum cost of one in Python."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from benchmarks.sealing.contenders.protocol import Contender, installed

if TYPE_CHECKING:
    from collections.abc import Sequence

    from benchmarks.sealing.contenders.protocol import Key, Row, Sealed

NAME = "bare AESGCM loop"


def contenders() -> list[Contender]:
    """Return the loop. Nonces are made beforehand, and there are no associated data and no framing."""
    cipher = AESGCM(os.urandom(32))
    encrypt, decrypt = cipher.encrypt, cipher.decrypt
    # All batches use the same nonces, which costs nothing. Real code must never reuse a nonce.
    nonces = [number.to_bytes(12, "big") for number in range(1 << 12)]
    nonce = nonces[0]

    def seal(rows: Sequence[Row]) -> list[bytes]:
        return [encrypt(nonce, plaintext, None) for nonce, (_, plaintext) in zip(nonces, rows, strict=False)]

    def open_(sealed: Sealed) -> list[bytes]:
        return [decrypt(nonce, value, None) for nonce, (_, value) in zip(nonces, sealed, strict=False)]

    def seal_one(_key: Key, plaintext: bytes) -> bytes:
        return encrypt(nonce, plaintext, None)

    def open_one(_key: Key, value: bytes) -> bytes:
        return decrypt(nonce, value, None)

    differs = "nonces made beforehand, no associated data, nothing framed: not usable, a floor"
    return [Contender(NAME, installed("cryptography"), differs, seal, open_, seal_one, open_one)]
