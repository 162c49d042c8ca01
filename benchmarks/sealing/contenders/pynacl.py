"""PyNaCl's Aead: XChaCha20-Poly1305 of libsodium, with a random nonce of 24 bytes before each ciphertext."""

from __future__ import annotations

import os

from nacl.secret import Aead

from benchmarks.sealing.contenders.protocol import PREFIX, Contender, encode_key, one_by_one


def contenders() -> list[Contender]:
    """Return the contender."""
    box = Aead(os.urandom(32))
    encrypt, decrypt = box.encrypt, box.decrypt
    return [
        one_by_one(
            "PyNaCl Aead",
            "PyNaCl",
            "another cipher, XChaCha20-Poly1305, which no instruction of the processor helps; one key",
            lambda key, plaintext: encrypt(plaintext, PREFIX + encode_key(*key)),
            lambda key, value: decrypt(value, PREFIX + encode_key(*key)),
        )
    ]
