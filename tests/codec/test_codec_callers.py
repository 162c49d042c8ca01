from __future__ import annotations

import base64
import json
import ssl
import time
import tomllib
import warnings

import httpx
import jwt
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from strongroom.driver.codec.auth import Authenticator, NotAuthenticated
from tests.codec.conftest import JWT
from tests.support.codec.authority import Authority
from tests.support.codec.bench import plain
from tests.support.codec.issuer import Issuer
from tests.support.configuration import parse_codec_server

pytestmark = pytest.mark.integration

BODY = {"payloads": [plain("x")]}
REFUSED = (401, b'{"error":"the caller has no token or certificate that is accepted here"}')


def encode(client, authorization, namespace="first"):
    headers = {"X-Namespace": namespace} | ({} if authorization is None else {"Authorization": authorization})
    return client.post("/encode", json=BODY, headers=headers)


def swapped(token, part, **changed):
    """Change a part of a token, and keep its signature."""
    parts = token.split(".")
    told = json.loads(base64.urlsafe_b64decode(parts[part] + "=="))
    parts[part] = base64.urlsafe_b64encode(json.dumps({**told, **changed}).encode()).rstrip(b"=").decode()
    return ".".join(parts)


BAD_TOKENS = {
    "expired": lambda issuer: issuer.token(exp=int(time.time()) - 60),
    "without expiry": lambda issuer: issuer.token(exp=None),
    "not yet valid": lambda issuer: issuer.token(nbf=int(time.time()) + 600),
    "wrong audience": lambda issuer: issuer.token(aud="another service"),
    "without audience": lambda issuer: issuer.token(aud=None),
    "wrong issuer": lambda issuer: issuer.token(iss="https://login.example.com"),
    "without issuer": lambda issuer: issuer.token(iss=None),
    "without subject": lambda issuer: issuer.token(sub=None),
    "endless subject": lambda issuer: issuer.token(sub="x" * 257),
    "alg none": lambda issuer: issuer.unsigned(),
    "alg None over a signature": lambda issuer: swapped(issuer.token(), 0, alg="None"),
    "HS256 with the public key": lambda issuer: issuer.confused(),
    "another key": lambda _: Issuer().token(),
    "another subject": lambda issuer: swapped(issuer.token(), 1, sub="mallory"),
    "no signature": lambda issuer: issuer.token().rpartition(".")[0] + ".",
    "no parts": lambda _: "abc",
    "expiry that is no time": lambda issuer: issuer.token(exp="soon"),
}


def test_a_good_token_is_taken(codec_bench, client):
    """A request with a valid token is answered. It is the control of the refusals."""
    assert encode(client, f"Bearer {codec_bench.issuer.token()}").status_code == 200
    assert encode(client, f"bearer {codec_bench.issuer.token()}").status_code == 200


@pytest.mark.parametrize("kind", BAD_TOKENS)
def test_a_bad_token_is_refused(codec_bench, client, kind):
    """Every invalid token is refused with the same bytes, which hold no cause."""
    answer = encode(client, f"Bearer {BAD_TOKENS[kind](codec_bench.issuer)}")
    assert (answer.status_code, answer.content) == REFUSED
    assert answer.headers["www-authenticate"] == "Bearer"


@pytest.mark.parametrize("authorization", [None, "", "Bearer", "Basic YWxpY2U6eA==", "Bearer \xe4"])
def test_no_token_is_refused(client, authorization):
    """A header without a token is refused with the same bytes."""
    sent = authorization if authorization is None else authorization.encode("latin-1")
    assert (encode(client, sent).status_code, encode(client, sent).content) == REFUSED


@pytest.mark.parametrize(
    ("groups", "status"),
    [("support", 200), (["x", "all"], 200), ([], 403), (None, 403), ({"support": 1}, 403), ([["support"]], 403)],
)
def test_the_claim_says_which_namespaces(codec_bench, client, groups, status):
    """Only a value of the claim that the configuration lists allows a namespace. A missing, unknown or malformed one does not."""
    assert encode(client, f"Bearer {codec_bench.issuer.token(groups=groups)}").status_code == status


def test_a_key_set_is_used_by_the_ids_of_its_keys(codec_bench):
    """With a set of keys a token must name its own key. Without a name, or with another key's name, it is refused."""
    section = '\nlisten = "127.0.0.1:0"\ncertificate = "server.pem"\n' + JWT.replace("issuer.pem", "jwks.json")
    with codec_bench.server("jwks", section) as server, codec_bench.client(server) as client:
        assert encode(client, f"Bearer {codec_bench.issuer.token(key_id='new')}").status_code == 200
        for key_id in ("old", None, "unknown"):
            assert encode(client, f"Bearer {codec_bench.issuer.token(key_id=key_id)}").status_code == 401


