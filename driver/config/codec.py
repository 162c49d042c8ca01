"""The codec server in a configuration: section `[codec_server]` (codec_server.md has the page)."""

from __future__ import annotations

import re
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from strongroom.kms import is_loopback_host

from .settings import Settings

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

ALGORITHMS = ("ES256", "ES384", "ES512", "EdDSA", "PS256", "PS384", "PS512", "RS256", "RS384", "RS512")
"""Signatures of tokens that may be allowed: those with a public key, which no server can be talked into signing with."""
MAX_BODY_BYTES = 8 * 2**20
"""Temporal's service sends at most 4 MiB in one message; base64 makes 5.4 of it, and the rest is for names and braces."""
MAX_PAYLOADS = 1000
PAYLOADS_PER_SECOND = 200
PAYLOADS_AT_ONCE = 5000
_ORIGIN = re.compile(r"https?://([a-z0-9.-]+|\[[0-9a-f:]+\])(:[0-9]{1,5})?")


@dataclass(frozen=True, slots=True)
class Listen:
    """Where the server listens: on a host and port, or on a Unix socket.

    Attributes:
        host: name or address; "" for a Unix socket.
        port: 0 for any that is free.
        socket: path of the Unix socket.
    """

    host: str = ""
    port: int = 0
    socket: Path | None = None

    @property
    def is_local(self) -> bool:
        """Whether nobody but this machine can connect."""
        return self.socket is not None or is_loopback_host(self.host)


@dataclass(frozen=True, slots=True)
class JwtConfig:
    """Callers who bring a JSON Web Token.

    Attributes:
        keys: file with the issuer's public keys, a JWK set or one key in PEM.
        issuer: who must have made the token.
        audience: whom it must be for.
        algorithms: of its signature.
        claim: whose values say what the caller may open.
        namespaces: by value of the claim.
    """

    keys: Path
    issuer: str
    audience: str
    algorithms: tuple[str, ...]
    claim: str
    namespaces: Mapping[str, frozenset[str]]


@dataclass(frozen=True, slots=True)
class CertificateConfig:
    """Callers who bring a certificate.

    Attributes:
        authority: file with the certificates of the authority that signs theirs.
        revoked: file with its revocation list; None for none.
        namespaces: by subject, as a set of attributes and values: all of them, each once.
    """

    authority: Path
    revoked: Path | None
    namespaces: Mapping[frozenset[tuple[str, str]], frozenset[str]]


@dataclass(frozen=True, slots=True)
class CodecServerConfig:
    """All that the codec server needs besides a cell.

    Attributes:
        listen: where.
        certificate: of the server, and its key in the same file or in `key`; None for no TLS.
        key: see there.
        jwt: callers with tokens; None for none.
        client_certificates: callers with certificates. If both are given, a caller needs both.
        origins: of web pages that may call, exactly.
        credentials: whether browsers may send cookies and the like with it.
        pass_unsealed: whether payloads that nobody sealed are handed back as they are, instead of being refused.
        max_body_bytes: of a request.
        max_payloads: of a request.
        payloads_per_second: that a caller may send in the long run.
        payloads_at_once: that a caller may send after a rest.
    """

    listen: Listen
    certificate: Path | None = None
    key: Path | None = None
    jwt: JwtConfig | None = None
    client_certificates: CertificateConfig | None = None
    origins: frozenset[str] = frozenset()
    credentials: bool = False
    pass_unsealed: bool = False
    max_body_bytes: int = MAX_BODY_BYTES
    max_payloads: int = MAX_PAYLOADS
    payloads_per_second: int = PAYLOADS_PER_SECOND
    payloads_at_once: int = PAYLOADS_AT_ONCE


