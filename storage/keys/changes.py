"""Hear of changes of keys that other processes make: PostgreSQL's LISTEN."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import TYPE_CHECKING, NoReturn
from uuid import UUID

from strongroom.storage.errors import StorageError

from .store import KEY_CHANNEL

if TYPE_CHECKING:
    from strongroom.kms import Keyring
    from strongroom.storage.engine.database import Database

RELISTEN = 1.0
"""Seconds until the connection is made anew when it was lost."""


async def follow_key_changes(database: Database, keyring: Keyring) -> NoReturn:
    """Evict what others changed, for ever; ends by being cancelled.

    What was missed while nobody listened is looked for: all keys are read anew at their next use. Behind a pooler that shares sessions
    between transactions nothing is heard; the times of `CachePolicy` hold without it.
    """
    while True:
        with suppress(StorageError):
            await database.listen(KEY_CHANNEL, lambda payload: _evict(keyring, payload), listening=keyring.doubt)
        await asyncio.sleep(RELISTEN)


def _evict(keyring: Keyring, payload: str) -> None:
    try:
        keyring.evict(UUID(payload))
    except ValueError:
        keyring.doubt()  # not one of ours: whoever sent it, looking again does no harm
