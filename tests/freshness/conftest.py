"""A cell on PostgreSQL 18 for all attacks, and a scene for each."""

from __future__ import annotations

import pytest

from tests.support.earlier_rows import administrator
from tests.support.fixtures.contract import open_cell
from tests.support.fixtures.driver_role import owner_dsn
from tests.support.freshness.scene import new_scene
from tests.support.freshness.verification import accept


@pytest.fixture(scope="session")
async def attacked_cell(databases, tmp_path_factory):
    """An open cell. Each attack has its own namespace, shard and queues, and the journal is folded only when a test does it."""
    folder = tmp_path_factory.mktemp("attacked")
    async with (
        databases.database(is_prepared=True) as dsn,
        open_cell(dsn, folder, as_service=True, folds=False) as cell,
    ):
        yield cell


@pytest.fixture
async def admin(attacked_cell):
    """The administrator of the database."""
    async with administrator(owner_dsn(attacked_cell.config)) as made:
        yield made


@pytest.fixture
async def scene(attacked_cell, admin):
    """The scene of one attack. Afterwards the tables that all scenes share are accepted as they are."""
    yield await new_scene(attacked_cell, admin)
    await accept(attacked_cell)
