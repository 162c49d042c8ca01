from __future__ import annotations

import pytest

from tests.codec.conftest import JWT
from tests.support.codec.bench import plain

pytestmark = pytest.mark.integration

UI = "https://ui.example.com"
ASKS = {
    "Access-Control-Request-Method": "POST",
    "Access-Control-Request-Headers": "authorization,content-type,x-namespace",
}
OTHERS = [
    "https://ui.example.com.evil.example",
    "https://evil-ui.example.com",
    "http://ui.example.com",
    "https://ui.example.com:8443",
    "https://UI.example.com",
    "https://ui.example.com/",
    "https://ui.example.com, https://evil.example",
    "null",
    "*",
    "",
]


def test_a_listed_origin_may_ask_and_call(codec_bench, client):
    """The answer allows exactly that origin and the three headers of Temporal's web interface, and no credentials."""
    asked = client.options("/decode", headers={"Origin": UI, **ASKS})
    assert (asked.status_code, asked.content) == (204, b"")
    assert asked.headers["access-control-allow-origin"] == UI
    assert asked.headers["access-control-allow-methods"] == "POST"
    # Temporal's interface sends the ID token of a login in Authorization-Extras. The codec server does not read it.
    allowed = {"authorization", "authorization-extras", "content-type", "x-namespace"}
    assert set(asked.headers["access-control-allow-headers"].lower().split(", ")) == allowed
    called = client.post("/encode", json={"payloads": [plain(1)]}, headers={"Origin": UI, **codec_bench.headers()})
    assert (called.status_code, called.headers["access-control-allow-origin"]) == (200, UI)
    for answer in (asked, called):
        assert "access-control-allow-credentials" not in answer.headers
        assert answer.headers["vary"] == "Origin"


def test_errors_are_legible_for_a_listed_origin(client):
    """A page of a listed origin can read the reason of a refusal."""
    refused = client.post("/decode", json={"payloads": []}, headers={"Origin": UI})
    assert (refused.status_code, refused.headers["access-control-allow-origin"]) == (401, UI)


@pytest.mark.parametrize("origin", OTHERS)
def test_another_origin_may_not(codec_bench, codec_server, client, origin):
    """A page of another origin is refused, even with a valid token. No payload is opened, and it can't read the answer."""
    before = len(codec_server.events())
    answers = [
        client.options("/decode", headers={"Origin": origin, **ASKS}),
        client.post("/encode", json={"payloads": [plain(1)]}, headers={"Origin": origin, **codec_bench.headers()}),
    ]
    for answer in answers:
        assert answer.status_code == 403
        assert not [name for name in answer.headers if name.startswith("access-control-")]
        assert "payloads" not in answer.json()
    assert len(codec_server.events()) == before


def test_no_origins_and_credentials(codec_bench):
    """Without a list no page may call. With `credentials` a listed page may send them."""
    section = '\nlisten = "127.0.0.1:0"\ncertificate = "server.pem"\n'
    with codec_bench.server("closed", section + JWT) as server, codec_bench.client(server) as client:
        assert client.options("/decode", headers={"Origin": UI, **ASKS}).status_code == 403
        assert client.post("/encode", json={"payloads": []}, headers=codec_bench.headers()).status_code == 200
    section += f'origins = ["{UI}"]\ncredentials = true\n'
    with codec_bench.server("with credentials", section + JWT) as server, codec_bench.client(server) as client:
        asked = client.options("/decode", headers={"Origin": UI, **ASKS})
        assert asked.headers["access-control-allow-credentials"] == "true"
