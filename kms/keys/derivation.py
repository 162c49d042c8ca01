"""All keys that are derived from a root (FORMAT.md section 5).

HKDF-SHA256 (RFC 5869) without a salt, as roots are uniform.
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
    """Derive the key that seals rows: one per suite, so that no key serves two algorithms."""
    return Secret(_derive(root, b"strongroom seal v1", bytes((suite,))))


def token_key(root: Secret, attribute: str) -> Secret:
    """Derive the key for the index tokens of one attribute."""
    return Secret(_derive(root, b"strongroom token v1", attribute.encode()))


def identity_key(root: Secret, purpose: str) -> Secret:
    """Derive the key for identifiers of rows or documents, one per purpose: equal values differ between uses."""
    return Secret(_derive(root, b"strongroom identity v1", purpose.encode()))


def certificate_seed(root: Secret) -> Secret:
    """Derive the private key (RFC 8032) that signs erasure certificates, from the root of the cell's identity class."""
    return Secret(_derive(root, b"strongroom certificate v1", b""))


def audit_seed(root: Secret) -> Secret:
    """Derive the private key that signs checkpoints of audit logs, from the same root."""
    return Secret(_derive(root, b"strongroom audit v1", b""))


def commitment(root: Secret, context: KeyContext, suite: Suite) -> bytes:
    """Return the 32 bytes that commit to a root and to what it is for; not secret."""
    return _derive(root, b"strongroom commitment v1", context.encode() + bytes((suite,)))


def copies_check(root: Secret, key_id: str) -> bytes:
    """Return the 32 bytes by which the multi-provider knows the root that all copies hold; not secret."""
    return _derive(root, b"strongroom multi check v1", key_id.encode())


def _derive(root: Secret, label: bytes, context: bytes) -> bytes:
    info = label + b"\x00" + struct.pack(">H", len(context)) + context
    return HKDF(algorithm=SHA256(), length=32, salt=None, info=info).derive(root.reveal())
