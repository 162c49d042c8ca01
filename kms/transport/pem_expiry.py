"""When the certificates and revocation lists in PEM files end."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from cryptography import x509

from strongroom.kms.errors import InvalidRequest

if TYPE_CHECKING:
    from datetime import datetime
    from pathlib import Path

_BLOCK = re.compile(rb"-----BEGIN (CERTIFICATE|X509 CRL)-----.*?-----END \1-----", re.DOTALL)


def pem_expiry(file: Path) -> datetime:
    """Return when the first certificate or revocation list in a file ends, in UTC.

    Raises:
        InvalidRequest: the file can't be read, or holds none that ends.
    """
    try:
        ends = [_end(kind, block) for kind, block in _blocks(file.read_bytes())]
    except (OSError, ValueError) as error:
        why = error.strerror if isinstance(error, OSError) else "it holds no certificate or revocation list in PEM"
        msg = f"TLS: {file} can't be used: {why}"
        raise InvalidRequest(msg) from None
    found = [end for end in ends if end is not None]
    if not found:
        msg = f"TLS: {file} can't be used: it holds no certificate or revocation list that says when it ends"
        raise InvalidRequest(msg)
    return min(found)


def _blocks(content: bytes) -> list[tuple[bytes, bytes]]:
    return [(match[1], match[0]) for match in _BLOCK.finditer(content)]


def _end(kind: bytes, block: bytes) -> datetime | None:
    if kind == b"CERTIFICATE":
        return x509.load_pem_x509_certificate(block).not_valid_after_utc
    return x509.load_pem_x509_crl(block).next_update_utc
