"""The checks of TLS: the version of each connection, and the expiry of certificates and revocation lists."""

from __future__ import annotations

import asyncio
import ssl
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from strongroom.driver.config import AwsKms, AzureKms, GcpKms, TransitKms
from strongroom.kms import StrongroomError, TlsFiles, client_context, pem_expiry
from strongroom.storage import addresses

from .report import Finding, wrong

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator, Mapping

    from strongroom.driver.config import CodecServerConfig, KmsConfig, StrongroomConfig

TLS = "TLS"
WARNING = timedelta(days=30)
"""Time before a certificate expires. Less than this is a note."""
LIST_WARNING = timedelta(hours=12)
"""Time before a revocation list expires. Authorities publish a new one every few days."""
_SECONDS = 5.0
_DATABASE, _INDEX = "TLS to the database", "TLS to the search index"
_HTTPS, _POSTGRES = 443, 5432
_SSL_REQUEST = (8).to_bytes(4, "big") + (80877103).to_bytes(4, "big")  # PostgreSQL's protocol, "SSL Session Encryption"


@dataclass(frozen=True, slots=True)
class _Peer:
    """A server that the configuration names.

    Attributes:
        check: The name of the check.
        host: A name or an address.
        port: The port.
        files: The certificates for connections to it.
        postgres: Whether it is asked for TLS in PostgreSQL's protocol.
        note: An addition to the finding.
    """

    check: str
    host: str
    port: int
    files: TlsFiles = field(default_factory=TlsFiles)
    postgres: bool = False
    note: str = ""


async def transport(config: StrongroomConfig) -> AsyncIterator[Finding]:
    """Check the connection to each server of a configuration, and the files of the codec server."""
    for check in _without(config):
        yield Finding(TLS, check, "none: insecure = true, on this machine")
    for peer in _peers(config):
        yield await _connection(peer)
    if config.codec_server is not None:
        for finding in _codec_server(config.codec_server):
            yield finding


def _without(config: StrongroomConfig) -> Iterator[str]:
    if config.insecure:
        yield _DATABASE
    if config.elasticsearch is not None and config.elasticsearch.insecure:
        yield _INDEX
    for provider_id, section in config.kms.items():
        if getattr(section, "insecure", False):
            yield f"TLS to KMS {provider_id}"


def _peers(config: StrongroomConfig) -> Iterator[_Peer]:
    if not config.insecure:
        for host, port in addresses(config.dsn):
            yield _Peer(_DATABASE, host, port or _POSTGRES, config.database_tls, postgres=True)
    cluster = config.elasticsearch
    if cluster is not None and not cluster.insecure:
        for url in cluster.urls:
            yield _https(_INDEX, url, cluster.tls)
    yield from _kms_peers(config.kms)


def _kms_peers(sections: Mapping[str, KmsConfig]) -> Iterator[_Peer]:
    for provider_id, section in sections.items():
        check = f"TLS to KMS {provider_id}"
        match section:
            case TransitKms(insecure=False):
                yield _https(check, section.address, TlsFiles(section.ca_certs, section.certificate))
            case AwsKms(insecure=False):
                domain = "amazonaws.com.cn" if section.region.startswith("cn-") else "amazonaws.com"
                address = section.endpoint or f"https://kms.{section.region}.{domain}"
                yield _https(check, address, TlsFiles(section.ca_certs))
            case GcpKms(insecure=False):
                note = "gRPC can't require TLS 1.3, and accepts 1.2"
                yield _https(check, section.endpoint, TlsFiles(section.ca_certs), note)
            case AzureKms():
                yield _https(check, section.vault_url, TlsFiles(section.ca_certs))
            case _:
                pass


def _https(check: str, address: str, files: TlsFiles, note: str = "") -> _Peer:
    parts = urlsplit(address)
    return _Peer(check, parts.hostname or "", parts.port or _HTTPS, files, note=note)


async def _connection(peer: _Peer) -> Finding:
    files = peer.files
    try:
        context = client_context(ca_certs=files.ca_certs, certificate=files.certificate, key=files.key)
        version, theirs = await _handshake(peer, context)
        ours = None if files.certificate is None else pem_expiry(files.certificate)
    except ssl.SSLCertVerificationError as error:
        text = f"{peer.host}:{peer.port} has a certificate that is not accepted: {error.verify_message}"
        return Finding(
            TLS, peer.check, text, "wrong", "Give the server a valid certificate, or name its authority in ca_certs."
        )
    except (OSError, EOFError, TimeoutError) as error:
        reason = getattr(error, "reason", None) or getattr(error, "strerror", None) or type(error).__name__
        text = f"no TLS 1.3 with {peer.host}:{peer.port}: {reason}"
        advice = "Check that it is up, offers TLS 1.3, and accepts the client certificate if there is one."
        return Finding(TLS, peer.check, text, "wrong", advice)
    except StrongroomError as error:
        return wrong(TLS, peer.check, error, "Correct or replace the file that it names.")
    facts = [f"{version} with {peer.host}:{peer.port}", f"its certificate until {_day(theirs)}"]
    facts += [f"ours until {_day(ours)}"] if ours is not None else []
    facts += [peer.note] if peer.note else []
    return _ending(peer.check, min(filter(None, (theirs, ours))), WARNING, *facts)


async def _handshake(peer: _Peer, context: ssl.SSLContext) -> tuple[str, datetime]:
    """Return the version of TLS, and the time at which the server's certificate expires. Only the TLS handshake is sent."""
    async with asyncio.timeout(_SECONDS):
        reader, writer = await asyncio.open_connection(peer.host, peer.port)
        try:
            if peer.postgres:
                writer.write(_SSL_REQUEST)
                if await reader.readexactly(1) != b"S":
                    raise OSError(None, "the server has no TLS")
            await writer.start_tls(context, server_hostname=peer.host)
            session: ssl.SSLObject = writer.get_extra_info("ssl_object")
            end = ssl.cert_time_to_seconds(str((session.getpeercert() or {})["notAfter"]))
            return session.version() or "", datetime.fromtimestamp(end, UTC)
        finally:
            writer.close()


def _codec_server(config: CodecServerConfig) -> Iterator[Finding]:
    """Read the files as the server does. A running server ignores a file that it can't use, but can't start with such a file."""
    try:
        from strongroom.driver.codec.auth import Authenticator  # noqa: PLC0415 - only where it is installed
        from strongroom.driver.codec.listener import server_context  # noqa: PLC0415
    except ModuleNotFoundError:
        return
    callers = config.client_certificates
    try:
        Authenticator(config)
        if config.certificate is not None:
            server_context(config)
            yield _ending("certificate of the codec server", pem_expiry(config.certificate), WARNING)
        if callers is not None and callers.revoked is not None:
            yield _ending("revocation list of the codec server", pem_expiry(callers.revoked), LIST_WARNING)
    except StrongroomError as error:
        advice = (
            "Replace the file: a running server keeps the previous content, and a new server does not start with it."
        )
        yield wrong(TLS, "files of the codec server", error, advice)


def _ending(check: str, end: datetime, warning: timedelta, *facts: str) -> Finding:
    left = end - datetime.now(UTC)
    text = "; ".join(facts) or f"until {_day(end)}"
    if left <= timedelta():
        return Finding(TLS, check, f"{text}; it has expired and is refused", "wrong", "Replace it.")
    if left <= warning:
        return Finding(TLS, check, f"{text}; {left.days} days left", "note", "Renew it.")
    return Finding(TLS, check, text)


def _day(moment: datetime) -> str:
    return f"{moment:%Y-%m-%d}"
