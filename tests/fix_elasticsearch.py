"""A real Elasticsearch for the session, with names of indices for each test, and one to kill for those that ask."""

from __future__ import annotations

import os
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import count
from typing import TYPE_CHECKING
from uuid import uuid4

import pytest

from tests.elasticsearch_node import Client, ElasticsearchMissing, ElasticsearchNode, elasticsearch_node

if TYPE_CHECKING:
    from pathlib import Path

_session = uuid4().hex[:8]  # a node that somebody else runs may serve several sessions
_numbers = count(1)


@dataclass(frozen=True, slots=True)
class Elasticsearch:
    """What a test has of a node: it, and names that are this test's own."""

    node: ElasticsearchNode
    prefix: str
    """Begin each name of an index, alias, or template with it: those are removed after the test."""
    client: Client
    """Asks the node behind the back of the code under test."""

    @property
    def url(self) -> str:
        """Address of the node."""
        return self.node.url

    @property
    def pid(self) -> int | None:
        """Process of the node, if it is one of this machine's."""
        return self.node.pid

    @property
    def data(self) -> Path | None:
        """Folder of shards and translogs, if it is on this machine."""
        return self.node.data

    def kill(self) -> None:
        """End the node as a crash does."""
        self.node.kill()

    def start(self) -> None:
        """Start the node again, on the data and the address that it had."""
        self.node.start()


@contextmanager
def _needed(*, own):
    try:
        with elasticsearch_node(own=own) as node:
            yield node
    except ElasticsearchMissing as missing:
        if os.environ.get("REQUIRE_SERVICES") == "1":
            raise
        pytest.skip(f"no Elasticsearch: {missing}")


@contextmanager
def _prefixed(node):
    prefix = f"test-{_session}-{next(_numbers)}-"
    with Client(node.url) as client:
        yield Elasticsearch(node, prefix, client)
        for index in client.request("GET", f"/_cat/indices/{prefix}*?format=json&h=index&expand_wildcards=all"):
            client.request("DELETE", f"/{index['index']}")
        for template in client.request("GET", "/_index_template")["index_templates"]:
            if template["name"].startswith(prefix):
                client.request("DELETE", f"/_index_template/{template['name']}")


@pytest.fixture(scope="session")
def elasticsearch_server():
    """The session's node; a missing one skips with the reasons, or fails where services are required."""
    with _needed(own=False) as node:
        yield node


@pytest.fixture
def elasticsearch(elasticsearch_server):
    """The session's node under names of one's own. Do not kill it: see `elasticsearch_to_kill`."""
    with _prefixed(elasticsearch_server) as elasticsearch:
        yield elasticsearch


@pytest.fixture(scope="module")
def _spare_server():
    with _needed(own=True) as node:
        yield node


@pytest.fixture
def elasticsearch_to_kill(_spare_server):
    """A node of the module's own, for tests that kill and start it; it runs when a test begins."""
    if not _spare_server.is_up():
        _spare_server.start()
    with _prefixed(_spare_server) as elasticsearch:
        yield elasticsearch
        if not _spare_server.is_up():
            _spare_server.start()
