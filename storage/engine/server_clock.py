"""The clock of the database server."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from .row_level_security import NO_NAMESPACE

if TYPE_CHECKING:
    from collections.abc import Callable
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


TOLERANCE = 60.0
"""Difference of two clocks that is no jump, in seconds. What waits for a steady clock compares times that are hours apart."""


class SteadyClock:
    """Reports whether the database server's clock has not jumped for a while, by the monotonic clock of this process.

    Call it at intervals. A jump that ends between two calls is not noticed.

    Args:
        database: The database.
        seconds: The time without a jump, in seconds.
        monotonic: The clock of this process, in seconds.
    """

    def __init__(self, database: Database, seconds: float, *, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._database = database
        self._seconds = seconds
        self._monotonic = monotonic
        self._offset = self._since = float("nan")

    async def is_steady(self) -> bool:
        """Compare the clocks; return whether the server's clock has been steady for the whole time.

        Raises:
            StorageError: The database does not answer.
        """
        now = await server_now(self._database)
        here = self._monotonic()
        offset = now.timestamp() - here
        if not abs(offset - self._offset) <= TOLERANCE:  # also the first time
            self._offset, self._since = offset, here
        return here - self._since >= self._seconds
