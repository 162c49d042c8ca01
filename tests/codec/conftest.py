"""One cell for all tests of the codec server, and the servers that several tests share."""

from __future__ import annotations

import pytest

from tests.support.codec.bench import codec_bench as open_bench
from tests.support.codec.issuer import AUDIENCE, ISSUER

JWT = f"""
[codec_server.jwt]
keys = "issuer.pem"
issuer = "{ISSUER}"
audience = "{AUDIENCE}"
algorithms = ["ES256"]
claim = "groups"
[codec_server.jwt.namespaces]
support = ["first", "never-made"]
all = ["first", "second"]
"""


@pytest.fixture(scope="session")
async def codec_bench(databases, tmp_path_factory):
    """A cell with the namespaces `first` and `second`."""
    async with open_bench(databases, tmp_path_factory.mktemp("codec")) as bench:
        yield bench


@pytest.fixture(scope="session")
def codec_server(codec_bench):
    """A server with TLS for callers with tokens, with high limits."""
    section = """
listen = "127.0.0.1:0"
certificate = "server.pem"
origins = ["https://ui.example.com"]
payloads_per_second = 100000
payloads_at_once = 100000
"""
    with codec_bench.server("usual", section + JWT) as running:
        yield running


@pytest.fixture
def client(codec_bench, codec_server):
    """A client of the server."""
    with codec_bench.client(codec_server) as client:
        yield client
