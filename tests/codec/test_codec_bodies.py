"""Bodies and issued_tokens at their ends: each is read, or refused with 400 or 401 and without a value."""

from __future__ import annotations

import base64
import json
from contextlib import suppress

import pytest

from strongroom.driver.codec.auth import Authenticator, NotAuthenticated
from strongroom.driver.codec.http import Refused
from strongroom.driver.codec.json import read_payloads, write_payloads
from tests.support.codec.issuer import AUDIENCE, ISSUER, Issuer
from tests.support.configuration import parse_codec_server

MARK = "S3cretWord"
VALUES = (
    *(f'"{MARK}{end}"' for end in ("", "\\ud800", "\\u0000", "\\u001b", "é", MARK * 50_000)),
    *('"\\udfff"', '""', '"QQ"', '"QQ=="', '"QQ===="', '"Q\\nQ=="', '"_-__"', '"\\ufeff"', "null", "true", "[]", "{}"),
    *(f"{sign}1{'0' * 400}" for sign in ("", "-")),
    *("0", "-1", "1.5", "1e400", "-1e400", "NaN", "Infinity", str(2**63), str(2**64), f'"{2**63}"'),
    *("[" * 900 + "]" * 900, '{"a":' * 900 + "1" + "}" * 900, "[" * 100_000, "[" * 100_000 + "]" * 100_000),
)
PLACES = (
    "@",
    '{"payloads": @}',
    '{"payloads": [@]}',
    *(f'{{"payloads": [{{"{name}": @}}]}}' for name in ("data", "metadata", "externalPayloads", "other")),
    '{"payloads": [{"metadata": {"encoding": @}}]}',
    '{"payloads": [{"metadata": {@: "QQ=="}}]}',
    '{"payloads": [{"externalPayloads": [@]}]}',
    '{"payloads": [{"externalPayloads": [{"sizeBytes": @}]}]}',
    "{@: []}",
    '{"payloads": [], @: 1}',
)
WHOLE = '{"payloads":[{"metadata":{"encoding":"QQ=="},"data":"QQ=="}]}'


def refusal(body):
    """Return the status and the body of the answer; None if the payloads are read and can be written."""
    try:
        payloads = read_payloads(body, 3)
    except Refused as refused:
        return refused.response.status_code, refused.response.body.decode()
    json.dumps(write_payloads(payloads)).encode()
    assert all(payload.SerializeToString() is not None for payload in payloads)
    return None


@pytest.mark.parametrize("place", PLACES)
def test_a_value_in_any_place_is_read_or_refused(place):
    """Nothing but the refusal is raised, and the answer holds no value."""
    for value in VALUES:
        found = refusal(place.replace("@", value).encode())
        if found is not None:
            assert found[0] == 400
            assert MARK not in found[1]


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32"])
def test_another_encoding_is_refused(encoding):
    """JSON on the network is UTF-8 without a byte order mark (RFC 8259, 8.1)."""
    assert refusal(WHOLE.encode(encoding))[0] == 400


def test_a_cut_or_continued_body_is_refused():
    """No part of a body is read as a whole one, and only white space may follow."""
    assert refusal(WHOLE.encode()) is None
    assert {refusal(WHOLE[:end].encode())[0] for end in range(len(WHOLE))} == {400}
    following = [byte for byte in range(256) if refusal(WHOLE.encode() + bytes([byte])) is None]
    assert bytes(following) == b"\t\n\r "


@pytest.mark.parametrize(
    "body",
    [
        '{"payloads":[],"payloads":[]}',
        '{"payloads":[{"data":"QQ==","data":"Qg=="}]}',
        '{"payloads":[{"metadata":{"encoding":"QQ==","encoding":"Qg=="}}]}',
        '{"payloads":[{"metadata":{"encoding":"QQ==","\\u0065ncoding":"Qg=="}}]}',
    ],
)
def test_a_key_twice_is_refused(body):
    """Programs differ in which of the two they read, so a check before this server could see another payload."""
    assert refusal(body.encode())[0] == 400


def test_the_number_of_payloads_is_limited():
    """One more than the limit is refused as too large."""
    assert refusal(json.dumps({"payloads": [{}] * 3}).encode()) is None
    assert refusal(json.dumps({"payloads": [{}] * 4}).encode())[0] == 413


def token_of(*parts):
    return ".".join(base64.urlsafe_b64encode(part.encode()).rstrip(b"=").decode() for part in parts)


@pytest.fixture
def issued_tokens(tmp_path):
    """The issuer, and the part of the server that verifies tokens."""
    issuer = Issuer()
    (tmp_path / "keys").write_bytes(issuer.pem)
    jwt = {"keys": "keys", "issuer": ISSUER, "audience": AUDIENCE, "algorithms": ["ES256"], "claim": "groups"}
    section = {"listen": "127.0.0.1:0", "certificate": "own", "jwt": {**jwt, "namespaces": {"support": ["first"]}}}
    return issuer, Authenticator(parse_codec_server(section, tmp_path))


def test_a_token_of_odd_values_is_no_error_of_the_server(issued_tokens):
    """Headers that nobody signed and claims that the issuer signed are refused, or are read as they are."""
    issuer, authenticator = issued_tokens
    assert authenticator.caller(f"Bearer {issuer.token()}", None).namespaces == {"first"}
    heads = [f'{{"alg": "ES256", "{name}": {value}}}' for name in ("kid", "crit", "b64", "x") for value in VALUES]
    heads += [f'{{"alg": {value}}}' for value in VALUES] + list(VALUES)
    for head in heads:
        with pytest.raises(NotAuthenticated):
            authenticator.caller(f"Bearer {token_of(head, '{}', 'x' * 64)}", None)
    odd = (None, "", "\ud800", "\0", 10**400, -1, 2**63, 1.5, True, [], {}, [[]], {"a": {}}, "x" * 5000)
    for claim in ("exp", "iat", "nbf", "iss", "aud", "sub", "groups"):
        for value in odd:
            if (token := signed(issuer, claim, value)) is not None:
                with suppress(NotAuthenticated):
                    authenticator.caller(f"Bearer {token}", None)


def signed(issuer, claim, value):
    """Return a token with a claim; None if the library that signs it refuses the claim."""
    try:
        return issuer.token(**{claim: value})
    except (TypeError, UnicodeEncodeError):
        return None
