"""What a cluster can answer instead of an answer: each fault gives an error of ours, loses nothing, and heals when it ends."""

from __future__ import annotations

import asyncio
import os
import signal
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

from strongroom.storage import ResourceExhausted
from strongroom.visibility import (
    SearchIndexAuthenticationError,
    SearchIndexMismatch,
    SearchIndexTimeout,
)
from strongroom.visibility.backends.elasticsearch import ElasticsearchIndex
from tests.support.search_cell import Cell, new_cell, opened, record

pytestmark = pytest.mark.integration

SECRET = "never-in-an-error"  # noqa: S105 - a tenant's value


def setting(name, value):
    """A fault that is a setting of the index."""

    @contextmanager
    def fault(client, cell):
        path = f"/{cell.index.name}/_settings"
        client.request("PUT", path, {name: value})
        yield
        client.request("PUT", path, {name: None})

    return fault


@contextmanager
def breaker(client, cell):  # noqa: ARG001 - of the whole node
    """The node says that it has no memory for any request."""
    limit = "indices.breaker.total.limit"
    client.request("PUT", "/_cluster/settings", {"transient": {limit: "1kb"}})
    yield
    client.request("PUT", "/_cluster/settings", {"transient": {limit: None}})


@contextmanager
def closed(client, cell):
    """The index is closed."""
    client.request("POST", f"/{cell.index.name}/_close")
    yield
    client.request("POST", f"/{cell.index.name}/_open?wait_for_active_shards=1")


@contextmanager
def without_alias(client, cell):
    """The alias points nowhere."""
    (index,) = client.request("GET", f"/_alias/{cell.index.name}")
    action = {"index": index, "alias": cell.index.name}
    client.request("POST", "/_aliases", {"actions": [{"remove": action}]})
    yield
    client.request("POST", "/_aliases", {"actions": [{"add": {**action, "is_write_index": True}}]})


@contextmanager
def rolled_over(client, cell):
    """A second index is behind the alias, and gets the writes: runs that change are in both."""
    name = cell.index.name
    (index,) = client.request("GET", f"/_alias/{name}")
    described = client.request("GET", f"/{index}")[index]
    second = f"{index[:-6]}000002"
    sorting = {"sort": {"field": ["b1", "b2", "d"], "order": ["desc"] * 3}}
    client.request("PUT", f"/{second}", {"mappings": described["mappings"], "settings": {"index": sorting}})
    swap = [
        {"add": {"index": index, "alias": name, "is_write_index": False}},
        {"add": {"index": second, "alias": name, "is_write_index": True}},
    ]
    client.request("POST", "/_aliases", {"actions": swap})
    yield
    client.request("DELETE", f"/{second}")
    client.request("POST", "/_aliases", {"actions": [{"add": {"index": index, "alias": name, "is_write_index": True}}]})


# fault -> what a list raises, what the indexer meets (None for nothing), and what the error advises
FAULTS = {
    "disk full": (setting("index.blocks.read_only_allow_delete", value=True), None, ResourceExhausted, "disk"),
    "read-only": (setting("index.blocks.write", value=True), None, SearchIndexMismatch, "index.blocks"),
    "no reads": (setting("index.blocks.read", value=True), SearchIndexMismatch, None, "index.blocks"),
    "no memory": (breaker, ResourceExhausted, ResourceExhausted, "overloaded"),
    "closed": (closed, SearchIndexMismatch, SearchIndexMismatch, "_open"),
    "no alias": (without_alias, SearchIndexMismatch, SearchIndexMismatch, "index build"),
    "rolled over": (rolled_over, SearchIndexMismatch, SearchIndexMismatch, "_aliases"),
}


@pytest.mark.parametrize("name", FAULTS)
async def test_a_fault_of_the_cluster_is_told_and_heals(config_path, elasticsearch, name):
    """Lists and counts raise rather than answer short; what could not be written waits, and is there afterwards."""
    fault, reading, writing, advice = FAULTS[name]
    async with opened(config_path, elasticsearch) as strongroom:
        await strongroom.search_index.create()
        cell = await new_cell(strongroom)
        await cell.write(*(record(number, customer=SECRET) for number in range(20)))
        await cell.settle()
        patience, strongroom.search_index.client.deadline = strongroom.search_index.client.deadline, 0.2
        with elasticsearch_in(fault, elasticsearch.client, cell):
            for query in (f"Customer = '{SECRET}'", ""):
                for ask in (cell.listed, cell.count):
                    await meets(reading, ask(query), advice)
            await cell.write(*(record(number, customer=SECRET) for number in range(20, 30)))
            await meets(writing, strongroom.indexer.drain(), advice)
            assert await strongroom.outbox.waiting() == (10 if writing else 0)
        strongroom.search_index.client.deadline = patience
        await cell.settle()
        assert await cell.count(f"Customer = '{SECRET}'") == len(await cell.listed()) == 30


async def test_a_node_that_stands_still_is_not_waited_for(config_path, elasticsearch_to_kill):
    """A frozen process holds connections open and says nothing: a timeout, and all is well when it goes on."""
    node = elasticsearch_to_kill
    if node.pid is None:
        pytest.skip("the node is not a process of this machine")
    async with opened(config_path, node, timeout=30) as patient:
        await patient.search_index.create()
        cell = await new_cell(patient)
        await cell.write(*(record(number) for number in range(20)))
        await cell.settle()
        async with opened(config_path, node, timeout=0.5) as strongroom:
            strongroom.search_index.client.deadline = 0.2
            hasty = Cell(strongroom, cell.namespace_id)
            os.kill(node.pid, signal.SIGSTOP)
            try:
                await hasty.write(record(20))
                for ask in (hasty.listed(), hasty.count(), strongroom.indexer.drain()):
                    await meets(SearchIndexTimeout, ask)
            finally:
                os.kill(node.pid, signal.SIGCONT)
        await cell.settle()
        assert await cell.count() == len(await cell.listed()) == 21


async def test_refused_credentials_are_said():
    """A node with security is not available as a process here: the answer of one, from a server that answers nothing else."""

    class Refusing(BaseHTTPRequestHandler):
        def do_POST(self):
            self.send_response(401)
            self.send_header("X-Elastic-Product", "Elasticsearch")
            self.send_header("Content-Length", "2")
            self.send_header("Content-Type", "application/json")
            self.end_headers()
            self.wfile.write(b"{}")

        def log_message(self, *_):
            pass

    server = HTTPServer(("127.0.0.1", 0), Refusing)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    index = ElasticsearchIndex(f"http://127.0.0.1:{server.server_port}", name="any", api_key="wrong", insecure=True)
    try:
        with pytest.raises(SearchIndexAuthenticationError, match="credentials") as refused:
            await index.count()
        assert "wrong" not in str(refused.value)
    finally:
        await index.aclose()
        await asyncio.to_thread(server.shutdown)
        server.server_close()
        thread.join()


@contextmanager
def elasticsearch_in(fault, client, cell):
    """Bring the fault about, and end it whatever the test finds."""
    healing = fault(client, cell)
    healing.__enter__()
    try:
        yield
    finally:
        healing.__exit__(None, None, None)


async def meets(error, asked, advice=""):
    """Wait for an error that contains the advice and nothing of a tenant; or for none."""
    if error is None:
        await asked
        return
    with pytest.raises(error) as met:
        await asked
    assert SECRET not in str(met.value)
    assert advice in str(met.value)
    assert met.value.__cause__ is None or SECRET not in str(met.value.__cause__)
