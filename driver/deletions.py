"""Deletions of namespaces by their service: the namespace is gone at once, and is shredded by a job after a grace period."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

from strongroom.kms import (
    Background,
    KeyEvent,
    StrongroomError,
    commits_several_times,
    destroy_data_keys,
    recording_change,
)
from strongroom.storage import NamespaceNotFound
from strongroom.storage.engine.server_clock import SteadyClock
from strongroom.storage.namespaces.deletion_store import DeletionStore

from .shredding import Shredding, new_shredding

if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import NoReturn
    from uuid import UUID

    from strongroom.kms import Keyring
    from strongroom.storage import Database
    from strongroom.storage.journal.writer import Journal
    from strongroom.visibility.backends.elasticsearch import ElasticsearchIndex

    from .config import StrongroomConfig

AT_ONCE = 100
"""Maximum number of deleted namespaces that one call of `finish_due` shreds."""
STEADY = 600.0
"""Time for which the database server's clock must not have jumped before keys are destroyed without a person, in seconds."""
PAUSE = 60.0
"""Time between two looks for deleted namespaces that are due, in seconds."""


class Deletions:
    """Deletes namespaces, and shreds them when they are due.

    Args:
        store: The store of deletions.
        shredding: The shredding of namespaces.
        keyring: The keyring of the cell.
        grace: The time between a deletion and the destruction of the keys.
        clock: Reports whether the database server's clock has not jumped lately.
    """

    def __init__(
        self, store: DeletionStore, shredding: Shredding, keyring: Keyring, *, grace: timedelta, clock: SteadyClock
    ) -> None:
        self._store = store
        self._shredding = shredding
        self._keyring = keyring
        self._grace = grace
        self._clock = clock
        self.background = Background("shredding of deleted namespaces")

    @commits_several_times
    async def delete(self, namespace_id: UUID) -> None:
        """Delete a namespace; see `DeletionStore.delete`. A namespace that does not exist is not an error.

        Keys without a namespace, which an interrupted creation left, are destroyed.

        Args:
            namespace_id: The namespace.

        Raises:
            InvalidPersistenceRequest: The id is the cell's own.
        """
        event = KeyEvent("namespace.request_shredding", namespace_id=namespace_id)
        try:
            async with recording_change(self._keyring.key_events, event):
                await self._store.delete(namespace_id, grace=self._grace)
        except NamespaceNotFound:
            await destroy_data_keys(self._keyring, namespace_id)

    async def finish_due(self, *, limit: int = AT_ONCE) -> Sequence[UUID]:
        """Shred the deleted namespaces whose grace period is over; return those that were shredded.

        Each gets its erasure certificate. The KEKs are kept. A failure does not stop the others, and the next call tries it again.

        Args:
            limit: The maximum number of namespaces to shred.

        Raises:
            StrongroomError: The list can't be read, or a namespace failed. The error is the last one.
        """
        finished: list[UUID] = []
        failure: StrongroomError | None = None
        for namespace_id in await self._store.due(limit=limit):
            request = await self._shredding.store.find(namespace_id)
            if request is None:
                continue  # an operator cancelled it meanwhile
            try:
                await self._shredding.finish(namespace_id, request.code)
            except StrongroomError as error:
                failure = error
            else:
                finished.append(namespace_id)
        if failure is not None:
            raise failure
        return finished

    async def finish_automatically(self) -> Sequence[UUID]:
        """Do what `finish_due` does, if the database server's clock has been steady for `STEADY` seconds.

        A jump by the grace period would make a namespace due at once, and destroyed keys don't come back. Without a grace period
        there is nothing to lose.

        Raises:
            StrongroomError: As `finish_due`.
        """
        if self._grace and not await self._clock.is_steady():
            return []
        return await self.finish_due()

    async def run(self, *, pause: float = PAUSE) -> NoReturn:
        """Shred what is due, again and again, until the task is cancelled. One process of a cell is enough; several do no harm.

        Args:
            pause: Time between two attempts, in seconds.
        """
        await self.background.run(self.finish_automatically, pause=pause)


def new_deletions(
    config: StrongroomConfig, database: Database, keyring: Keyring, journal: Journal, index: ElasticsearchIndex | None
) -> Deletions:
    """Return the deletions of a cell.

    Args:
        config: The cell's configuration.
        database: The database.
        keyring: The keyring of the cell.
        journal: The journal of this process.
        index: The search index; None if it is the database.
    """
    return Deletions(
        DeletionStore(database, keyring),
        new_shredding(config, database, keyring, journal, index),
        keyring,
        grace=timedelta(days=config.namespaces.shred_after_days),
        clock=SteadyClock(database, STEADY),
    )
