"""The KEKs that erasure certificates of a cell state as deleted. A KMS that forgets a deleted KEK can't confirm it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from strongroom.driver.config import ConfigError
from strongroom.kms import InvalidCertificate, verify_certificate
from strongroom.kms.private_files import read_small

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from strongroom.kms import KekRef


def certified_keks(paths: Iterable[Path], public_key: bytes) -> frozenset[KekRef]:
    """Return the KEKs that were deleted with their namespaces.

    Args:
        paths: Files with erasure certificates.
        public_key: The public key of the cell's certificates.

    Raises:
        InvalidCertificate: A file is not a certificate that this cell signed.
        ConfigError: A file can't be read.
    """
    found = set()
    for path in paths:
        try:
            certificate = verify_certificate(read_small(path), public_key=public_key)
        except OSError as error:
            msg = f"{path} can't be read: {error.strerror}"
            raise ConfigError(msg) from None
        except InvalidCertificate as error:
            msg = f"{path}: {error}"
            raise InvalidCertificate(msg) from None
        found |= {each.kek for each in certificate.keks if each.disposal == "delete" and each.is_done}
    return frozenset(found)
