from __future__ import annotations

import shutil
import socket
import ssl
import time
from datetime import UTC, datetime, timedelta

import httpx
import pytest

from tests.codec.conftest import JWT
from tests.support.codec.authority import Authority
from tests.support.codec.bench import codec_bench, plain
from tests.support.codec.issuer import Issuer

pytestmark = pytest.mark.integration

BODY = {"payloads": [plain("x")]}
KEPT = "the previous files stay in use"
SECTION = """
listen = "127.0.0.1:0"
certificate = "listening.pem"
[codec_server.client_certificates]
authority = "callers.pem"
revoked = "revoked.pem"
[[codec_server.client_certificates.callers]]
subject = { commonName = "worker" }
namespaces = ["first"]
[[codec_server.client_certificates.callers]]
subject = { commonName = "clerk" }
namespaces = ["second"]
"""


def encode(client, namespace="first", **headers):
    return client.post("/encode", json=BODY, headers={"X-Namespace": namespace, **headers})


class Office:
    """The codec server's files, and its clients."""

    def __init__(self, bench):
        self.bench = bench
        self.folder = bench.folder
        ours = bench.authority
        self.other = Authority(bench.folder, "another")
        ended = datetime.now(UTC) - timedelta(minutes=1)
        self.worker, self.worker_certificate = ours.client("worker", ("commonName", "worker"))
        self.certificates = {
            "right": self.worker,
            "wrong namespace": ours.client("clerk", ("commonName", "clerk"))[0],
            "expired": ours.client("expired", ("commonName", "worker"), until=ended)[0],
            "wrong CA": self.other.client("foreign", ("commonName", "worker"))[0],
            "self-signed": Authority(bench.folder, "lonely").self_signed("worker", file="alone"),
            "a server's": ours.server("worker", file="misused"),
            "none": None,
        }
        revoked, certificate = ours.client("gone", ("commonName", "worker"))
        self.certificates["revoked"] = revoked
        self.put("listening.pem", bench.folder / "server.pem")
        self.put("callers.pem", ours.certificate)
        self.put("revoked.pem", ours.revoke(certificate))

    def put(self, name, source):
        """Replace one of the server's files atomically."""
        shutil.copy(source, self.folder / "next")
        (self.folder / "next").replace(self.folder / name)

    def client(self, server, kind="right", **options):
        """Return a client with a certificate of a kind."""
        return self.bench.client(server, certificate=self.certificates[kind], **options)


@pytest.fixture(scope="module")
async def codec_tls_bench(databases, tmp_path_factory):
    async with codec_bench(databases, tmp_path_factory.mktemp("codec-tls")) as codec_tls_bench:
        yield codec_tls_bench


@pytest.fixture
def office(codec_tls_bench):
    return Office(codec_tls_bench)


def log_of(server, text):
    """Return how often a text is in the server's log. Wait until it is there."""
    end = time.monotonic() + 120
    while text not in server.output.read_text() and time.monotonic() < end:
        time.sleep(0.02)
    return server.output.read_text().count(text)


def test_which_client_certificates_are_refused(office):
    """A client with no certificate, or with an invalid one, gets no connection. The control has a valid one."""
    with office.bench.server("refusing", SECTION) as server:
        for kind in ("expired", "wrong CA", "self-signed", "a server's", "revoked", "none"):
            with office.client(server, kind) as client, pytest.raises(httpx.TransportError):
                encode(client)
        with office.client(server) as client:
            assert encode(client).status_code == 200


def test_a_wrong_namespace_certificate_is_refused(office):
    """A valid certificate of another namespace opens its own namespace only."""
    with office.bench.server("namespaces", SECTION) as server, office.client(server, "wrong namespace") as client:
        assert encode(client, "first").status_code == 403
        assert encode(client, "second").status_code == 200


def test_tls_1_2_is_refused(office):
    """A client without TLS 1.3 gets no connection, even with a valid certificate."""
    with office.bench.server("old", SECTION) as server:
        with office.client(server, newest=ssl.TLSVersion.TLSv1_2) as client, pytest.raises(httpx.ConnectError):
            encode(client)
        bare = server.address.replace("https", "http")
        with httpx.Client(base_url=bare, trust_env=False) as client, pytest.raises(httpx.TransportError):
            encode(client)
        with office.client(server) as client:
            assert encode(client).status_code == 200


