"""TLS to a KMS: certificates and host names verified, version 1.3 or nothing."""

from __future__ import annotations

import ssl
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from .errors import InvalidRequest

if TYPE_CHECKING:
    from pathlib import Path

_LOOPBACK = {"localhost", "127.0.0.1", "::1"}


def client_context(
    *, ca_certs: Path | None = None, certificate: Path | None = None, key: Path | None = None
) -> ssl.SSLContext:
    """Return what a client connects with.

    Args:
        ca_certs: PEM file of the authority that signed the server's certificate; None for the system's.
        certificate: PEM file of this client's own certificate, where the server asks for one.
        key: PEM file of its key, unless that is in the same file.

    Raises:
        InvalidRequest: a file can't be read, or is not what it should be.
    """
    try:
        # Not ssl.create_default_context: that writes its secrets wherever the variable SSLKEYLOGFILE says, and roots travel here.
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.minimum_version = ssl.TLSVersion.TLSv1_3
        if ca_certs is None:
            context.load_default_certs()
        else:
            context.load_verify_locations(ca_certs)
        if certificate is not None:
            context.load_cert_chain(certificate, key)
    except (OSError, ssl.SSLError) as error:
        named = ", ".join(str(path) for path in (ca_certs, certificate, key) if path is not None)
        msg = f"TLS: {named} can't be used: {error.strerror or 'not a certificate or key in PEM'}"
        raise InvalidRequest(msg) from None
    return context


def check_address(address: str) -> None:
    """Refuse an address to which keys would travel in clear.

    Raises:
        InvalidRequest: neither https, nor http to this very machine.
    """
    parts = urlsplit(address)
    if parts.scheme == "https" and parts.hostname:
        return
    if parts.scheme == "http" and is_loopback(address):
        return
    msg = f"{address}: a KMS is reached over https; http is for a server on this machine (127.0.0.1) only"
    raise InvalidRequest(msg)


def is_loopback(address: str) -> bool:
    """Return whether an address is this very machine's."""
    return urlsplit(address).hostname in _LOOPBACK
