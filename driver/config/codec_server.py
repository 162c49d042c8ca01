"""The section `[codec_server]`. docs/how-to/codec-server.md is its page."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Annotated, Literal

from pydantic import AfterValidator, Field, model_validator

from .listen import Address
from .schema import Count, File, Flag, SecretFile, Text, about, formed, section

Algorithm = Literal["ES256", "ES384", "ES512", "EdDSA", "PS256", "PS384", "PS512", "RS256", "RS384", "RS512"]
"""The signature algorithms that tokens may use. All are asymmetric, so that the server holds no signing key."""
Origin = Annotated[
    Text,
    formed(
        r"https?://([a-z0-9.-]+|\[[0-9a-f:]+\])(:[0-9]{1,5})?",
        "https://HOST or https://HOST:PORT, in lower case and with nothing after it",
    ),
]
Names = frozenset[Text]


@section
class JwtConfig:
    """Callers that present a JSON Web Token."""

    keys: Annotated[File, about("File with the issuer's public keys: a JWK set, or one key in PEM.")]
    issuer: Annotated[Text, about("Required issuer of a token.")]
    audience: Annotated[Text, about("Required audience of a token.")]
    algorithms: Annotated[tuple[Algorithm, ...], Field(min_length=1), about("Accepted signature algorithms.")]
    claim: Annotated[Text, about("Claim that grants namespaces.")]
    namespaces: Annotated[
        Mapping[Text, Names], AfterValidator(MappingProxyType), about("Names of namespaces, by value of the claim.")
    ]


@section
class CallerConfig:
    """A caller that presents a certificate."""

    subject: Annotated[
        Mapping[Text, Text],
        AfterValidator(MappingProxyType),
        Field(min_length=1),
        about("Attributes of the certificate's subject: all of them, each once."),
    ]
    namespaces: Annotated[Names, about("Names of the namespaces that the caller may use.")]


@section
class CertificateConfig:
    """Callers that present a certificate."""

    authority: Annotated[
        File, about("PEM file with the certificates of the authority that signs callers' certificates.")
    ]
    callers: Annotated[tuple[CallerConfig, ...], Field(min_length=1), about("Callers, one section for each.")]
    revoked: Annotated[File, about("PEM file with the authority's revocation list.")] | None = None

    @model_validator(mode="after")
    def _check(self) -> CertificateConfig:
        if len(self.namespaces) < len(self.callers):
            raise ValueError("two callers have the same subject; join their namespaces in one section")
        return self

    @property
    def namespaces(self) -> Mapping[frozenset[tuple[str, str]], frozenset[str]]:
        """The names of namespaces by subject."""
        return {frozenset(caller.subject.items()): caller.namespaces for caller in self.callers}


@section
class CodecServerConfig:
    """The codec server. If both `jwt` and `client_certificates` are given, a caller needs both."""

    listen: Annotated[Address, about("Address of the server: HOST:PORT or unix:PATH.")]
    certificate: Annotated[SecretFile, about("PEM file with the server's certificate.")] | None = None
    key: (
        Annotated[SecretFile, about("PEM file with the certificate's key. Default: the certificate's file.")] | None
    ) = None
    insecure: Annotated[Flag, about("Whether the server has no TLS, for this machine only.")] = False
    jwt: JwtConfig | None = None
    client_certificates: CertificateConfig | None = None
    origins: Annotated[
        frozenset[Origin], about("Origins of the web pages that may call, each https://HOST or https://HOST:PORT.")
    ] = frozenset()
    credentials: Annotated[Flag, about("Whether browsers may send cookies and client certificates.")] = False
    pass_unsealed: Annotated[
        Flag, about("Whether unsealed payloads are returned unchanged instead of being refused.")
    ] = False
    # Temporal's service sends at most 4 MiB in one message, which is 5.4 MiB in base64.
    max_body_bytes: Annotated[Count, Field(ge=1, le=2**30), about("Maximum size of a request.", unit="bytes")] = (
        8 * 2**20
    )
    max_payloads: Annotated[Count, Field(ge=1, le=10**6), about("Maximum of payloads in a request.")] = 1000
    payloads_per_second: Annotated[
        Count, Field(ge=1, le=10**9), about("Long-term rate of payloads of a caller.", unit="payloads a second")
    ] = 200
    payloads_at_once: Annotated[Count, Field(ge=1, le=10**9), about("Burst of payloads of a caller.")] = 5000

    @model_validator(mode="after")
    def _check(self) -> CodecServerConfig:
        faults = [sentence for holds, sentence in self._refusals() if holds]
        if faults:
            raise ValueError("; ".join(faults))
        return self

    def _refusals(self) -> list[tuple[bool, str]]:
        """Return the settings that would admit unintended callers, no caller or no request, each with a message."""
        return [
            (
                self.jwt is None and self.client_certificates is None,
                "nobody could call; add [codec_server.jwt] or [codec_server.client_certificates]",
            ),
            (
                (self.certificate is None) != self.insecure,
                "give certificate, or insecure = true for no TLS on this machine, and not both",
            ),
            (
                self.insecure and not self.listen.is_local,
                "insecure is for a loopback address or a Unix socket; give certificate instead",
            ),
            (
                self.insecure and self.client_certificates is not None,
                "client_certificates needs TLS; give certificate in place of insecure",
            ),
            (self.key is not None and self.certificate is None, "key belongs to a certificate; give certificate too"),
            (
                self.payloads_at_once < self.max_payloads,
                "payloads_at_once must be max_payloads or more, or a full request would never be admitted",
            ),
        ]
