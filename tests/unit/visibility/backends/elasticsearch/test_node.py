"""A node of the client opens no connections after it was closed."""

from __future__ import annotations

import pytest
from elastic_transport import ConnectionError, NodeConfig  # noqa: A004 - the name of the client's error

from strongroom.visibility.backends.elasticsearch.node import BoundedNode


async def test_a_request_after_the_end_opens_nothing():
    """A late request fails. The client's own node would open connections for it, which nothing closes."""
    node = BoundedNode(NodeConfig("http", "127.0.0.1", 1))
    with pytest.raises(ConnectionError):  # nothing listens there
        await node.perform_request("GET", "/")
    assert node.session is not None
    await node.close()
    with pytest.raises(ConnectionError) as refused:
        await node.perform_request("GET", "/")
    assert refused.value.message == "the client is closed"
    assert node.session is None
