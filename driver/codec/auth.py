"""Who calls the codec server, and which namespaces that caller may use: by token, by certificate, or by both."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import jwt

from strongroom.driver.config import ConfigError
from strongroom.kms import Reloaded, StrongroomError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from strongroom.driver.config import CertificateConfig, CodecServerConfig, JwtConfig

LEEWAY = 10
"""Seconds by which the issuer's clock and ours may differ."""
_MAX_NAME = 256
_CLAIMS = ("exp", "iss", "aud", "sub")
_PUBLIC = {"EC", "OKP", "RSA"}


class NotAuthenticated(StrongroomError):  # noqa: N818 - says what happened
    """The caller brought no token or certificate that is accepted here."""


@dataclass(frozen=True, slots=True)
class Caller:
    """Who calls.

    Attributes:
        name: for the audit log and for limits.
        namespaces: names of those that it may use; of no other one does it learn whether it exists.
    """

    name: str
    namespaces: frozenset[str]


class Authenticator:
    """Tells callers by what the configuration asks for; where that is both, both must be right and allow a namespace.

    Args:
        config: of the server.

    Raises:
        ConfigError: the file of public keys can't be used.
    """

    def __init__(self, config: CodecServerConfig) -> None:
        self._tokens = None if config.jwt is None else _Tokens(config.jwt)
        self._certificates = config.client_certificates

    def caller(self, authorization: str | None, certificate: Mapping[str, Any] | None) -> Caller:
        """Return who calls.

        Args:
            authorization: the header.
            certificate: of the client, verified, as `ssl.SSLSocket.getpeercert` tells it.

        Raises:
            NotAuthenticated: for each cause alike; `__cause__` has the kind.
        """
        known = []
        if self._certificates is not None:
            known.append(_by_certificate(self._certificates, certificate))
        if self._tokens is not None:
            known.append(self._tokens.caller(authorization))
        return Caller(
            " ".join(each.name for each in known), frozenset.intersection(*(each.namespaces for each in known))
        )


class _Tokens:
    def __init__(self, config: JwtConfig) -> None:
        self._config = config
        self._read = Reloaded(lambda: _read_keys(config), config.keys)

    def caller(self, authorization: str | None) -> Caller:
        scheme, _, token = (authorization or "").partition(" ")
        if scheme.lower() != "bearer":
            raise NotAuthenticated
        try:
            claims = jwt.decode(
                token.strip(),
                self._key(jwt.get_unverified_header(token.strip()).get("kid")),
                algorithms=self._config.algorithms,
                audience=self._config.audience,
                issuer=self._config.issuer,
                leeway=LEEWAY,
                options={"require": list(_CLAIMS), "enforce_minimum_key_length": True},
            )
        except (jwt.PyJWTError, ValueError, TypeError) as error:  # claims of odd types can raise the last two
            raise NotAuthenticated from error
        subject, values = claims["sub"], claims.get(self._config.claim)
        if not isinstance(subject, str) or not 0 < len(subject) <= _MAX_NAME:
            raise NotAuthenticated
        listed = values if isinstance(values, list) else [values]
        granted = [self._config.namespaces.get(value, frozenset()) for value in listed if isinstance(value, str)]
        return Caller(f"jwt:{subject}", frozenset().union(*granted))

    def _key(self, key_id: object) -> jwt.PyJWK | str:
        """Return the key that a token names; one without a name is held against the only key."""
        keys = self._read.current()
        if key_id is None and len(keys) == 1:
            return next(iter(keys.values()))
        if not isinstance(key_id, str) or (key_id not in keys and None not in keys):
            raise NotAuthenticated
        return keys.get(key_id) or keys[None]


def _read_keys(config: JwtConfig) -> dict[str | None, jwt.PyJWK | str]:
    """Return the issuer's public keys by their ids; a key in PEM has none, and is held against every token."""
    try:
        text = config.keys.read_text(encoding="ascii")
        if text.lstrip().startswith("-----BEGIN PUBLIC KEY"):
            for algorithm in config.algorithms:
                jwt.get_algorithm_by_name(algorithm).prepare_key(text)
            return {None: text}
        listed = [(each.get("kid"), _signing_key(each, config.algorithms)) for each in json.loads(text)["keys"]]
        found: dict[str | None, jwt.PyJWK | str] = {key_id: key for key_id, key in listed if key is not None}
        ambiguous = len(found) != sum(key is not None for _, key in listed)
    except OSError as error:
        msg = f"codec_server.jwt.keys: {config.keys} can't be read: {error.strerror}"
        raise ConfigError(msg) from None
    except (jwt.PyJWTError, ValueError, TypeError, KeyError, AttributeError):
        msg = f"codec_server.jwt.keys: {config.keys} is no JWK set, nor a public key in PEM of these algorithms"
        raise ConfigError(msg) from None
    if not found or ambiguous:
        what = "two keys of one id" if ambiguous else f"no public key for {', '.join(config.algorithms)}"
        msg = f"codec_server.jwt.keys: {config.keys} has {what}"
        raise ConfigError(msg)
    return found


def _signing_key(data: dict[str, Any], algorithms: tuple[str, ...]) -> jwt.PyJWK | None:
    """Return a key of a set, or None for one that is for something else."""
    if data.get("kty") not in _PUBLIC or data.get("use", "sig") != "sig" or "d" in data:
        return None
    for algorithm in algorithms if "alg" not in data else [data["alg"]]:
        try:
            if algorithm in algorithms:
                return jwt.PyJWK(data, algorithm)
        except jwt.PyJWTError:
            continue  # an algorithm for another type of key
    return None


def _by_certificate(config: CertificateConfig, certificate: Mapping[str, Any] | None) -> Caller:
    pairs = [pair for names in (certificate or {}).get("subject", ()) for pair in names]
    if not pairs:
        raise NotAuthenticated
    subject = frozenset(pairs)
    # An attribute that stands there twice is no subject that anybody can have meant.
    allowed = config.namespaces.get(subject, frozenset()) if len(subject) == len(pairs) else frozenset[str]()
    return Caller("certificate:" + json.dumps(dict(sorted(pairs)), ensure_ascii=False)[:_MAX_NAME], allowed)