def test_a_renewed_certificate_is_shown_to_the_next_connection(office):
    """A renewed certificate is used for new connections without a restart. A broken file changes nothing."""
    new = office.other.server("127.0.0.1", file="renewed")
    with office.bench.server("renewed", SECTION) as server, office.client(server) as living:
        assert encode(living).status_code == 200
        office.put("listening.pem", new)
        with office.client(server) as client, pytest.raises(httpx.ConnectError):
            encode(client)
        with office.client(server, trusted=office.other.certificate) as client:
            assert encode(client).status_code == 200
        (office.folder / "listening.pem").write_text("nothing")
        for _ in range(3):
            with office.client(server, trusted=office.other.certificate) as client:
                assert encode(client).status_code == 200
        assert encode(living).status_code == 200
        assert log_of(server, KEPT) == 1
        assert server.process.poll() is None


def test_a_certificate_that_is_revoked_while_the_server_runs_is_refused(office):
    """A revoked certificate is refused at its next connection. A broken list keeps the old list."""
    with office.bench.server("revoking", SECTION) as server:
        with office.client(server) as client:
            assert encode(client).status_code == 200
        office.put("revoked.pem", office.bench.authority.revoke(office.worker_certificate))
        with office.client(server) as client, pytest.raises(httpx.TransportError):
            encode(client)
        (office.folder / "revoked.pem").unlink()
        for _ in range(2):
            with office.client(server) as client, pytest.raises(httpx.TransportError):
                encode(client)
            with office.client(server, "wrong namespace") as client:
                assert encode(client, "second").status_code == 200
        assert log_of(server, KEPT) == 1


def test_an_expired_revocation_list_refuses_all(office):
    """With an expired revocation list, all certificates are refused until the list is renewed."""
    with office.bench.server("ended", SECTION) as server:
        good = (office.folder / "revoked.pem").read_bytes()
        office.put("revoked.pem", office.bench.authority.revoke(until=datetime.now(UTC) - timedelta(minutes=1)))
        with office.client(server) as client, pytest.raises(httpx.TransportError):
            encode(client)
        (office.folder / "revoked.pem").write_bytes(good)
        with office.client(server) as client:
            assert encode(client).status_code == 200


def test_callers_of_another_authority_are_known_once_its_file_says_so(office):
    """A changed file of authorities is reloaded, and certificates of removed authorities are refused."""
    with office.bench.server("authorities", SECTION.replace('revoked = "revoked.pem"', "")) as server:
        office.put("callers.pem", office.other.certificate)
        with office.client(server, "wrong CA") as client:
            assert encode(client).status_code == 200
        with office.client(server) as client, pytest.raises(httpx.TransportError):
            encode(client)


def test_no_session_passes_by_the_revocation_list(office):
    """The server issues no session tickets, because a resumed session would not present its certificate."""
    context = ssl.create_default_context(cafile=office.bench.authority.certificate)
    context.load_cert_chain(office.worker)
    with office.bench.server("tickets", SECTION) as server:
        url = httpx.URL(server.address)
        with (
            socket.create_connection((url.host, url.port)) as raw,
            context.wrap_socket(raw, server_hostname=url.host) as secured,
        ):
            secured.sendall(b"GET /health HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
            assert b"204" in secured.recv(4096)  # tickets would arrive before the answer
            assert not secured.session.has_ticket


def test_a_changed_key_set_counts_for_the_next_request(office):
    """A changed key set applies to the next request of an open connection. A broken file changes nothing."""
    section = '\nlisten = "127.0.0.1:0"\ncertificate = "listening.pem"\n' + JWT.replace("issuer.pem", "tokens.pem")
    office.put("tokens.pem", office.folder / "issuer.pem")
    renewed = Issuer()
    with office.bench.server("tokens", section) as server, office.client(server, "none") as client:

        def status(issuer):
            return encode(client, Authorization=f"Bearer {issuer.token()}").status_code

        assert (status(office.bench.issuer), status(renewed)) == (200, 401)
        (office.folder / "renewed-issuer.pem").write_bytes(renewed.pem)
        office.put("tokens.pem", office.folder / "renewed-issuer.pem")
        assert (status(office.bench.issuer), status(renewed)) == (401, 200)
        (office.folder / "tokens.pem").write_text("nothing")
        assert [status(renewed) for _ in range(3)] == [200] * 3
        assert log_of(server, KEPT) == 1
