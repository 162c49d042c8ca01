from __future__ import annotations

import re
import socket
import subprocess
import sys
import tomllib

import pytest

from strongroom.driver.codec.listener import listening_socket
from strongroom.driver.config import ConfigError, Listen, load_config, write_config
from tests.support.configuration import parse_codec_server
from tests.support.tree import ROOT

PAGE = (ROOT / "docs" / "how-to" / "codec-server.md").read_text()
EXTRAS = ["temporalio", "starlette", "uvicorn", "jwt", "google.protobuf"]
JWT = {
    "keys": "k",
    "issuer": "i",
    "audience": "a",
    "algorithms": ["ES256"],
    "claim": "groups",
    "namespaces": {"support": ["payments"]},
}
CERTIFICATES = {"authority": "a", "callers": [{"subject": {"commonName": "x"}, "namespaces": ["payments"]}]}
GOOD = {"listen": "10.0.0.1:8443", "certificate": "c", "jwt": JWT}
LOCAL = {"listen": "127.0.0.1:0", "insecure": True, "jwt": JWT}


def without(content, *names):
    return {name: value for name, value in content.items() if name not in names}


def test_the_sections_on_the_page_are_true(tmp_path):
    """The sections on the page are accepted as they are written, with their commented settings, and with both kinds of callers."""
    blocks = re.findall(r"```toml\n(.*?)```", PAGE, re.DOTALL)
    assert len(blocks) == 2
    for text in (blocks[0], "".join(blocks), re.sub(r"^# ", "", "".join(blocks), flags=re.MULTILINE)):
        found = parse_codec_server(tomllib.loads(text)["codec_server"], tmp_path)
        assert found.jwt.namespaces["platform"] == {"payments", "billing"}
    assert found.client_certificates.namespaces == {
        frozenset({("commonName", "support-tools"), ("organizationName", "Example")}): {"payments"}
    }
    usual = parse_codec_server(GOOD, tmp_path)
    shown = dict(re.findall(r"^# (max_\w+|payloads_\w+) = (\d+)", blocks[0], re.MULTILINE))
    assert shown == {name: str(getattr(usual, name)) for name in shown}
    assert len(shown) == 4


