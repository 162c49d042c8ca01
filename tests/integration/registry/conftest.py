"""An attacker with rights to write to the database."""

from __future__ import annotations

import asyncpg
import pytest


@pytest.fixture
async def attacker(dsn):
    """A connection that may write everything."""
    connection = await asyncpg.connect(dsn, server_settings={"search_path": "strongroom"})
    yield connection
    await connection.close()
