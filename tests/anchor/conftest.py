"""An object store with object lock."""

from __future__ import annotations

import pytest

from tests.support.moto_server import running
from tests.support.s3_server import ENVIRONMENT, S3Server, Store


@pytest.fixture(scope="module")
def s3():
    """A server with the semantics of S3, shared by the tests of a module."""
    with running(S3Server()) as server:
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
