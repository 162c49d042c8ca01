"""One cell for all tests of `strongroom serve`, and a server in the process of the tests for each file."""

from __future__ import annotations

import pytest

from tests.support.fixtures.contract import new_namespace, new_shard, open_cell
from tests.support.fixtures.executions import Workflow
from tests.support.serve.bench import serve_bench as open_bench
from tests.support.serve.client import Client
from tests.support.serve.remote import RemoteCell
from tests.support.serve.running import serving


@pytest.fixture(scope="session")
async def serve_bench(databases, tmp_path_factory):
    """An initialised cell, and servers of it."""
    async with open_bench(databases, tmp_path_factory.mktemp("serve")) as bench:
        yield bench


@pytest.fixture(scope="session")
def shared_server(serve_bench):
    """A server with two workers, which several tests use and leave running."""
    with serve_bench.server("shared", 'workers = 2\nhealth = "127.0.0.1:0"\nmetrics = "127.0.0.1:0"\n') as server:
        yield server


@pytest.fixture(scope="module")
async def served_cell(databases, tmp_path_factory):
    """An open cell that is served. Calls wait long for a lock, so that tests can hold one while they do several things."""
    folder = tmp_path_factory.mktemp("cell")
    async with (
        databases.database(is_prepared=True) as dsn,
        open_cell(dsn, folder, as_service=True, lock_timeout=25.0) as strongroom,
    ):
        yield strongroom


@pytest.fixture(scope="module")
async def running(served_cell):
    """The server."""
    async with serving(served_cell) as running:
        yield running


@pytest.fixture
async def serve_client(running):
    """A client of the server."""
    client = await Client.open(running.path)
    yield client
    await client.aclose()


@pytest.fixture
async def remote(serve_client):
    """The cell behind the client."""
    return RemoteCell(serve_client)


@pytest.fixture
async def served_namespace(served_cell):
    """The id of a namespace for one test."""
    return await new_namespace(served_cell)


@pytest.fixture
async def remote_workflow(served_cell, remote, served_namespace):
    """A workflow behind the client, in a shard that this host owns."""
    shard_id = await new_shard(remote)
    remote.database = served_cell.database
    return Workflow(remote, served_namespace, shard_id)
