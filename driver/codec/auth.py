"""Authentication of the codec server's callers: by token, by certificate, or by both."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import jwt

from strongroom.driver.config import ConfigError
from strongroom.kms import NotAuthenticated, Reloaded
from strongroom.kms.text import NotText, read_text

if TYPE_CHECKING:
    from collections.abc import Mapping

    from strongroom.driver.config import CertificateConfig, CodecServerConfig, JwtConfig

LEEWAY = 10
"""Accepted difference between the issuer's clock and ours, in seconds."""
_MAX_NAME = 256
_CLAIMS = ("exp", "iss", "aud", "sub")
_ODD = (jwt.PyJWTError, ValueError, TypeError, OverflowError, RecursionError)
"""Errors of a token. Headers and claims of odd types, with huge numbers or deep nesting raise the last four."""
_PUBLIC = {"EC", "OKP", "RSA"}


@dataclass(frozen=True, slots=True)
class Caller:
    """An authenticated caller.

    Attributes:
        name: The name, for the audit log and the limits.
        namespaces: The names of the namespaces that it may use. The caller can't find out whether other namespaces exist.
    """

    name: str
    namespaces: frozenset[str]


class Authenticator:
    """Authenticates callers. If the configuration has tokens and certificates, a caller needs both, and both must allow a namespace.

    Args:
        config: The configuration of the server.

    Raises:
        ConfigError: The file of public keys can't be used.
    """

    def __init__(self, config: CodecServerConfig) -> None:
        self._tokens = None if config.jwt is None else _Tokens(config.jwt)
        self._certificates = config.client_certificates

    def caller(self, authorization: str | None, certificate: Mapping[str, Any] | None) -> Caller:
        """Return the caller of a request.

        Args:
            authorization: The header of that name.
            certificate: The verified certificate of the client, in the form of `ssl.SSLSocket.getpeercert`.

        Raises:
            NotAuthenticated: The token or the certificate is not accepted. `__cause__` has the kind of fault.
        """
        accepted = []
        if self._certificates is not None:
            accepted.append(_by_certificate(self._certificates, certificate))
        if self._tokens is not None:
            accepted.append(self._tokens.caller(authorization))
        return Caller(
            " ".join(each.name for each in accepted), frozenset.intersection(*(each.namespaces for each in accepted))
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
        except _ODD as error:
            raise NotAuthenticated from error
        subject, values = claims["sub"], claims.get(self._config.claim)
        if not isinstance(subject, str) or not 0 < len(subject) <= _MAX_NAME:
            raise NotAuthenticated
        listed = values if isinstance(values, list) else [values]
        granted = [self._config.namespaces.get(value, frozenset()) for value in listed if isinstance(value, str)]
        return Caller(f"jwt:{subject}", frozenset().union(*granted))

    def _key(self, key_id: object) -> jwt.PyJWK | str:
        """Return the key that a token names. A token without a key id is verified with the only key."""
        keys = self._read.current()
        if key_id is None and len(keys) == 1:
            return next(iter(keys.values()))
        if not isinstance(key_id, str) or (key_id not in keys and None not in keys):
            raise NotAuthenticated
        return keys.get(key_id) or keys[None]


def _read_keys(config: JwtConfig) -> dict[str | None, jwt.PyJWK | str]:
    """Return the issuer's public keys by their ids. A key in PEM has no id, and verifies every token."""
    try:
        text = read_text(config.keys)
        if text.lstrip().startswith("-----BEGIN PUBLIC KEY"):
            for algorithm in config.algorithms:
                jwt.get_algorithm_by_name(algorithm).prepare_key(text)
            return {None: text}
        listed = [(each.get("kid"), _signing_key(each, config.algorithms)) for each in json.loads(text)["keys"]]
        found: dict[str | None, jwt.PyJWK | str] = {key_id: key for key_id, key in listed if key is not None}
        ambiguous = len(found) != sum(key is not None for _, key in listed)
    except NotText as error:
        msg = f"codec_server.jwt.keys: {config.keys} can't be read: {error}"
        raise ConfigError(msg) from None
    except (jwt.PyJWTError, ValueError, TypeError, KeyError, AttributeError, RecursionError):
        msg = f"codec_server.jwt.keys: {config.keys} is neither a JWK set nor a public key in PEM for these algorithms"
        raise ConfigError(msg) from None
    if not found or ambiguous:
        what = "two keys with the same id" if ambiguous else f"no public key for {', '.join(config.algorithms)}"
        msg = f"codec_server.jwt.keys: {config.keys} has {what}"
        raise ConfigError(msg)
    return found


def _signing_key(data: dict[str, Any], algorithms: tuple[str, ...]) -> jwt.PyJWK | None:
    """Return a key of a set, or None if it is not meant for signatures of these algorithms."""
    if data.get("kty") not in _PUBLIC or data.get("use", "sig") != "sig" or "d" in data:
        return None
    for algorithm in algorithms if "alg" not in data else [data["alg"]]:
        try:
            if algorithm in algorithms:
                return jwt.PyJWK(data, algorithm)
        except jwt.PyJWTError:
            continue  # the algorithm is for another type of key
    return None


def _by_certificate(config: CertificateConfig, certificate: Mapping[str, Any] | None) -> Caller:
    pairs = [pair for names in (certificate or {}).get("subject", ()) for pair in names]
    if not pairs:
        raise NotAuthenticated
    subject = frozenset(pairs)
    # A subject with a repeated attribute is not accepted.
    allowed = config.namespaces.get(subject, frozenset()) if len(subject) == len(pairs) else frozenset[str]()
    return Caller("certificate:" + json.dumps(dict(sorted(pairs)), ensure_ascii=False)[:_MAX_NAME], allowed)
