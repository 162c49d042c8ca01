"""TLS and tokens: the provider with google-auth's own credentials, a token service and a TLS server on this machine."""

from __future__ import annotations

import asyncio
import inspect
import json
import threading
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import grpc
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from google.oauth2.credentials import Credentials

from strongroom.kms import KmsAuthenticationError, KmsTimeout, KmsUnavailable, Secret
from strongroom.kms.providers.gcp import GcpKmsProvider
from tests.support.kms.gcp_kit import KEY_RING, TOKEN, gcp_provider, gcp_server
from tests.support.kms.gcp_server import unauthenticated
from tests.support.kms.own_ca import make_ca

CONTEXT = {"app": "strongroom"}
ROOT = Secret(bytes(range(32)))
REFRESH_TOKEN = "1//refresh-not-to-be-shown"  # noqa: S105 - made up


class TokenService:
    """An HTTP token service like Google's."""

    def __init__(self):
        self.port = 0
        self.asked = 0
        self.status = 200
        self.answers = threading.Event()
        self.answers.set()
        self.lifetime = 3600

    def answer(self):
        """Return status and body."""
        self.asked += 1
        self.answers.wait(60)
        if self.status == 200:
            return 200, {"access_token": TOKEN, "expires_in": self.lifetime, "token_type": "Bearer"}
        return self.status, {"error": "invalid_grant", "error_description": f"{REFRESH_TOKEN} is revoked"}


@pytest.fixture
def tokens():
    """Return a token service."""
    service = TokenService()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self):
            """Send the answer."""
            self.rfile.read(int(self.headers["Content-Length"]))
            status, body = service.answer()
            content = json.dumps(body).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_args):
            """Log nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as listening:
        service.port = listening.server_address[1]
        thread = threading.Thread(target=listening.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        yield service
        listening.shutdown()
        thread.join()


def refreshed(tokens, *, port=0, **given):
    """Return credentials that the token service refreshes."""
    return Credentials(
        **({"token": None} | given),
        refresh_token=REFRESH_TOKEN,
        token_uri=f"http://127.0.0.1:{port or tokens.port}/token",
        client_id="client",
        client_secret="client-secret-not-to-be-shown",  # noqa: S106 - made up
    )


def in_seconds(seconds):
    """Return an expiry in google-auth's form, which is UTC without a time zone."""
    return (datetime.now(UTC) + timedelta(seconds=seconds)).replace(tzinfo=None)


@contextmanager
def shown_nothing(error):
    """Expect an error without any value that was exchanged with the token service."""
    with pytest.raises(error) as caught:
        yield
    text = f"{caught.value!s}{caught.value!r}{caught.value.args!r}"
    assert "not-to-be-shown" not in text
    assert "revoked" not in text
    assert (caught.value.__cause__, caught.value.__context__) == (None, None)


# --- tokens


async def test_one_token_for_all_that_wait(gcp_double, tokens):
    """The first call fetches a token, concurrent calls wait for it, and later calls use it."""
    provider = gcp_provider(gcp_double, credentials=refreshed(tokens))
    await asyncio.gather(*(provider.check() for _ in range(20)))
    await provider.check()
    assert tokens.asked == 1
    await provider.aclose()


async def test_token_is_renewed_beside_the_loop(gcp_double, tokens):
    """A token is renewed in the background before it expires, and the event loop keeps running."""
    provider = gcp_provider(gcp_double, credentials=refreshed(tokens, token=TOKEN, expiry=in_seconds(60)))
    tokens.answers.clear()
    call = asyncio.create_task(provider.check())
    while not tokens.asked:  # noqa: ASYNC110 - the token service runs in another thread
        await asyncio.sleep(0.01)
    assert not call.done()
    tokens.answers.set()
    await call
    assert tokens.asked == 1
    await provider.aclose()


async def test_token_that_can_not_be_renewed_yet_serves_on(gcp_double, tokens):
    """During an outage of the token service, a token that has not expired is used."""
    tokens.status = 400
    provider = gcp_provider(gcp_double, credentials=refreshed(tokens, token=TOKEN, expiry=in_seconds(60)))
    assert await provider.check()
    assert tokens.asked == 1
    await provider.aclose()


async def test_refused_token_is_replaced(gcp_double, tokens):
    """After the service refused a token, the next call fetches a new one."""
    provider = gcp_provider(gcp_double, credentials=refreshed(tokens, token=TOKEN[::-1], expiry=in_seconds(3000)))
    with pytest.raises(KmsAuthenticationError):
        await provider.check()
    assert tokens.asked == 0
    assert await provider.check()
    assert tokens.asked == 1
    await provider.aclose()


async def test_refresh_that_is_refused(gcp_double, tokens):
    """Credentials that give no token raise KmsAuthenticationError on each call, without a secret in it."""
    tokens.status = 400
    provider = gcp_provider(gcp_double, credentials=refreshed(tokens))
    for _ in range(2):
        with shown_nothing(KmsAuthenticationError):
            await provider.check()
    assert not gcp_double.calls
    await provider.aclose()


