"""Ed25519 signatures (RFC 8032) of the cell, which can be verified with its public key alone."""

from __future__ import annotations

from typing import TYPE_CHECKING, NoReturn

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

if TYPE_CHECKING:
    from strongroom.kms.secret import Secret


class SigningKey:
    """A signing key of the cell. It is derived from the identity root whenever it is needed, and never stored."""

    __slots__ = ("_key",)

    def __init__(self, seed: Secret) -> None:
        self._key = Ed25519PrivateKey.from_private_bytes(seed.reveal())

    @property
    def public_key(self) -> bytes:
        """The public key, 32 bytes, which an auditor pins."""
        return self._key.public_key().public_bytes_raw()

    def sign(self, message: bytes) -> bytes:
        """Return the signature of a message, 64 bytes."""
        return self._key.sign(message)

    def __repr__(self) -> str:
        return "SigningKey(<redacted>)"

    def __reduce__(self) -> NoReturn:
        msg = "key material is not pickled"
        raise TypeError(msg)


def is_signed(message: bytes, signature: bytes, *, public_key: bytes) -> bool:
    """Return whether a signature of a message is valid for a public key of 32 bytes. An invalid key gives False."""
    try:
        Ed25519PublicKey.from_public_bytes(public_key).verify(signature, message)
    except (InvalidSignature, ValueError):
        return False
    return True
