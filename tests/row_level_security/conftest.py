"""The cell that the tests of row-level security use."""

from __future__ import annotations

import pytest

from tests.support.fixtures.contract import cell_of_a_test


@pytest.fixture
async def service_cell(contract_databases, tmp_path):
    """Open a cell for one test, connected as services are."""
    async with cell_of_a_test(contract_databases, tmp_path, as_service=True) as service_cell:
        yield service_cell
