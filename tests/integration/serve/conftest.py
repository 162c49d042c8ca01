"""One cell for all tests of `strongroom serve`."""

from __future__ import annotations

import pytest

from tests.support.serve.bench import serve_bench as open_bench


@pytest.fixture(scope="session")
async def serve_bench(databases, tmp_path_factory):
    """An initialised cell, and servers of it."""
    async with open_bench(databases, tmp_path_factory.mktemp("serve")) as bench:
        yield bench


@pytest.fixture(scope="session")
def shared_server(serve_bench):
    """A server with two workers, which several tests use and leave running."""
    with serve_bench.server("shared", 'workers = 2\nhealth = "127.0.0.1:0"\n') as server:
        yield server
