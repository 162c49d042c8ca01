"""Ed25519 signatures (RFC 8032) of the cell, for who has nothing but its public key."""

from __future__ import annotations

from typing import TYPE_CHECKING, NoReturn

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

if TYPE_CHECKING:
    from strongroom.kms.secret import Secret


class SigningKey:
    """A signing key of the cell. Derived anew from the identity root whenever it is needed, so it is stored nowhere."""

    __slots__ = ("_key",)

    def __init__(self, seed: Secret) -> None:
        self._key = Ed25519PrivateKey.from_private_bytes(seed.reveal())

    @property
    def public_key(self) -> bytes:
        """The 32 bytes that an auditor pins."""
        return self._key.public_key().public_bytes_raw()

    def sign(self, message: bytes) -> bytes:
        """Return the 64 bytes of a signature."""
        return self._key.sign(message)

    def __repr__(self) -> str:
        return "SigningKey(<redacted>)"

    def __reduce__(self) -> NoReturn:
        msg = "key material is not pickled"
        raise TypeError(msg)


def is_signed(message: bytes, signature: bytes, *, public_key: bytes) -> bool:
    """Return whether a message is signed by the owner of a public key of 32 bytes; False for a key that is none."""
    try:
        Ed25519PublicKey.from_public_bytes(public_key).verify(signature, message)
    except (InvalidSignature, ValueError):
        return False
    return True
