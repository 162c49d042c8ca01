"""The number of connections that all workers need, and how many PostgreSQL gives them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from strongroom.storage import NO_NAMESPACE

if TYPE_CHECKING:
    from strongroom.driver.config import StrongroomConfig
    from strongroom.storage import Database

_FIXED, _OF_INDEX = 3, 2
"""Besides its two pools a process has connections for the registry, notifications of keys and locks; two more with a search index."""


def needed_connections(config: StrongroomConfig, workers: int) -> int:
    """Return the most connections that the workers open at the same time."""
    each = 2 * config.connections + _FIXED + (_OF_INDEX if config.elasticsearch is not None else 0)
    return each * workers


async def allowed_connections(database: Database) -> int:
    """Return how many connections the server allows this role in this database."""
    async with database.connection(NO_NAMESPACE) as connection:
        row = await connection.fetchrow(
            "SELECT current_setting('max_connections')::int - current_setting('superuser_reserved_connections')::int"
            " - coalesce(current_setting('reserved_connections', true), '0')::int AS server, rolconnlimit, datconnlimit"
            " FROM pg_roles, pg_database WHERE rolname = current_user AND datname = current_database()"
        )
    assert row is not None  # noqa: S101 - this role and this database exist
    limits: list[int] = [row["server"], row["rolconnlimit"], row["datconnlimit"]]
    return min(limit for limit in limits if limit >= 0)


async def connection_warning(database: Database, config: StrongroomConfig, workers: int) -> str | None:
    """Return a warning if the workers can need more connections than the server allows; None if not.

    Args:
        database: The database.
        config: The configuration.
        workers: The number of workers.
    """
    needed, allowed = needed_connections(config, workers), await allowed_connections(database)
    if needed <= allowed:
        return None
    return (
        f"{workers} workers open up to {needed} connections, and PostgreSQL allows {allowed}. Raise max_connections, or lower "
        "database.connections or serve.workers; otherwise calls fail under load"
    )