def parse_codec_server(content: Mapping[str, Any], folder: Path) -> CodecServerConfig:
    """Read the section.

    Args:
        content: of the section.
        folder: that relative paths count from.

    Raises:
        ValueError: a setting is missing, of another type, unknown, or would leave the server open.
    """
    section = Settings("codec_server", content, folder)
    jwt, certificates = section.table("jwt"), section.table("client_certificates")
    insecure = section.flag("insecure")
    found = CodecServerConfig(
        listen=_listen(section.text("listen"), folder),
        certificate=section.path("certificate"),
        key=section.path("key"),
        jwt=None if jwt is None else _jwt(jwt),
        client_certificates=None if certificates is None else _certificates(certificates),
        origins=frozenset(_origin(each) for each in section.texts("origins")) if "origins" in content else frozenset(),
        credentials=section.flag("credentials"),
        pass_unsealed=section.flag("pass_unsealed"),
        max_body_bytes=section.positive("max_body_bytes", MAX_BODY_BYTES),
        max_payloads=section.positive("max_payloads", MAX_PAYLOADS),
        payloads_per_second=section.positive("payloads_per_second", PAYLOADS_PER_SECOND),
        payloads_at_once=section.positive("payloads_at_once", PAYLOADS_AT_ONCE),
    )
    section.end()
    _refuse_open(found, insecure=insecure)
    return found


def _refuse_open(found: CodecServerConfig, *, insecure: bool) -> None:
    """Refuse what would show payloads to others than the callers that are meant."""
    if found.jwt is None and found.client_certificates is None:
        raise ValueError(
            "codec_server: nobody could call; add [codec_server.jwt] or [codec_server.client_certificates]"
        )
    if (found.certificate is None) != insecure:
        raise ValueError(
            "codec_server.certificate must be given, or insecure = true for no TLS on this machine alone; not both"
        )
    if insecure and not found.listen.is_local:
        raise ValueError("codec_server.insecure is for a loopback address or a Unix socket; give certificate and key")
    if insecure and found.client_certificates is not None:
        raise ValueError("codec_server.client_certificates needs TLS; give certificate and key in place of insecure")
    if found.key is not None and insecure:
        raise ValueError("codec_server.key belongs to a certificate, and none is given")
    if found.payloads_at_once < found.max_payloads:
        raise ValueError(
            "codec_server.payloads_at_once must be max_payloads or more: a full request would never be let in"
        )


def _listen(text: str, folder: Path) -> Listen:
    if text.startswith("unix:") and len(text) > len("unix:"):
        return Listen(socket=folder / text.removeprefix("unix:"))
    try:
        parts = urlsplit(f"//{text}")
        if parts.hostname and parts.port is not None and parts.netloc == text and parts.username is None:
            return Listen(parts.hostname, parts.port)
    except ValueError:
        pass  # a port that is none
    raise ValueError("codec_server.listen is HOST:PORT or unix:PATH, for example 127.0.0.1:8443")


def _origin(text: str) -> str:
    if not _ORIGIN.fullmatch(text):
        raise ValueError(
            "codec_server.origins: each is https://HOST or https://HOST:PORT in small letters, with nothing after it"
        )
    return text


def _jwt(section: Settings) -> JwtConfig:
    keys = section.path("keys")
    if keys is None:
        raise ValueError("codec_server.jwt.keys must be given: a JWK set, or a public key in PEM")
    grants = section.table("namespaces")
    if grants is None:
        raise ValueError("[codec_server.jwt.namespaces] must be given: value of the claim = [names of namespaces]")
    found = JwtConfig(
        keys=keys,
        issuer=section.text("issuer"),
        audience=section.text("audience"),
        algorithms=section.texts("algorithms"),
        claim=section.text("claim"),
        namespaces=MappingProxyType({value: frozenset(grants.texts(value)) for value in grants.names()}),
    )
    if not found.algorithms or not set(found.algorithms) <= set(ALGORITHMS):
        raise ValueError(f"codec_server.jwt.algorithms: one or more of {', '.join(ALGORITHMS)}")
    section.end()
    return found


def _certificates(section: Settings) -> CertificateConfig:
    authority, revoked = section.path("authority"), section.path("revoked")
    if authority is None:
        raise ValueError("codec_server.client_certificates.authority must be given: a file with certificates in PEM")
    namespaces: dict[frozenset[tuple[str, str]], frozenset[str]] = {}
    for caller in section.tables("callers"):
        attributes = caller.table("subject")
        names = () if attributes is None else attributes.names()
        if attributes is None or not names:
            raise ValueError('codec_server.client_certificates.callers: subject is needed, as { commonName = "..." }')
        subject = frozenset((name, attributes.text(name)) for name in names)
        if subject in namespaces:
            raise ValueError("codec_server.client_certificates.callers: a subject stands there twice")
        namespaces[subject] = frozenset(caller.texts("namespaces"))
        caller.end()
    section.end()
    return CertificateConfig(authority, revoked, MappingProxyType(namespaces))
