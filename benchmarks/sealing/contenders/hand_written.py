"""A hand-written loop: a random nonce for each row, the row's key in the associated data, and the nonce before the ciphertext.

It takes part twice under two names. The difference between the two is noise.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from benchmarks.sealing.contenders.protocol import PREFIX, Contender, encode_key, installed

if TYPE_CHECKING:
    from collections.abc import Sequence

    from benchmarks.sealing.contenders.protocol import Key, Row, Sealed

NAME = "hand-written loop"
AGAIN = "hand-written loop again"


def contenders() -> list[Contender]:
    """Return the loop, twice."""
    return [_contender(NAME, "one key for ever"), _contender(AGAIN, "the same code: what it differs by is noise")]


def _contender(name: str, differs: str) -> Contender:
    cipher = AESGCM(os.urandom(32))
    encrypt, decrypt, urandom, prefix = cipher.encrypt, cipher.decrypt, os.urandom, PREFIX

    def seal(rows: Sequence[Row]) -> list[bytes]:
        sealed = []
        for key, plaintext in rows:
            nonce = urandom(12)
            sealed.append(nonce + encrypt(nonce, plaintext, prefix + encode_key(*key)))
        return sealed

    def open_(sealed: Sealed) -> list[bytes]:
        return [decrypt(value[:12], value[12:], prefix + encode_key(*key)) for key, value in sealed]

    def seal_one(key: Key, plaintext: bytes) -> bytes:
        nonce = urandom(12)
        return nonce + encrypt(nonce, plaintext, prefix + encode_key(*key))

    def open_one(key: Key, value: bytes) -> bytes:
        return decrypt(value[:12], value[12:], prefix + encode_key(*key))

    return Contender(name, installed("cryptography"), differs, seal, open_, seal_one, open_one)
