from __future__ import annotations

import json
import socket
import ssl
from concurrent.futures import ThreadPoolExecutor
from urllib.parse import urlsplit

import pytest

from tests.codec.conftest import JWT
from tests.support.codec.issuer import Issuer
from tests.support.fixtures.command_line import run_command

pytestmark = pytest.mark.integration

PUBLIC = 'listen = "127.0.0.1:0"\ncertificate = "server.pem"\n'


def refused(bench, section, *arguments):
    """Run a command with a section of its own. It must end with 2."""
    (bench.folder / "wrong.toml").write_text((bench.folder / "strongroom.toml").read_text() + section)
    (bench.folder / "wrong.toml").chmod(0o600)
    ended = run_command(bench.folder, "--config", "wrong.toml", *(arguments or ["codec-server"]), timeout=60)
    assert ended.returncode == 2, ended.stdout
    assert "Traceback" not in ended.stderr
    return ended.stderr


def test_it_says_what_is_wrong(codec_bench):
    """Without its section, with missing or wrong files, or on an address in use the server does not start, and the error says why."""
    assert "no section [codec_server]" in refused(codec_bench, "")
    section = f"\n[codec_server]\n{PUBLIC}{JWT}"
    assert "nobody.pem can't be used" in refused(codec_bench, section.replace("server.pem", "nobody.pem"))
    assert "no certificate in PEM" in refused(codec_bench, section.replace("server.pem", "issuer.pem"))
    assert "nobody.json can't be read" in refused(codec_bench, section.replace("issuer.pem", "nobody.json"))
    for content, told in (
        ("{", "is neither a JWK set"),
        ("[]", "is neither a JWK set"),
        (json.dumps({"keys": [{"kty": "oct", "k": "AAAA", "alg": "HS256"}]}), "no public key for ES256"),
        (json.dumps({"keys": [Issuer().jwk("a"), Issuer().jwk("a")]}), "two keys with the same id"),
        ("-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n", "is neither a JWK set"),
    ):
        (codec_bench.folder / "odd.json").write_text(content)
        assert told in refused(codec_bench, section.replace("issuer.pem", "odd.json"))
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        assert "can't listen on" in refused(codec_bench, section.replace("127.0.0.1:0", f"127.0.0.1:{port}"))


def test_a_socket_in_use_is_not_taken_over(codec_bench):
    """A second server on the socket of a running one does not start, and the first keeps running."""
    section = 'listen = "unix:shared.sock"\ninsecure = true\n'
    with codec_bench.server("shared", section + JWT) as server:
        told = refused(codec_bench, f"\n[codec_server]\n{section}{JWT}")
        assert "another server listens" in told
        assert server.process.poll() is None
        assert (codec_bench.folder / "shared.sock").exists()


def test_no_key_is_destroyed_that_payloads_may_need(codec_bench):
    """If a codec server is configured, destroying a data key needs a confirmation, because a scan can't find payloads."""
    section = f"\n[codec_server]\n{PUBLIC}{JWT}"
    for command in (("keys", "destroy", "first", "--version", "1"), ("keys", "reseal", "first", "--destroy")):
        assert "--no-payloads" in refused(codec_bench, section, *command)
    told = refused(codec_bench, section, "keys", "destroy", "first", "--version", "7", "--no-payloads", "--wait", "0")
    assert "--no-payloads" not in told


def hang_up(bench, server, sent):
    """Connect and send bytes. Return the answer; fail if the server does not close the connection within a minute."""
    context = ssl.create_default_context(cafile=bench.authority.certificate)
    parts = urlsplit(server.address)
    with (
        socket.create_connection((parts.hostname, parts.port)) as raw,
        context.wrap_socket(raw, server_hostname=parts.hostname) as connection,
    ):
        connection.settimeout(60)
        connection.sendall(sent)
        received = b""
        while part := connection.recv(4096):
            received += part
    return received


def test_who_is_slow_is_hung_up_on(codec_bench, codec_server):
    """The server closes a connection that sends nothing, half a head, or no body."""
    headers = {**codec_bench.headers(), "Host": "codec", "Content-Type": "application/json", "Content-Length": "100"}
    head = "POST /decode HTTP/1.1\r\n" + "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    with ThreadPoolExecutor(3) as threads:
        silent, half, bodiless = threads.map(
            lambda sent: hang_up(codec_bench, codec_server, sent.encode()), ("", head, head + "\r\n{")
        )
    assert (silent, half) == (b"", b"")
    assert bodiless.startswith(b"HTTP/1.1 408 ")
