"""TLS for every connection: TLS 1.3 only, certificates and host names verified, files reloaded when they change."""

from __future__ import annotations

import ssl
from contextlib import contextmanager
from dataclasses import dataclass
from ipaddress import ip_address
from typing import TYPE_CHECKING, Any, Self
from urllib.parse import urlsplit

from strongroom.kms.errors import InvalidRequest

from .pem import CERTIFICATE, REVOCATIONS, read_pem
from .reloaded import Reloaded

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path


@dataclass(frozen=True, slots=True)
class TlsFiles:
    """The PEM files of a TLS client.

    Attributes:
        ca_certs: The certificate of the authority that signed the server's certificate. None means the system's authorities.
        certificate: The client's own certificate, if the server asks for one.
        key: The key of that certificate, unless it is in the same file.
    """

    ca_certs: Path | None = None
    certificate: Path | None = None
    key: Path | None = None


class ReloadingContext(ssl.SSLContext):
    """A context that uses the current files for each new connection.

    Settings that a library changes on it, for example the lowest TLS version or a file for secrets, affect no connection.

    Args:
        load: Returns a context made from the files.
        files: The files.

    Raises:
        StrongroomError: The first `load` fails.
    """

    _made: Reloaded[ssl.SSLContext]

    def __new__(cls, load: Callable[[], ssl.SSLContext], *files: Path | None) -> Self:
        """Load the first context."""
        made = Reloaded(load, *files)
        self = super().__new__(cls, made.current().protocol)
        self.minimum_version = ssl.TLSVersion.TLSv1_3
        self._made = made
        return self

    def wrap_socket(self, *args: Any, **kwargs: Any) -> ssl.SSLSocket:
        """See `ssl.SSLContext`."""
        return self._made.current().wrap_socket(*args, **kwargs)

    def wrap_bio(self, *args: Any, **kwargs: Any) -> ssl.SSLObject:
        """See `ssl.SSLContext`. asyncio uses this method."""
        return self._made.current().wrap_bio(*args, **kwargs)


def client_context(
    *,
    ca_certs: Path | None = None,
    certificate: Path | None = None,
    key: Path | None = None,
    protocols: Sequence[str] = (),
) -> ssl.SSLContext:
    """Return a TLS context for a client. Each new connection uses the current contents of the files.

    Args:
        ca_certs: The PEM file of the authority that signed the server's certificate. None means the system's authorities.
        certificate: The PEM file of the client's own certificate, if the server asks for one.
        key: The PEM file of its key, unless the key is in the same file.
        protocols: The protocol names for ALPN.

    Raises:
        InvalidRequest: A file can't be read or has unexpected contents.
    """

    def load() -> ssl.SSLContext:
        # Not ssl.create_default_context, because it writes session secrets to the file in SSLKEYLOGFILE. With these secrets a
        # reader of the traffic could decrypt roots.
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.minimum_version = ssl.TLSVersion.TLSv1_3
        if protocols:
            context.set_alpn_protocols(list(protocols))
        if ca_certs is None:
            context.load_default_certs()
        else:
            load_trusted(context, ca_certs)
        if certificate is not None:
            load_own(context, certificate, key)
        return context

    if certificate is None and key is not None:
        msg = f"TLS: the key {key} needs a certificate, but none is configured"
        raise InvalidRequest(msg)
    return ReloadingContext(load, ca_certs, certificate, key)


def load_trusted(context: ssl.SSLContext, file: Path) -> None:
    """Add the authorities in a PEM file to a context.

    Raises:
        InvalidRequest: The file can't be used.
    """
    read_pem(file, CERTIFICATE)
    with _naming("it contains a certificate that is damaged", file):
        context.load_verify_locations(file)


def load_revoked(context: ssl.SSLContext, file: Path) -> None:
    """Add the revocation lists in a PEM file to a context.

    Raises:
        InvalidRequest: The file can't be used.
    """
    read_pem(file, REVOCATIONS)
    with _naming("it contains a revocation list that is damaged", file):
        context.load_verify_locations(file)


def load_own(context: ssl.SSLContext, certificate: Path, key: Path | None) -> None:
    """Load a context's own certificate and key. A key with a passphrase is refused.

    Raises:
        InvalidRequest: A file can't be used.
    """
    read_pem(certificate, CERTIFICATE, is_secret=key is None)
    if key is not None:
        read_pem(key, is_secret=True)
    with _naming("they contain no certificate in PEM with its key, or the key has a passphrase", certificate, key):
        context.load_cert_chain(
            certificate, key, password=""
        )  # without it OpenSSL would ask for a passphrase on the terminal


@contextmanager
def _naming(fault: str, *files: Path | None) -> Iterator[None]:
    try:
        yield
    except OSError as error:  # ssl.SSLError is one
        reason = fault if isinstance(error, ssl.SSLError) else error.strerror
        msg = f"TLS: {', '.join(str(file) for file in files if file is not None)} can't be used: {reason}"
        raise InvalidRequest(msg) from None


def check_address(address: str, *, insecure: bool = False) -> None:
    """Raise an error if keys or tokens would be sent to an address in clear.

    Args:
        address: The URL.
        insecure: Whether the configuration allows http. It can do so only for this machine.

    Raises:
        InvalidRequest: The URL is neither https, nor http to this machine with `insecure`. Or it is https with `insecure`.
    """
    parts = urlsplit(address)
    shown = f"{parts.scheme}://{parts.hostname or ''}"  # a URL may contain a password
    if parts.scheme == "https" and parts.hostname:
        if insecure:
            msg = f"{shown} uses TLS, so insecure = true does not apply; remove it"
            raise InvalidRequest(msg)
        return
    if parts.scheme != "http" or not is_loopback(address):
        msg = f"{shown} has no TLS; give an https:// address. http is allowed only for a server on this machine (127.0.0.1)"
        raise InvalidRequest(msg)
    if not insecure:
        msg = f"{shown} has no TLS; give an https:// address, or set insecure = true, which is allowed for this machine"
        raise InvalidRequest(msg)


def is_loopback(address: str) -> bool:
    """Return whether a URL names this machine."""
    return is_loopback_host(urlsplit(address).hostname or "")


def is_loopback_host(host: str) -> bool:
    """Return whether a host name or an IP address is this machine's loopback address."""
    try:
        return host == "localhost" or ip_address(host).is_loopback
    except ValueError:
        return False
