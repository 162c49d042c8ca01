"""Every paged operation takes what gRPC clients send: a page size of 0, a negative or a too large one, and an empty page token."""

from __future__ import annotations

import pytest

from tests.support.every_table import every_table
from tests.support.paged_operations import PAGED, calls

pytestmark = pytest.mark.integration

SIZES = (0, -1, 2**31 - 1, -(2**31), 1001 * 1000)


async def test_a_page_size_and_a_token_of_a_grpc_client_are_taken(strongroom):
    """The answers are those of the largest page and of no token. A Nexus page of size 0 has no endpoints, as in Temporal."""
    table = await every_table(strongroom)
    made = calls(table)
    assert set(made) == PAGED
    for name, call in made.items():
        wanted = await call(page_size=1000)
        for size in SIZES:
            for token in (b"", None):
                if (name, size) != ("nexus_endpoints.list_nexus_endpoints", 0):
                    assert await call(page_size=size, page_token=token) == wanted, (name, size, token)