@pytest.mark.parametrize(("bits", "taken"), [(1024, False), (2048, True)])
def test_a_short_key_is_refused(codec_bench, tmp_path, bits, taken):
    """A token with a short RSA key is refused, and one with a longer key is accepted."""
    key = rsa.generate_private_key(65537, bits)
    pem = key.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    (tmp_path / "key.pem").write_bytes(pem)
    section = {**tomllib.loads(JWT)["codec_server"], "listen": "127.0.0.1:0", "insecure": True}
    section["jwt"] |= {"algorithms": ["RS256"], "keys": "key.pem"}
    authenticator = Authenticator(parse_codec_server(section, tmp_path))
    with warnings.catch_warnings(action="ignore"):
        token = jwt.encode(codec_bench.issuer.claims(), key, "RS256")
    if taken:
        assert authenticator.caller(f"Bearer {token}", None).namespaces == {"first", "never-made"}
    else:
        with pytest.raises(NotAuthenticated):
            authenticator.caller(f"Bearer {token}", None)


@pytest.fixture(scope="module")
def certificates(codec_bench):
    """A server for callers with certificates, and the clients' files."""
    files = {
        name: codec_bench.authority.client(name, ("commonName", name)) for name in ("worker", "stranger", "revoked")
    }
    worker = ("commonName", "worker")
    files["wider"] = codec_bench.authority.client("wider", worker, ("organizationName", "others"))
    files["twice"] = codec_bench.authority.client("twice", worker, worker)
    other = Authority(codec_bench.folder, "another authority")
    files["forged"] = other.client("forged", worker)
    codec_bench.authority.revoke(files["revoked"][1])
    section = """
listen = "127.0.0.1:0"
certificate = "server.pem"
[codec_server.client_certificates]
authority = "authority.pem"
revoked = "crl.pem"
[[codec_server.client_certificates.callers]]
subject = { commonName = "worker" }
namespaces = ["first"]
[[codec_server.client_certificates.callers]]
subject = { commonName = "revoked" }
namespaces = ["first"]
"""
    with codec_bench.server("certificates", section) as server:
        yield server, {name: path for name, (path, _) in files.items()}, section


def test_a_certificate_is_a_caller(codec_bench, certificates):
    """A listed subject may use its namespace, and is the caller in the audit log."""
    server, files, _ = certificates
    with codec_bench.client(server, certificate=files["worker"]) as client:
        assert encode(client, None).status_code == 200
        assert encode(client, None, "second").status_code == 403
    assert server.events()[-2]["principal"] == 'certificate:{"commonName": "worker"}'


@pytest.mark.parametrize("name", ["stranger", "wider", "twice"])
def test_a_subject_that_is_not_listed_may_nothing(codec_bench, certificates, name):
    """A certificate with another subject, or with more attributes, may use no namespace."""
    server, files, _ = certificates
    with codec_bench.client(server, certificate=files[name]) as client:
        assert encode(client, None).status_code == 403


@pytest.mark.parametrize("name", [None, "forged", "revoked"])
def test_without_a_good_certificate_there_is_no_connection(codec_bench, certificates, name):
    """Without a certificate, with one of another authority, or with a revoked one TLS ends before a request is read."""
    server, files, _ = certificates
    with codec_bench.client(server, certificate=files.get(name)) as client, pytest.raises(httpx.TransportError):
        encode(client, None)


@pytest.mark.parametrize("newest", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_older_tls_is_refused(codec_bench, codec_server, newest):
    """A client with TLS 1.2 gets no connection. The same client with TLS 1.3 gets one."""
    with codec_bench.client(codec_server, newest=newest) as client:
        if newest is ssl.TLSVersion.TLSv1_3:
            assert client.get("/health").status_code == 204
        else:
            with pytest.raises(httpx.ConnectError):
                client.get("/health")


def test_a_client_knows_the_server(codec_bench, codec_server):
    """A client that trusts another authority makes no connection."""
    other = Authority(codec_bench.folder, "an authority of nobody")
    with (
        codec_bench.client(codec_server, trusted=other.certificate) as client,
        pytest.raises(httpx.ConnectError, match=r"verify"),
    ):
        client.get("/health")


def test_both_are_needed_where_both_are_asked_for(codec_bench, certificates):
    """If both are configured, a certificate or a token alone is refused, and both must allow the namespace."""
    _, files, section = certificates
    with (
        codec_bench.server("both", section + JWT) as server,
        codec_bench.client(server, certificate=files["worker"]) as client,
    ):
        assert encode(client, None).status_code == 401
        assert encode(client, f"Bearer {codec_bench.issuer.token()}").status_code == 200
        assert encode(client, f"Bearer {codec_bench.issuer.token(groups='all')}", "second").status_code == 403
        with codec_bench.client(server) as bare, pytest.raises(httpx.TransportError):
            encode(bare, f"Bearer {codec_bench.issuer.token()}")
