"""TLS of every connection: certificates and host names verified, version 1.3 or nothing, files taken up when they change."""

from __future__ import annotations

import ssl
from contextlib import contextmanager
from dataclasses import dataclass
from ipaddress import ip_address
from typing import TYPE_CHECKING, Any, Self
from urllib.parse import urlsplit

from strongroom.kms.errors import InvalidRequest

from .reloaded import Reloaded

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path


@dataclass(frozen=True, slots=True)
class TlsFiles:
    """What a client connects with, as PEM files.

    Attributes:
        ca_certs: of the authority that signed the server's certificate; None for the system's authorities.
        certificate: this client's own, where the server asks for one.
        key: of that certificate, unless it is in the same file.
    """

    ca_certs: Path | None = None
    certificate: Path | None = None
    key: Path | None = None


class ReloadingContext(ssl.SSLContext):
    """Makes each connection with a context of the files as they are then; who holds it need not know.

    What a library sets on it, such as another lowest version or a file for secrets, reaches no connection.

    Args:
        load: makes a context of the files.
        files: that it reads.

    Raises:
        StrongroomError: `load` fails the first time.
    """

    _made: Reloaded[ssl.SSLContext]

    def __new__(cls, load: Callable[[], ssl.SSLContext], *files: Path | None) -> Self:
        """Make one by a first context."""
        made = Reloaded(load, *files)
        self = super().__new__(cls, made.current().protocol)
        self.minimum_version = ssl.TLSVersion.TLSv1_3
        self._made = made
        return self

    def wrap_socket(self, *args: Any, **kwargs: Any) -> ssl.SSLSocket:
        """Wrap a socket, as its parent does."""
        return self._made.current().wrap_socket(*args, **kwargs)

    def wrap_bio(self, *args: Any, **kwargs: Any) -> ssl.SSLObject:
        """Wrap two buffers, as its parent does: asyncio's way."""
        return self._made.current().wrap_bio(*args, **kwargs)


def client_context(
    *,
    ca_certs: Path | None = None,
    certificate: Path | None = None,
    key: Path | None = None,
    protocols: Sequence[str] = (),
) -> ssl.SSLContext:
    """Return what a client connects with; each new connection has the files as they are then.

    Args:
        ca_certs: PEM file of the authority that signed the server's certificate; None for the system's.
        certificate: PEM file of this client's own certificate, where the server asks for one.
        key: PEM file of its key, unless that is in the same file.
        protocols: names for ALPN.

    Raises:
        InvalidRequest: a file can't be read, or is not what it should be.
    """

    def load() -> ssl.SSLContext:
        # Not ssl.create_default_context: that writes its secrets wherever the variable SSLKEYLOGFILE says, and roots travel here.
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
        msg = f"TLS: {key} is the key of a certificate, and none is given"
        raise InvalidRequest(msg)
    return ReloadingContext(load, ca_certs, certificate, key)


def load_trusted(context: ssl.SSLContext, file: Path) -> None:
    """Have a context trust the authorities in a PEM file, or heed the revocation lists in it.

    Raises:
        InvalidRequest: it can't be used.
    """
    with _naming("no certificate or revocation list in PEM", file):
        context.load_verify_locations(file)


def load_own(context: ssl.SSLContext, certificate: Path, key: Path | None) -> None:
    """Give a context its own certificate and key; a key with a passphrase is not used.

    Raises:
        InvalidRequest: a file can't be used.
    """
    with _naming("no certificate in PEM with the key that fits, without a passphrase", certificate, key):
        context.load_cert_chain(certificate, key, password="")  # or OpenSSL would ask for it on the terminal


@contextmanager
def _naming(wrong: str, *files: Path | None) -> Iterator[None]:
    try:
        yield
    except OSError as error:  # ssl.SSLError is one
        why = wrong if isinstance(error, ssl.SSLError) else error.strerror
        msg = f"TLS: {', '.join(str(file) for file in files if file is not None)} can't be used: {why}"
        raise InvalidRequest(msg) from None


def check_address(address: str, *, insecure: bool = False) -> None:
    """Refuse an address to which keys or tokens would travel in clear.

    Args:
        address: a URL.
        insecure: whether the configuration allows http, which it can for this very machine only.

    Raises:
        InvalidRequest: neither https, nor http to this machine with `insecure`; or `insecure` and https.
    """
    parts = urlsplit(address)
    shown = f"{parts.scheme}://{parts.hostname or ''}"  # a URL may hold a password
    if parts.scheme == "https" and parts.hostname:
        if insecure:
            msg = f"{shown}: insecure = true is for http; https has TLS, so take it out"
            raise InvalidRequest(msg)
        return
    if parts.scheme != "http" or not is_loopback(address):
        msg = f"{shown}: give an https:// address; http is for a server on this machine (127.0.0.1) only"
        raise InvalidRequest(msg)
    if not insecure:
        msg = f"{shown} has no TLS: give an https:// address, or say insecure = true, as it is on this machine"
        raise InvalidRequest(msg)


def is_loopback(address: str) -> bool:
    """Return whether a URL is of this very machine."""
    return is_loopback_host(urlsplit(address).hostname or "")


def is_loopback_host(host: str) -> bool:
    """Return whether a host name or IP address is this very machine's."""
    try:
        return host == "localhost" or ip_address(host).is_loopback
    except ValueError:
        return False