async def test_token_service_that_is_away(gcp_double, tokens):
    """A token service that is unreachable or slow raises a retryable error."""
    credentials = refreshed(tokens)
    tokens.answers.clear()
    slow = gcp_provider(gcp_double, credentials=credentials, deadline=0.1)
    with shown_nothing(KmsTimeout):
        await slow.check()
    tokens.answers.set()
    while not credentials.valid:  # noqa: ASYNC110 - google-auth refreshes in another thread
        await asyncio.sleep(0.01)
    slow._channel._deadline = 60.0
    assert await slow.check()  # the late answer is available to the next call
    assert tokens.asked == 1
    await slow.aclose()
    away = gcp_provider(gcp_double, credentials=refreshed(tokens, port=9))
    with shown_nothing(KmsUnavailable):
        await away.check()
    await away.aclose()


def test_a_call_has_three_seconds():
    """The default deadline is 1 s for the connection and 2 s for the answer. Only the tests use a longer one."""
    assert inspect.signature(GcpKmsProvider).parameters["deadline"].default == 3.0


# --- TLS


def certificate(folder, host):
    """Return the credentials of a server with a certificate for a host, and the file of its authority."""
    own = folder / host
    own.mkdir()
    ca = make_ca(own, host)
    pem = ca.server.read_bytes()
    return grpc.ssl_server_credentials([(pem, pem)]), ca.authority


def private_pem(key):
    """Return a private key in PEM."""
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


async def test_server_of_another_authority_or_name_is_refused(tmp_path):
    """A server needs a certificate of a trusted authority with the right name. No other server gets the token."""
    given, trusted = certificate(tmp_path, "localhost")
    _, another = certificate(tmp_path, "elsewhere.test")
    async with gcp_server(given) as server:
        good = f"https://localhost:{server.port}"
        for endpoint, ca_certs in (
            (good, None),
            (good, another),
            (f"https://127.0.0.1:{server.port}", trusted),
        ):
            provider = gcp_provider(server, endpoint=endpoint, ca_certs=ca_certs)
            with pytest.raises(KmsUnavailable):
                await provider.check()
            await provider.aclose()
        assert not server.calls
        provider = gcp_provider(server, endpoint=good, ca_certs=trusted)
        kek = await provider.create_kek("over-tls")
        made = await provider.wrap(kek, ROOT, context=CONTEXT)
        assert (await provider.unwrap(made, context=CONTEXT)).reveal() == ROOT.reveal()
        await provider.aclose()


async def test_a_changed_authority_counts_without_a_restart(tmp_path):
    """The file of authorities is reloaded when it changes. A broken file changes nothing."""
    given, good = certificate(tmp_path, "localhost")
    _, another = certificate(tmp_path, "elsewhere.test")
    trusted = tmp_path / "trusted.pem"
    trusted.write_bytes(another.read_bytes())
    async with gcp_server(given) as server:
        provider = gcp_provider(server, endpoint=f"https://localhost:{server.port}", ca_certs=trusted)
        with pytest.raises(KmsUnavailable):
            await provider.check()
        trusted.write_bytes(good.read_bytes())
        await provider.check()
        trusted.write_text("nothing")
        await provider.check()
        trusted.write_bytes(another.read_bytes())
        with pytest.raises(KmsUnavailable):
            await provider.check()
        await provider.aclose()


async def test_application_default_credentials(tmp_path, tokens, monkeypatch):
    """Without configured credentials, the application default credentials are used, here a service account's file."""
    given, trusted = certificate(tmp_path, "localhost")
    account = tmp_path / "account.json"
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    account.write_text(
        json.dumps(
            {
                "type": "service_account",
                "project_id": "strongroom-test",
                "private_key_id": "1",
                "private_key": private_pem(key).decode(),
                "client_email": "strongroom@strongroom-test.iam.gserviceaccount.com",
                "token_uri": f"http://127.0.0.1:{tokens.port}/token",
            }
        )
    )
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(account))
    async with gcp_server(given) as server:
        settings = {"endpoint": f"https://localhost:{server.port}", "ca_certs": trusted}
        provider = GcpKmsProvider("gcp-kms", key_ring=KEY_RING, **settings)
        assert await provider.check()
        await provider.aclose()
        monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(tmp_path / "absent.json"))
        provider = GcpKmsProvider("gcp-kms", key_ring=KEY_RING, **settings)
        with shown_nothing(KmsAuthenticationError):
            await provider.check()
        await provider.aclose()


async def test_default_credentials_do_not_go_in_clear(gcp_double, tokens, monkeypatch):
    """An unencrypted server never receives the application default credentials."""
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", "/absent.json")
    provider = gcp_provider(gcp_double, credentials=None)
    with pytest.raises(KmsAuthenticationError) as caught:
        await provider.check()
    assert caught.value.provider_code == unauthenticated("GetKeyRing").details[0].reason  # from the server
    ((_, metadata),) = gcp_double.sent("GetKeyRing")
    assert "authorization" not in metadata
    assert tokens.asked == 0
    await provider.aclose()