@pytest.mark.parametrize(
    "content",
    [
        GOOD,
        LOCAL,
        {**LOCAL, "listen": "[::1]:80"},
        {**LOCAL, "listen": "localhost:80"},
        {**LOCAL, "listen": "unix:a/b.sock"},
        {**without(GOOD, "jwt"), "client_certificates": CERTIFICATES},
        {**GOOD, "origins": ["https://a.example:8443", "http://localhost:8080", "http://[::1]:8080"]},
    ],
)
def test_what_is_safe_is_taken(content, tmp_path):
    """TLS is accepted on any address, and no TLS only where no other machine can connect."""
    assert parse_codec_server(content, tmp_path)


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (without(GOOD, "jwt"), "nobody could call"),
        (without(GOOD, "listen"), "listen is missing"),
        (without(GOOD, "certificate"), "give certificate"),
        ({**GOOD, "insecure": True}, "not both"),
        ({**LOCAL, "listen": "0.0.0.0:80"}, "loopback"),
        ({**LOCAL, "listen": "10.0.0.1:80"}, "loopback"),
        ({**LOCAL, "listen": "localhost.example.com:80"}, "loopback"),
        ({**LOCAL, "client_certificates": CERTIFICATES}, "needs TLS"),
        ({**LOCAL, "key": "k"}, "belongs to a certificate"),
        ({**GOOD, "listen": "8443"}, "HOST:PORT"),
        ({**GOOD, "listen": "a:b"}, "HOST:PORT"),
        ({**GOOD, "listen": "me@a:1"}, "HOST:PORT"),
        ({**GOOD, "listen": "unix:"}, "HOST:PORT"),
        ({**GOOD, "listen": "a:99999"}, "HOST:PORT"),
        ({**GOOD, "origins": ["*"]}, "origins"),
        ({**GOOD, "origins": ["null"]}, "origins"),
        ({**GOOD, "origins": ["https://a.example/"]}, "origins"),
        ({**GOOD, "origins": ["https://*.example"]}, "origins"),
        ({**GOOD, "origins": ["https://A.example"]}, "origins"),
        ({**GOOD, "origins": "https://a.example"}, r"origins must be a list"),
        ({**GOOD, "max_payloads": 0}, "max_payloads must be a whole number from 1"),
        ({**GOOD, "max_payloads": 6000}, "payloads_at_once"),
        (
            {**GOOD, "credential": True},
            r"codec_server\.credential is no setting; did you mean codec_server\.credentials",
        ),
        ({**GOOD, "jwt": {**JWT, "algorithms": ["none"]}}, "ES256"),
        ({**GOOD, "jwt": {**JWT, "algorithms": ["ES256", "HS256"]}}, "ES256"),
        ({**GOOD, "jwt": {**JWT, "algorithms": []}}, "ES256"),
        ({**GOOD, "jwt": {**JWT, "leeway": 5}}, r"codec_server\.jwt\.leeway is no setting"),
        ({**GOOD, "jwt": {**JWT, "namespaces": {"a": "payments"}}}, r"jwt\.namespaces\.a must be a list of texts"),
        *(({**GOOD, "jwt": without(JWT, name)}, name) for name in JWT),
        ({**GOOD, "client_certificates": without(CERTIFICATES, "authority")}, "authority"),
        ({**GOOD, "client_certificates": without(CERTIFICATES, "callers")}, "callers"),
        ({**GOOD, "client_certificates": {**CERTIFICATES, "callers": CERTIFICATES["callers"] * 2}}, "same subject"),
        ({**GOOD, "client_certificates": {"authority": "a", "callers": [{"namespaces": []}]}}, "subject"),
        (
            {**GOOD, "client_certificates": {"authority": "a", "callers": [{"subject": {}, "namespaces": []}]}},
            "subject",
        ),
    ],
)
def test_what_is_wrong_or_open_is_refused(content, told, tmp_path):
    """A wrong setting, and a server without authentication, are refused by the name of the setting."""
    with pytest.raises(ConfigError, match=told):
        parse_codec_server(content, tmp_path)


def test_a_configuration_holds_the_section(tmp_path):
    """The section is read with the rest of the file, and a fault in it names the file."""
    path = tmp_path / "strongroom.toml"
    write_config(path, dsn="postgresql://x/y")
    assert load_config(path).codec_server is None
    text = path.read_text()
    path.write_text(text + '\n[codec_server]\nlisten = "127.0.0.1:1"\n')
    with pytest.raises(ConfigError, match=r"strongroom\.toml.*codec_server"):
        load_config(path)


def python(code, folder):
    return subprocess.run(
        [sys.executable, "-c", code], cwd=folder, capture_output=True, text=True, timeout=60, check=False
    )


def test_a_plain_install_loads_nothing_of_it(tmp_path):
    """The package and its command line import nothing that the extras temporal and codec-server install."""
    code = f"import sys, strongroom.driver.cli.main; print([name for name in {EXTRAS} if name in sys.modules])"
    assert python(code, tmp_path).stdout.strip() == "[]"
    code = (
        f"import sys, strongroom.driver.codec.listener; print([name for name in {EXTRAS} if name not in sys.modules])"
    )
    assert python(code, tmp_path).stdout.strip() == "[]"


@pytest.mark.parametrize("missing", ["temporalio", "starlette", "uvicorn", "jwt"])
def test_a_missing_extra_is_named(missing, tmp_path):
    """Without its packages the command ends with 2 and names the extra to install."""
    code = (
        f"import sys; sys.modules['{missing}'] = None; sys.argv = ['strongroom', 'codec-server']\n"
        "from strongroom.driver.cli.main import main; main()"
    )
    ended = python(code, tmp_path)
    assert (ended.returncode, "strongroom[codec-server]" in ended.stderr) == (2, True)


def test_answers_are_not_held_back():
    """The body of an answer is sent before the caller acknowledges its head, which would take 40 ms for each answer."""
    with (
        listening_socket(Listen("127.0.0.1", 0)) as listening,
        socket.create_connection(listening.getsockname()),
        listening.accept()[0] as accepted,
    ):
        assert accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
