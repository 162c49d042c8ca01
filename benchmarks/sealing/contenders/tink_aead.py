"""Tink's AEAD: a keyset in memory, associated data, a nonce and five bytes of key id before each ciphertext."""

from __future__ import annotations

import tink
from tink import aead

from benchmarks.sealing.contenders.names import TINK
from benchmarks.sealing.contenders.protocol import PREFIX, Contender, encode_key, one_by_one


def contenders() -> list[Contender]:
    """Return the contender, with AES-256-GCM."""
    aead.register()
    primitive = tink.new_keyset_handle(aead.aead_key_templates.AES256_GCM).primitive(aead.Aead)
    encrypt, decrypt = primitive.encrypt, primitive.decrypt
    return [
        one_by_one(
            TINK,
            "tink",
            "one key of a keyset for all rows; no envelope, no KMS",
            lambda key, plaintext: encrypt(plaintext, PREFIX + encode_key(*key)),
            lambda key, value: decrypt(value, PREFIX + encode_key(*key)),
        )
    ]
