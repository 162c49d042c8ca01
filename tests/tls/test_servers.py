from __future__ import annotations

import asyncio
import ssl

import pytest

from strongroom.kms import NotAuthenticated
from tests.support.tls.cases import ALL, ASKS, HOST, OTHER, REFUSED, RIGHT

pytestmark = pytest.mark.integration

SSL_REQUEST = bytes.fromhex("0000000804d2162f")


async def careless(peer, port):
    """Connect as a client that verifies nothing. Return the TLS version, or None if the server has no TLS."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    reader, writer = await asyncio.open_connection(HOST, port)
    try:
        if peer.postgres:
            writer.write(SSL_REQUEST)
            if await reader.readexactly(1) == b"N":
                return None
        try:
            await writer.start_tls(context, server_hostname=HOST)
        except ssl.SSLError:
            await answers_in_clear(port)
            return None
        return writer.get_extra_info("ssl_object").version()
    finally:
        writer.close()


async def answers_in_clear(port):
    """Assert that a server answers HTTP without TLS."""
    reader, writer = await asyncio.open_connection(HOST, port)
    writer.write(b"GET /v1/sys/health HTTP/1.0\r\n\r\n")
    assert (await reader.readline()).startswith(b"HTTP/")
    writer.close()


async def test_the_right_server_is_used(peer, tls_files):
    """The control: the same client connects over TLS 1.3 to a server with the right certificate."""
    async with peer.serving(RIGHT) as port, peer.client(port, tls_files.trusted()) as ask:
        await ask()
        assert await careless(peer, port) == "TLSv1.3"


@pytest.mark.parametrize("case", REFUSED)
async def test_another_server_is_refused(peer, case, tls_files):
    """Servers with TLS 1.2, an invalid certificate, or no TLS get no connection.

    The control connects to each of them with a client that verifies nothing.
    """
    async with peer.serving(REFUSED[case]) as port:
        newest = REFUSED[case].newest
        assert await careless(peer, port) == (newest and newest.name.replace("_", "."))
        async with peer.client(port, tls_files.trusted()) as ask:
            with pytest.raises(peer.refusal) as caught:
                await ask()
    assert caught.value.retryable


@pytest.mark.parametrize("which", ["none", "of another authority", "right"])
async def test_a_server_that_asks_for_a_certificate(peer, which, tls_files):
    """A server that requires client certificates accepts the right one only."""
    certificate = {"right": tls_files.client, "of another authority": tls_files.stranger}.get(which)
    async with peer.serving(ASKS) as port, peer.client(port, tls_files.trusted(certificate)) as ask:
        if which == "right":
            await ask()
        else:
            with pytest.raises((peer.refusal, NotAuthenticated)):  # PostgreSQL reports an unknown user
                await ask()


async def test_a_certificate_that_is_refused_says_why(peer, tls_files):
    """The error names the fault of the certificate."""
    async with peer.serving(OTHER) as port, peer.client(port, tls_files.trusted()) as ask:
        with pytest.raises(peer.refusal, match="unable to get local issuer certificate"):
            await ask()


async def test_no_variable_weakens_tls(peer, tls_files, monkeypatch, tmp_path):
    """Variables of libpq, OpenSSL and HTTP clients neither disable TLS, nor add an authority, nor log secrets."""
    secrets = tmp_path / "secrets"
    for name, value in {
        "PGSSLMODE": "disable",
        "PGSSLROOTCERT": str(tls_files.others.certificate),
        "PGSSLMINPROTOCOLVERSION": "TLSv1",
        "PGHOST": "/nowhere",
        "SSLKEYLOGFILE": str(secrets),
        "HTTPS_PROXY": "http://127.0.0.1:9",
        "REQUESTS_CA_BUNDLE": str(tls_files.others.certificate),
        "SSL_CERT_FILE": str(tls_files.others.certificate),
    }.items():
        monkeypatch.setenv(name, value)
    async with peer.serving(RIGHT) as port, peer.client(port, tls_files.trusted()) as ask:
        await ask()
    for case in (OTHER, ALL["TLS 1.2 only"], ALL["without TLS"]):
        async with peer.serving(case) as port, peer.client(port, tls_files.trusted()) as ask:
            with pytest.raises(peer.refusal):
                await ask()
    written = secrets.read_text().splitlines() if secrets.exists() else []
    assert [line for line in written if not line.startswith("#")] == []
