"""Certificates and the three TLS servers, shared by the whole session."""

from __future__ import annotations

import tempfile
from pathlib import Path

import pytest

from tests.support.elasticsearch_node.node import free_ports
from tests.support.kms.bao_server import bao_server
from tests.support.services import or_skip
from tests.support.services.postgres import own_postgres
from tests.support.tls.cases import ALL, Files
from tests.support.tls.peers import ElasticsearchPeer, OpenBaoPeer, PostgresPeer


@pytest.fixture(scope="session")
def tls_files(tmp_path_factory):
    """Return certificates of two authorities."""
    return Files(tmp_path_factory.mktemp("tls"))


@pytest.fixture(scope="session")
def postgres_peer(tls_files):
    """Return PostgreSQL with TLS."""
    with tempfile.TemporaryDirectory(prefix="strongroom-tls-") as folder:
        Path(folder).chmod(0o755)  # because the server runs as another user
        with or_skip(own_postgres(Path(folder) / "postgres", 15, start=False)) as server:
            yield PostgresPeer(server, tls_files)


@pytest.fixture(scope="session")
def elasticsearch_peer(elasticsearch_server, tls_files):
    """Return Elasticsearch behind a relay that terminates TLS."""
    return ElasticsearchPeer(elasticsearch_server, tls_files)


@pytest.fixture(scope="session")
def openbao_peer(tls_files):
    """Return OpenBao with a listener for each case."""
    ports = dict(zip(ALL, free_ports(len(ALL)), strict=True))
    with or_skip(bao_server(OpenBaoPeer.listeners(tls_files, ports))) as server:
        yield OpenBaoPeer(server, ports)


@pytest.fixture(params=["postgres", "elasticsearch", "openbao"])
def peer(request):
    """Return each of the three servers."""
    return request.getfixturevalue(f"{request.param}_peer")
