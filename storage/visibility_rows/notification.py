"""Say to the indexers of all processes that something waits for them: PostgreSQL's NOTIFY.

Never in a writer's own transaction: the server holds one lock for all its databases from there to the end of the commit, so that
commits would come one after another (PreCommit_Notify in PostgreSQL's async.c). And not for each write: an indexer that
is woken takes all that waits.
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


class OutboxBell:
    """Rings after a write, in the background. A notification that is lost costs the time until an indexer looks by itself.

    Args:
        database: of the outbox.
    """

    def __init__(self, database: Database) -> None:
        self._database = database
        self._wanted = False
        self._ringing: asyncio.Task[None] | None = None

    def ring(self) -> None:
        """Ring soon, once for all that call meanwhile."""
        self._wanted = True
        if self._ringing is None or self._ringing.done():
            self._ringing = asyncio.create_task(self._ring())

    async def aclose(self) -> None:
        """Stop."""
        if self._ringing is not None:
            self._ringing.cancel()
            with suppress(asyncio.CancelledError):
                await self._ringing

    async def _ring(self) -> None:
        while self._wanted:
            self._wanted = False
            with suppress(StorageError):
                async with self._database.connection(NO_NAMESPACE) as connection:
                    await connection.execute("SELECT pg_notify($1, '')", CHANNEL)
            await asyncio.sleep(PAUSE)
