"""Expiry times of certificates and revocation lists in PEM files."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from cryptography import x509

from strongroom.kms.errors import InvalidRequest

from .pem import read_pem

if TYPE_CHECKING:
    from datetime import datetime
    from pathlib import Path

_BLOCK = re.compile(rb"-----BEGIN (CERTIFICATE|X509 CRL)-----.*?-----END \1-----", re.DOTALL)


def pem_expiry(file: Path) -> datetime:
    """Return the time, UTC, at which the first certificate or revocation list in a file expires.

    Raises:
        InvalidRequest: The file can't be read, or has nothing that expires.
    """
    try:
        ends = [_end(kind, block) for kind, block in _blocks(read_pem(file))]
    except ValueError:
        msg = f"TLS: {file} can't be used: it contains no certificate or revocation list in PEM"
        raise InvalidRequest(msg) from None
    expiries = [end for end in ends if end is not None]
    if not expiries:
        msg = f"TLS: {file} can't be used: it contains no certificate or revocation list with an expiry time"
        raise InvalidRequest(msg)
    return min(expiries)


def _blocks(content: bytes) -> list[tuple[bytes, bytes]]:
    return [(match[1], match[0]) for match in _BLOCK.finditer(content)]


def _end(kind: bytes, block: bytes) -> datetime | None:
    if kind == b"CERTIFICATE":
        return x509.load_pem_x509_certificate(block).not_valid_after_utc
    return x509.load_pem_x509_crl(block).next_update_utc
