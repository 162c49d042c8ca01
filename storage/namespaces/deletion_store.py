"""Deletions of namespaces by their service, which are shredded by a job after a grace period."""

from __future__ import annotations

from typing import TYPE_CHECKING
from uuid import UUID

from strongroom.storage.engine.queries import load_queries
from strongroom.storage.engine.row_level_security import EVERY_NAMESPACE
from strongroom.storage.errors import InvalidPersistenceRequest, NamespaceNotFound
from strongroom.storage.keys.registry_changes import withdraw_keys
from strongroom.storage.keys.store import heads_of

from .shred_request import ShredRequest, request_digest, server_time
from .shredded_keks import find_checked_request

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import timedelta

    from strongroom.kms import Keyring
    from strongroom.storage.engine.database import Database

_SQL = load_queries("namespaces/shredding_store")


class DeletionStore:
    """Deletes namespaces in two steps. `ShreddingStore` has the steps after the grace period.

    Every method raises `StorageError` if the database does not answer.

    Args:
        database: The database.
        keyring: The keyring.
    """

    def __init__(self, database: Database, keyring: Keyring) -> None:
        self._database = database
        self._keyring = keyring

    async def delete(self, namespace_id: UUID, *, grace: timedelta) -> ShredRequest:
        """Delete a namespace: nobody finds it, its name is free, and its keys can't be used. Nothing is destroyed yet.

        `ShreddingStore.cancel` undoes it within the grace period. It is one transaction, whatever the number of rows. If an operator
        has scheduled the namespace for shredding, that request stays, and needs its second confirmation.

        Args:
            namespace_id: The namespace.
            grace: The time until the job destroys the keys.

        Returns:
            The request to shred the namespace.

        Raises:
            NamespaceNotFound: The namespace does not exist, or was shredded.
            InvalidPersistenceRequest: The id is that of the cell.
        """
        if namespace_id == self._keyring.cell_id:
            msg = "the cell itself can't be deleted, because its keys are needed to look up every other namespace"
            raise InvalidPersistenceRequest(msg)
        async with heads_of(self._keyring).change(self._database, namespace_id, [namespace_id]) as change:
            connection, registry = change.connection, change.of(namespace_id)
            namespace = await connection.fetchrow(_SQL["namespace"], namespace_id)
            if namespace is None or namespace["shredded_at"] is not None:
                raise NamespaceNotFound
            now = await server_time(connection)
            request, _ = await find_checked_request(change, namespace_id)
            if request is None:
                await connection.execute(_SQL["request_automatic"], namespace_id, now, now + grace)
                request = ShredRequest(namespace_id, now, now + grace, keep_kek=True, automatic=True)
                registry.shredding = request_digest(request, ())
            await connection.execute(_SQL["delete"], namespace_id, now)
            await withdraw_keys(change, namespace_id)
        self._keyring.evict(namespace_id)
        return request

    async def due(self, *, limit: int) -> Sequence[UUID]:
        """Return deleted namespaces whose grace period is over and whose shredding is not completed, the oldest first.

        Args:
            limit: The maximum number of namespaces to return.
        """
        async with self._database.connection(EVERY_NAMESPACE) as connection:
            rows = await connection.fetch(_SQL["due"], limit)
        return [UUID(bytes=row["namespace_id"].bytes) for row in rows]
