"""A role as services connect as: row-level security holds it."""

from __future__ import annotations

from contextlib import asynccontextmanager
from itertools import count
from os import getpid
from urllib.parse import urlsplit, urlunsplit

from strongroom.storage import EVERY_NAMESPACE, NO_NAMESPACE, Database, apply_schema

_numbers = count(1)
_owners: dict[str, str] = {}


async def as_driver(owner_dsn):
    """Make the schema of a database and a role for services; return the connection string of the role."""
    role = f"driver_{getpid()}_{next(_numbers)}"
    owner = Database(owner_dsn, size=1, insecure=True)
    async with owner.connection(NO_NAMESPACE) as connection:
        await connection.execute(f"CREATE ROLE {role} LOGIN PASSWORD 'not-a-secret'")
    await apply_schema(owner, driver_role=role)
    await owner.aclose()
    parts = urlsplit(owner_dsn)
    place = parts.netloc.rpartition("@")[2]
    driver_dsn = urlunsplit(parts._replace(netloc=f"{role}:not-a-secret@{place}"))
    _owners[driver_dsn] = owner_dsn
    return driver_dsn


def owner_dsn(config):
    """Return the connection string of who owns the tables: for what tests do behind the stores' back."""
    return _owners.get(config.dsn, config.dsn)


@asynccontextmanager
async def owner_connection(cell):
    """Lend a connection of who owns the tables."""
    database = Database(owner_dsn(cell.config), size=1, insecure=True)
    try:
        async with database.connection(EVERY_NAMESPACE) as connection:
            yield connection
    finally:
        await database.aclose()
