from __future__ import annotations

import re
import socket
import subprocess
import sys
import tomllib
from importlib.resources import files

import pytest

from strongroom.driver.codec.listener import _listening
from strongroom.driver.config.codec import Listen, parse_codec_server
from strongroom.driver.config.config import ConfigError, load_config, write_config

PAGE = (files("strongroom.driver.codec") / "codec_server.md").read_text()
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
    """What the page shows is read as it stands there, with its commented settings, and with both kinds of callers."""
    blocks = re.findall(r"```toml\n(.*?)```", PAGE, re.DOTALL)
    assert len(blocks) == 2
    for text in (blocks[0], "".join(blocks), re.sub(r"^# ", "", "".join(blocks), flags=re.MULTILINE)):
        found = parse_codec_server(tomllib.loads(text)["codec_server"], tmp_path)
        assert found.jwt.namespaces["platform"] == {"payments", "billing"}
    assert found.client_certificates.namespaces == {
        frozenset({("commonName", "support-tools"), ("organizationName", "Example")}): {"payments"}
    }
    usual = parse_codec_server(GOOD, tmp_path)
    told = dict(re.findall(r"^# (max_\w+|payloads_\w+) = (\d+)", blocks[0], re.MULTILINE))
    assert told == {name: str(getattr(usual, name)) for name in told}
    assert len(told) == 4


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
    """TLS anywhere, or none where nobody else can connect."""
    assert parse_codec_server(content, tmp_path)


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (without(GOOD, "jwt"), "nobody could call"),
        (without(GOOD, "listen"), "listen must be given"),
        (without(GOOD, "certificate"), "certificate must be given"),
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
        ({**GOOD, "origins": "https://a.example"}, "list of texts"),
        ({**GOOD, "max_payloads": 0}, "1 or more"),
        ({**GOOD, "max_payloads": 6000}, "payloads_at_once"),
        ({**GOOD, "credential": True}, "unknown setting credential"),
        ({**GOOD, "jwt": {**JWT, "algorithms": ["none"]}}, "one or more of ES256"),
        ({**GOOD, "jwt": {**JWT, "algorithms": ["ES256", "HS256"]}}, "one or more of ES256"),
        ({**GOOD, "jwt": {**JWT, "algorithms": []}}, "one or more of ES256"),
        ({**GOOD, "jwt": {**JWT, "leeway": 5}}, "unknown setting leeway"),
        ({**GOOD, "jwt": {**JWT, "namespaces": {"a": "payments"}}}, "list of texts"),
        *(({**GOOD, "jwt": without(JWT, name)}, name) for name in JWT),
        ({**GOOD, "client_certificates": without(CERTIFICATES, "authority")}, "authority"),
        ({**GOOD, "client_certificates": without(CERTIFICATES, "callers")}, "callers"),
        ({**GOOD, "client_certificates": {**CERTIFICATES, "callers": CERTIFICATES["callers"] * 2}}, "twice"),
        ({**GOOD, "client_certificates": {"authority": "a", "callers": [{"namespaces": []}]}}, "subject"),
        (
            {**GOOD, "client_certificates": {"authority": "a", "callers": [{"subject": {}, "namespaces": []}]}},
            "subject",
        ),
    ],
)
def test_what_is_wrong_or_open_is_refused(content, told, tmp_path):
    """Each with an error that names the setting."""
    with pytest.raises(ValueError, match=told):
        parse_codec_server(content, tmp_path)


def test_a_configuration_holds_the_section(tmp_path):
    """It is read with the rest, and a fault in it names the file."""
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
    """The package and its command line are imported without any of what the two extras bring."""
    code = f"import sys, strongroom.driver.cli.main; print([name for name in {EXTRAS} if name in sys.modules])"
    assert python(code, tmp_path).stdout.strip() == "[]"
    code = (
        f"import sys, strongroom.driver.codec.listener; print([name for name in {EXTRAS} if name not in sys.modules])"
    )
    assert python(code, tmp_path).stdout.strip() == "[]"


@pytest.mark.parametrize("missing", ["temporalio", "starlette", "uvicorn", "jwt"])
def test_a_missing_extra_is_named(missing, tmp_path):
    """The command without its packages ends with 2 and says what to install."""
    code = (
        f"import sys; sys.modules['{missing}'] = None; sys.argv = ['strongroom', 'codec-server']\n"
        "from strongroom.driver.cli.main import main; main()"
    )
    ended = python(code, tmp_path)
    assert (ended.returncode, "strongroom[codec-server]" in ended.stderr) == (2, True)


def test_answers_are_not_held_back():
    """The body of an answer does not wait until the caller's system has acknowledged its head, which takes it 40 ms each time."""
    with (
        _listening(Listen("127.0.0.1", 0)) as listening,
        socket.create_connection(listening.getsockname()),
        listening.accept()[0] as accepted,
    ):
        assert accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
