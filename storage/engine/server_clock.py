"""The clock of the database server."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .row_level_security import NO_NAMESPACE

if TYPE_CHECKING:
    from datetime import datetime

    from .database import Database


async def server_now(database: Database) -> datetime:
    """Return the time of the database server, in UTC.

    Args:
        database: The database.

    Raises:
        StorageError: The database does not answer.
    """
    async with database.connection(NO_NAMESPACE) as connection:
        row = await connection.fetchrow("SELECT clock_timestamp() AS now")
    assert row is not None  # noqa: S101 - a SELECT without FROM
    now: datetime = row["now"]
    return now
