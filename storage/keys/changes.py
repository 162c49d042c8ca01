"""Evict cached keys when PostgreSQL notifies that another process changed them."""

from __future__ import annotations

from typing import TYPE_CHECKING, NoReturn
from uuid import UUID

from .registry_changes import KEY_CHANNEL

if TYPE_CHECKING:
    from strongroom.kms import Background, Keyring
    from strongroom.storage.engine.database import Database

RELISTEN = 1.0
"""Seconds between two attempts to listen."""


async def follow_key_changes(database: Database, keyring: Keyring, background: Background) -> NoReturn:
    """Evict keys from the keyring when another process changes them, until the task is cancelled.

    Notifications are lost while there is no connection. Therefore every new connection makes the keyring read the registry again at
    the next use of each namespace. Unchanged keys are not unwrapped again. A pooler that shares sessions between transactions delivers
    no notifications. The limits of `CachePolicy` still apply.

    Args:
        database: The database of the key registry.
        keyring: The keyring of this process.
        background: Counts lost connections and other failures, which it outlives.
    """

    async def listen() -> None:
        await database.listen(KEY_CHANNEL, lambda payload: _evict(keyring, payload), listening=keyring.doubt)

    await background.run(listen, pause=RELISTEN)


def _evict(keyring: Keyring, payload: str) -> None:
    try:
        keyring.evict(UUID(payload))
    except ValueError:
        keyring.doubt()  # Another program sent the payload. Reading the registry again does no harm.
