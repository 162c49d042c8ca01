"""Notify the indexers of all processes with PostgreSQL's NOTIFY when the outbox has entries.

A writer never notifies in its own transaction. Such a commit takes one lock of the whole server, so commits would run one at a time
(PreCommit_Notify in PostgreSQL's async.c). A process notifies at most once in `PAUSE` seconds, because one notification makes an
indexer take all waiting entries.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import TYPE_CHECKING

from strongroom.kms import Background
from strongroom.storage.engine.row_level_security import NO_NAMESPACE

if TYPE_CHECKING:
    from strongroom.storage.engine.database import Database

CHANNEL = "strongroom_visibility_outbox"
PAUSE = 0.1
"""Minimum time between two notifications of one process, in seconds."""


class OutboxNotifier:
    """Sends notifications in the background. If one is lost, the indexer finds the entries at its next poll.

    Attributes:
        background: The state of the work, for monitoring.

    Args:
        database: The database of the outbox.
    """

    def __init__(self, database: Database) -> None:
        self._database = database
        self.background = Background("outbox notifications")
        self._wanted = False
        self._task: asyncio.Task[None] | None = None

    def notify(self) -> None:
        """Request a notification. Requests that arrive before it is sent share it."""
        self._wanted = True
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._notify())

    async def aclose(self) -> None:
        """Stop sending notifications."""
        if self._task is not None:
            self._task.cancel()
            with suppress(asyncio.CancelledError):
                await self._task

    async def _notify(self) -> None:
        while self._wanted:
            self._wanted = False
            await self.background.once(self._send)
            await asyncio.sleep(PAUSE)

    async def _send(self) -> None:
        async with self._database.connection(NO_NAMESPACE) as connection:
            await connection.execute("SELECT pg_notify($1, '')", CHANNEL)
