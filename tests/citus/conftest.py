"""A cell on a real Citus cluster, connected as services are, so row-level security applies."""

from __future__ import annotations

import pytest

from tests.support.fixtures.contract import cell_of_a_test


@pytest.fixture
async def citus_cell(citus_databases, tmp_path):
    """A distributed cell for one test."""
    async with cell_of_a_test(citus_databases, tmp_path, as_service=True) as citus_cell:
        yield citus_cell


@pytest.fixture
async def owned_citus_cell(citus_databases, tmp_path):
    """A distributed cell for one test, connected as the owner of the tables."""
    async with cell_of_a_test(citus_databases, tmp_path, as_service=False) as owned_citus_cell:
        yield owned_citus_cell


@pytest.fixture
def workers(citus_databases):
    """The superuser's connection strings of the workers, of which there are two or more."""
    if len(citus_databases.nodes) <= 2:
        pytest.skip("two Citus workers: the cluster has fewer")
    return citus_databases.nodes[1:]
