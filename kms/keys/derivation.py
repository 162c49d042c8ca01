"""All keys that are derived from a root (FORMAT.md section 5).

The derivation is HKDF-SHA256 (RFC 5869). It needs no salt, because roots are uniformly random.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from strongroom.kms.secret import Secret

if TYPE_CHECKING:
    from strongroom.kms.sealing.header import Suite

    from .registry import KeyContext

ROOT_BYTES = 32


def seal_key(root: Secret, suite: Suite) -> Secret:
    """Derive the key that seals rows. Each suite has its own, so that no key is used by two algorithms."""
    return Secret(_derive(root, b"strongroom seal v1", bytes((suite,))))


def token_key(root: Secret, attribute: str) -> Secret:
    """Derive the key for the index tokens of one attribute."""
    return Secret(_derive(root, b"strongroom token v1", attribute.encode()))


def identity_key(root: Secret, purpose: str) -> Secret:
    """Derive the key for identifiers of one purpose. Equal values therefore have different identifiers in different uses."""
    return Secret(_derive(root, b"strongroom identity v1", purpose.encode()))


def certificate_seed(root: Secret) -> Secret:
    """Derive the private key (RFC 8032) for erasure certificates from the cell's identity root."""
    return Secret(_derive(root, b"strongroom certificate v1", b""))


def audit_seed(root: Secret) -> Secret:
    """Derive the private key for audit-log checkpoints from the cell's identity root."""
    return Secret(_derive(root, b"strongroom audit v1", b""))


def registry_key(root: Secret) -> Secret:
    """Derive the key that authenticates the key registry from the cell's identity root."""
    return Secret(_derive(root, b"strongroom registry v1", b""))


def commitment(root: Secret, context: KeyContext, suite: Suite) -> bytes:
    """Return the commitment to a root and its context, 32 bytes. A commitment is not secret."""
    return _derive(root, b"strongroom commitment v1", context.encode() + bytes((suite,)))


def copies_check(root: Secret, key_id: str) -> bytes:
    """Return 32 bytes by which the multi provider checks that all copies have the same root. They are not secret."""
    return _derive(root, b"strongroom multi check v1", key_id.encode())


def _derive(root: Secret, label: bytes, context: bytes) -> bytes:
    info = label + b"\x00" + struct.pack(">H", len(context)) + context
    return HKDF(algorithm=SHA256(), length=32, salt=None, info=info).derive(root.reveal())
