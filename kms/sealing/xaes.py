"""XAES-256-GCM: AES-256-GCM with a 192-bit nonce, safe to draw at random for any number of messages.

Source: C2SP, "The XAES-256-GCM extended-nonce AEAD" (XAES-256-GCM.md). The first 12 bytes of the nonce derive a key
of their own (NIST SP 800-108r1 KDF in counter mode with CMAC-AES-256, label "X"), the last 12 are the GCM nonce under
it.
"""

from __future__ import annotations

import os
import threading
from typing import TYPE_CHECKING, NoReturn

from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

if TYPE_CHECKING:
    from collections.abc import Buffer  # type: ignore[attr-defined]  # Python 3.12; typing only

KEY_BYTES = 32
NONCE_BYTES = 24
PREFIX_BYTES = 12
"""How much of the nonce goes into the key derivation."""


class XAES256GCM:
    """The raw primitive, with the shape of the AEADs of `cryptography`.

    NEVER REUSE A NONCE under one key. Strongroom's own callers can't: `DataKey.seal_many` draws its nonces itself.
    """

    __slots__ = ("_encrypt_block", "_lock", "_mask")

    def __init__(self, key: bytes) -> None:
        """Prepare a key.

        Args:
            key: 32 bytes.

        Raises:
            ValueError: the key has another length.
        """
        if len(key) != KEY_BYTES:
            msg = f"XAES-256-GCM takes a key of {KEY_BYTES} bytes"
            raise ValueError(msg)
        # ECB is the block function that CMAC is built from; one context serves all derivations of this key.
        self._encrypt_block = Cipher(algorithms.AES(key), modes.ECB()).encryptor().update  # noqa: S305
        self._lock = threading.Lock()
        left = int.from_bytes(self._encrypt_block(bytes(16)), "big")
        subkey1 = ((left << 1) & ((1 << 128) - 1)) ^ (0x87 if left >> 127 else 0)
        # Both CMAC inputs are one full block: 0x0001 (0x0002), "X", 0x00, then the prefix. Fold all that is constant
        # into one mask.
        constants = (b"\x00\x01X\x00" + bytes(12), b"\x00\x02X\x00" + bytes(12))
        self._mask = int.from_bytes(
            b"".join((int.from_bytes(c, "big") ^ subkey1).to_bytes(16, "big") for c in constants), "big"
        )

    @classmethod
    def generate_key(cls) -> bytes:
        """Draw a key of 32 bytes."""
        return os.urandom(KEY_BYTES)

    def derive(self, prefix: bytes) -> AESGCM:
        """Return AES-256-GCM under the key that a nonce's first 12 bytes derive."""
        padded = int.from_bytes(prefix, "big")
        blocks = (self._mask ^ (padded << 128 | padded)).to_bytes(32, "big")
        with self._lock:  # the context belongs to one thread at a time
            return AESGCM(self._encrypt_block(blocks))

    def encrypt(self, nonce: bytes, data: Buffer, associated_data: Buffer | None) -> bytes:
        """Encrypt and authenticate.

        Args:
            nonce: 24 bytes. NEVER REUSE A NONCE under one key.
            data: the plaintext.
            associated_data: authenticated, not encrypted; None is the same as empty.

        Returns:
            The ciphertext, and after it the tag of 16 bytes.
        """
        return self._split(nonce).encrypt(nonce[PREFIX_BYTES:], data, associated_data)

    def decrypt(self, nonce: bytes, data: Buffer, associated_data: Buffer | None) -> bytes:
        """Check and decrypt.

        Raises:
            cryptography.exceptions.InvalidTag: the key, nonce, data or associated data is not what was used to encrypt.
        """
        return self._split(nonce).decrypt(nonce[PREFIX_BYTES:], data, associated_data)

    def _split(self, nonce: bytes) -> AESGCM:
        if len(nonce) != NONCE_BYTES:
            msg = f"XAES-256-GCM takes a nonce of {NONCE_BYTES} bytes"
            raise ValueError(msg)
        return self.derive(nonce[:PREFIX_BYTES])

    def __reduce__(self) -> NoReturn:
        msg = "key material is not pickled"
        raise TypeError(msg)
