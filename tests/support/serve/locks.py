"""Locks that no statement passes, for calls that must not end."""

from __future__ import annotations

from contextlib import asynccontextmanager

from strongroom.storage import NO_NAMESPACE, Database
from tests.support.fixtures.driver_role import owner_dsn


@asynccontextmanager
async def locked(cell):
    """Lock every table, so that no statement can end."""
    owner = Database(owner_dsn(cell.config), size=1, insecure=True)
    try:
        async with owner.transaction(NO_NAMESPACE) as connection:
            tables = await connection.fetch(
                "SELECT relname AS name FROM pg_class WHERE relnamespace = 'strongroom'::regnamespace AND relkind IN ('r', 'p')"
            )
            names = ", ".join(f"strongroom.{table['name']}" for table in tables)
            await connection.execute(f"LOCK TABLE {names} IN ACCESS EXCLUSIVE MODE")
            yield
    finally:
        await owner.aclose()
