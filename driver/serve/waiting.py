"""Wait for PostgreSQL when the server starts, because a machine that boots may start both at the same time."""

from __future__ import annotations

import asyncio
from time import monotonic
from typing import TYPE_CHECKING

from strongroom.storage import NO_NAMESPACE, Database, DatabaseUnavailable, ResourceExhausted

from .systemd import notify

if TYPE_CHECKING:
    from collections.abc import Callable

    from strongroom.driver.config import StrongroomConfig

PAUSE = 1.0
"""Time between two attempts, in seconds."""
_EXTENSION = 60
"""Time for the next attempt, which systemd is asked for, in seconds. An attempt takes at most the timeout of a connection."""


async def wait_for_database(
    config: StrongroomConfig,
    seconds: float,
    *,
    waiting: Callable[[str], None],
    pause: float = PAUSE,
    clock: Callable[[], float] = monotonic,
) -> None:
    """Return when PostgreSQL lets this user in. systemd's status has the reason meanwhile.

    Args:
        config: The configuration.
        seconds: Time after which the last error is raised; 0 for one attempt.
        waiting: Is called with each new reason.
        pause: Time between two attempts, in seconds.
        clock: Returns the time in seconds; it never goes backwards.

    Raises:
        DatabaseUnavailable, ResourceExhausted: PostgreSQL could not be reached in time, or had no connection left.
        DatabaseAuthenticationError: PostgreSQL refuses the user or the password. Waiting would not help.
        PoolingNotSupported: A pooler does not keep one session for each connection.
    """
    end, shown = clock() + seconds, ""
    while True:
        try:
            await _connect(config)
        except (DatabaseUnavailable, ResourceExhausted) as error:
            if clock() >= end:
                raise
            reason = str(error)
        else:
            return
        if reason != shown:
            waiting(reason)
            shown = reason
        notify(f"STATUS=waiting for PostgreSQL: {reason}", f"EXTEND_TIMEOUT_USEC={_EXTENSION * 1_000_000}")
        await asyncio.sleep(pause)


async def _connect(config: StrongroomConfig) -> None:
    database = Database(config.dsn, size=1, **config.database_transport())
    try:
        async with database.connection(NO_NAMESPACE) as connection:
            await connection.fetch("SELECT 1")
    finally:
        await database.aclose()
