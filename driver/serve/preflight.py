"""What `serve` checks before it starts workers: users, the principal, and the number of connections."""

from __future__ import annotations

from typing import TYPE_CHECKING

from strongroom.storage import NO_NAMESPACE

from .callers import callers_of
from .server import uid_of_user

if TYPE_CHECKING:
    from strongroom.driver.config import ServeConfig, StrongroomConfig
    from strongroom.driver.strongroom import Strongroom
    from strongroom.storage import Database

_FIXED, _OF_INDEX = 3, 1
"""Besides its two pools a process has connections for the registry, notifications of keys and locks. With a search index it has one
more, for notifications of the outbox. docs/how-to/sizing.md has the sum for operators."""


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


async def check_callers(strongroom: Strongroom, settings: ServeConfig, api_key: str | None) -> None:
    """Check that the users exist, and that the principal may serve the cell. A worker would fail with the same errors again and again.

    Args:
        strongroom: The open cell.
        settings: The section `[serve]`.
        api_key: The API key of the server's principal; None for none.

    Raises:
        ConfigError: A user does not exist, or the principal does not have the role `service`.
        NotAuthenticated: The API key is not known.
    """
    for user in settings.users:
        uid_of_user(user)
    await callers_of(strongroom, settings.principal, api_key)


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
