"""One cell for all tests of the codec server, and the servers that several of them ask."""

from __future__ import annotations

import json
import os
from urllib.parse import urlsplit, urlunsplit

import asyncpg
import pytest

from strongroom.driver.config import load_config, write_config
from strongroom.driver.strongroom import Strongroom
from strongroom.kms import KekRef
from tests.codec.authority import Authority
from tests.codec.bench import CodecBench
from tests.codec.issuer import AUDIENCE, ISSUER, Issuer

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
async def bench(server_dsn, tmp_path_factory):
    """A cell with the namespaces `first` and `second`."""
    folder, name = tmp_path_factory.mktemp("codec"), f"codec_{os.getpid()}"
    admin = await asyncpg.connect(server_dsn)
    await admin.execute(f"CREATE DATABASE {name}")
    write_config(folder / "strongroom.toml", dsn=urlunsplit(urlsplit(server_dsn)._replace(path=f"/{name}")))
    config = load_config(folder / "strongroom.toml")
    authority, issuer = Authority(folder, "authority"), Issuer()
    authority.server("127.0.0.1", "localhost")
    (folder / "issuer.pem").write_bytes(issuer.pem)
    (folder / "jwks.json").write_text(json.dumps({"keys": [Issuer().jwk("old"), issuer.jwk("new")]}))
    await Strongroom.init(config)
    async with Strongroom.open(config) as strongroom:
        ids = {}
        for each in ("first", "second"):
            kek = await strongroom.create_kek(KekRef("local", each))
            ids[each] = (await strongroom.namespaces.create(each, kek=kek)).namespace_id
        yield CodecBench(strongroom, ids, folder, authority, issuer)
    await admin.execute(f"DROP DATABASE {name} WITH (FORCE)")
    await admin.close()


@pytest.fixture(scope="session")
def server(bench):
    """A server with TLS, for callers with tokens, with generous limits."""
    section = """
listen = "127.0.0.1:0"
certificate = "server.pem"
origins = ["https://ui.example.com"]
payloads_per_second = 100000
payloads_at_once = 100000
"""
    with bench.server("usual", section + JWT) as running:
        yield running


@pytest.fixture
def client(bench, server):
    """A client of it."""
    with bench.client(server) as client:
        yield client
