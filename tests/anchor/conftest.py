"""An object store with object lock."""

from __future__ import annotations

import pytest

from tests.support.s3_server import ENVIRONMENT, Store, running_server


@pytest.fixture(scope="module")
def s3():
    """A server with the semantics of S3, shared by the tests of a module."""
    with running_server() as server:
        yield server


@pytest.fixture
def bucket(s3, monkeypatch):
    """A new bucket with object lock. The environment has credentials for it."""
    for name, value in ENVIRONMENT.items():
        monkeypatch.setenv(name, value)
    store = Store(s3)
    yield store
    s3.fault = None
    store.client.close()
