"""XAES-256-GCM: AES-256-GCM with a nonce of 192 bits, which may be drawn at random for any number of messages.

Source: C2SP, "The XAES-256-GCM extended-nonce AEAD" (XAES-256-GCM.md). A key is derived from the first 12 bytes of the
nonce (NIST SP 800-108r1 KDF in counter mode with CMAC-AES-256, label "X"). The last 12 bytes are the GCM nonce under it.
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
"""Length of the part of the nonce from which the key is derived."""


class XAES256GCM:
    """The raw primitive, with the interface of the AEADs of `cryptography`.

    NEVER REUSE A NONCE under one key. Strongroom itself can't, because `DataKey` passes no nonces.
    """

    __slots__ = ("_encrypt_block", "_lock", "_mask")

    def __init__(self, key: bytes) -> None:
        """Prepare a key.

        Args:
            key: The key, 32 bytes.

        Raises:
            ValueError: The key has another length.
        """
        if len(key) != KEY_BYTES:
            msg = f"XAES-256-GCM needs a key of {KEY_BYTES} bytes"
            raise ValueError(msg)
        # CMAC is built from the plain block function, which is ECB. One context serves all derivations of this key.
        self._encrypt_block = Cipher(algorithms.AES(key), modes.ECB()).encryptor().update  # noqa: S305
        self._lock = threading.Lock()
        left = int.from_bytes(self._encrypt_block(bytes(16)), "big")
        subkey1 = ((left << 1) & ((1 << 128) - 1)) ^ (0x87 if left >> 127 else 0)
        # Both CMAC inputs are one full block: 0x0001 (or 0x0002), "X", 0x00, then the prefix. The mask has the XOR of
        # their constant bytes and the CMAC subkey.
        constants = (b"\x00\x01X\x00" + bytes(12), b"\x00\x02X\x00" + bytes(12))
        self._mask = int.from_bytes(
            b"".join((int.from_bytes(c, "big") ^ subkey1).to_bytes(16, "big") for c in constants), "big"
        )

    @classmethod
    def generate_key(cls) -> bytes:
        """Return a random key of 32 bytes."""
        return os.urandom(KEY_BYTES)

    def derive(self, prefix: bytes) -> AESGCM:
        """Return AES-256-GCM under the key that is derived from the first 12 bytes of a nonce."""
        padded = int.from_bytes(prefix, "big")
        blocks = (self._mask ^ (padded << 128 | padded)).to_bytes(32, "big")
        with self._lock:  # only one thread at a time may use the context
            return AESGCM(self._encrypt_block(blocks))

    def encrypt(self, nonce: bytes, data: Buffer, associated_data: Buffer | None) -> bytes:
        """Return the ciphertext, followed by the tag of 16 bytes.

        Args:
            nonce: The nonce, 24 bytes. NEVER REUSE A NONCE under one key.
            data: The plaintext.
            associated_data: Bytes that are authenticated but not encrypted. None means empty.
        """
        return self._split(nonce).encrypt(nonce[PREFIX_BYTES:], data, associated_data)

    def decrypt(self, nonce: bytes, data: Buffer, associated_data: Buffer | None) -> bytes:
        """Return the plaintext of an authenticated ciphertext.

        Raises:
            cryptography.exceptions.InvalidTag: The key, nonce, data or associated data differs from that of `encrypt`.
        """
        return self._split(nonce).decrypt(nonce[PREFIX_BYTES:], data, associated_data)

    def _split(self, nonce: bytes) -> AESGCM:
        if len(nonce) != NONCE_BYTES:
            msg = f"XAES-256-GCM needs a nonce of {NONCE_BYTES} bytes"
            raise ValueError(msg)
        return self.derive(nonce[:PREFIX_BYTES])

    def __reduce__(self) -> NoReturn:
        msg = "key material is not pickled"
        raise TypeError(msg)
