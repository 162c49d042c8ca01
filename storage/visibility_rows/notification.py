"""Notify the indexers of all processes that the outbox has entries, by PostgreSQL's NOTIFY.

A writer never notifies in its own transaction: from there to the end of the commit the server holds one lock for all its databases, so
that commits would come one after another (PreCommit_Notify in PostgreSQL's async.c). A process notifies at most every `PAUSE` seconds,
because an indexer that is woken takes all waiting entries.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import TYPE_CHECKING

from strongroom.storage.engine.row_level_security import NO_NAMESPACE
from strongroom.storage.errors import StorageError

if TYPE_CHECKING:
    from strongroom.storage.engine.database import Database

CHANNEL = "strongroom_visibility_outbox"
PAUSE = 0.1
"""Seconds between two notifications of one process."""


class OutboxNotifier:
    """Notifies after a write, in the background. A lost notification only delays the indexer until its next poll.

    Args:
        database: The database of the outbox.
    """

    def __init__(self, database: Database) -> None:
        self._database = database
        self._wanted = False
        self._task: asyncio.Task[None] | None = None

    def notify(self) -> None:
        """Notify soon. All calls until then share one notification."""
        self._wanted = True
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._notify())

    async def aclose(self) -> None:
        """Stop."""
        if self._task is not None:
            self._task.cancel()
            with suppress(asyncio.CancelledError):
                await self._task

    async def _notify(self) -> None:
        while self._wanted:
            self._wanted = False
            with suppress(StorageError):
                async with self._database.connection(NO_NAMESPACE) as connection:
                    await connection.execute("SELECT pg_notify($1, '')", CHANNEL)
            await asyncio.sleep(PAUSE)
