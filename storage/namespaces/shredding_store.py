"""The steps of a shredding in the database, from its request to its certificate.

A shredding takes two confirmations with a grace period between them. An interrupted shredding continues at any step.
`strongroom.driver.shredding` runs the steps in order, and calls the KMS and the search index.
"""

from __future__ import annotations

from contextlib import asynccontextmanager
from dataclasses import replace
from typing import TYPE_CHECKING

from strongroom.kms import ErasureCertificate, KeyState, commits_several_times, sign_certificate, with_scope
from strongroom.kms.keys.registry_head import NOT_SCHEDULED
from strongroom.storage.engine.queries import load_queries
from strongroom.storage.engine.row_level_security import EVERY_NAMESPACE
from strongroom.storage.errors import ConditionFailed, InvalidPersistenceRequest, NamespaceNotFound
from strongroom.storage.keys.registry_changes import destroy_keys, disable_keys, enable_keys
from strongroom.storage.keys.store import heads_of

from .journal import replaced_namespace
from .purge import count_rows, purge_namespace
from .shred_request import ShredRequest, find_request, request_digest, server_time, stored_certificate
from .shredded_keks import checked_request, decide_keks, find_checked_request, kek_dispositions, record_answer

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping, Sequence
    from datetime import timedelta
    from uuid import UUID

    from strongroom.kms import KekDisposal, Keyring
    from strongroom.storage.engine.connection import Connection
    from strongroom.storage.engine.database import Database
    from strongroom.storage.journal.writer import Journal

    from .purge import Progress

_SQL = load_queries("namespaces/shredding_store")


class ShreddingStore:
    """Requests, progress and certificates of shreddings. Each step is one transaction, or can be run again after an interruption.

    Every method raises `StorageError` if the database does not answer.

    Args:
        database: The database.
        keyring: The keyring, which has the cell's key for signing certificates.
        journal: The journal of this process.
    """

    def __init__(self, database: Database, keyring: Keyring, journal: Journal) -> None:
        self._journal = journal
        self._database = database
        self._keyring = keyring
        self._heads = heads_of(keyring)

    async def find(self, namespace_id: UUID) -> ShredRequest | None:
        """Return the request to shred a namespace, or None.

        Args:
            namespace_id: The namespace.
        """
        async with self._database.connection(namespace_id) as connection:
            return await find_request(connection, namespace_id)

    async def request(self, namespace_id: UUID, *, grace: timedelta, keep_kek: bool = False) -> ShredRequest:
        """Schedule a namespace for shredding, and make it unreadable in every process. Nothing is destroyed yet.

        Args:
            namespace_id: The namespace.
            grace: The time until the shredding may be confirmed.
            keep_kek: Whether to keep the KEKs of the namespace.

        Returns:
            The request. If the namespace is already scheduled, its request is unchanged.

        Raises:
            NamespaceNotFound: The namespace does not exist, or was shredded.
            InvalidPersistenceRequest: The id is that of the cell.
        """
        if namespace_id == self._keyring.cell_id:
            msg = "the cell itself can't be shredded, because its keys are needed to look up every other namespace"
            raise InvalidPersistenceRequest(msg)
        async with self._heads.change(self._database, namespace_id, [namespace_id]) as change:
            connection, registry = change.connection, change.of(namespace_id)
            request, _ = await find_checked_request(change, namespace_id)
            if request is None:
                namespace = await connection.fetchrow(_SQL["namespace"], namespace_id)
                if namespace is None or namespace["shredded_at"] is not None:
                    raise NamespaceNotFound
                now = await server_time(connection)
                await connection.execute(_SQL["request"], namespace_id, now, now + grace, keep_kek)
                await disable_keys(change, namespace_id)
                request = ShredRequest(namespace_id, now, now + grace, keep_kek)
                registry.shredding = request_digest(request, ())
        self._keyring.evict(namespace_id)
        return request

    async def cancel(self, namespace_id: UUID) -> None:
        """Cancel a request, and restore the previous state of every key. A deleted namespace gets its name back.

        Args:
            namespace_id: The namespace.

        Raises:
            ConditionFailed: The namespace is not scheduled, its keys are already destroyed, or another namespace has its name now.
        """
        # The name is compared with the names of all namespaces.
        async with self._heads.change(self._database, EVERY_NAMESPACE, [namespace_id]) as change:
            connection, registry = change.connection, change.of(namespace_id)
            request, _ = await checked_request(change, namespace_id)
            if request.confirmed_at is not None:
                msg = f"the keys were destroyed at {request.confirmed_at:%Y-%m-%d %H:%M:%S} UTC and can't be restored"
                raise ConditionFailed(msg)
            if not await connection.fetch(_SQL["restore"], namespace_id):
                msg = "another namespace has the name of the deleted one now, so nothing was changed; rename or delete that one first"
                raise ConditionFailed(msg)
            await enable_keys(change, namespace_id)
            await connection.execute(_SQL["cancel"], namespace_id)
            registry.shredding = NOT_SCHEDULED
        self._keyring.evict(namespace_id)

    async def rows(self, namespace_id: UUID) -> Mapping[str, int]:
        """Return the number of rows of a namespace to delete, by table. Counting reads large tables."""
        return await count_rows(self._database, namespace_id)

    async def kek_dispositions(self, namespace_id: UUID, *, keep_kek: bool) -> Sequence[KekDisposal]:
        """Return what would happen to each KEK of a namespace if the namespace were shredded now.

        Args:
            namespace_id: The namespace.
            keep_kek: Whether to keep the KEKs.
        """
        await self._heads.key()  # before the connection is taken
        async with self._database.connection(EVERY_NAMESPACE) as connection:
            return await kek_dispositions(connection, self._keyring, namespace_id, keep_kek=keep_kek)

    @asynccontextmanager
    async def alone(self, namespace_id: UUID) -> AsyncIterator[None]:
        """Hold the lock of this shredding, so that only one process at a time finishes it. The lock has its own connection.

        Args:
            namespace_id: The namespace.
        """
        async with self._database.dedicated_transaction() as lock:
            await lock.execute(_SQL["lock_finish"], str(namespace_id))
            yield

    @commits_several_times
    async def confirm(self, namespace_id: UUID, code: str) -> ShredRequest:
        """Destroy all wrapped roots of a namespace, and decide what happens to its KEKs. This can't be undone.

        Args:
            namespace_id: The namespace.
            code: The code of the request.

        Returns:
            The request. If it was already confirmed, nothing changes.

        Raises:
            ConditionFailed: The namespace is not scheduled, or its shredding is not due yet.
            InvalidPersistenceRequest: The code belongs to another request.
        """
        async with self._heads.change(self._database, EVERY_NAMESPACE, [namespace_id]) as change:
            connection, registry = change.connection, change.of(namespace_id)
            request, _ = await checked_request(change, namespace_id)
            if code.strip().lower() != request.code:
                msg = "the confirmation code does not match this request; nothing was changed"
                raise InvalidPersistenceRequest(msg)
            if request.confirmed_at is None:
                now = await server_time(connection)
                if now < request.due_at:
                    msg = f"the grace period lasts until {request.due_at:%Y-%m-%d %H:%M:%S} UTC; confirm again after that time"
                    raise ConditionFailed(msg)
                keks = await decide_keks(change, self._keyring, namespace_id, keep_kek=request.keep_kek)
                await connection.execute(_SQL["confirm"], namespace_id, now)
                await destroy_keys(change, namespace_id, destroyed_at=now)
                request = replace(request, confirmed_at=now)
                registry.shredding = request_digest(request, keks)
        self._keyring.evict(namespace_id)
        return request

    async def keks(self, namespace_id: UUID) -> Sequence[KekDisposal]:
        """Return the KEKs of a namespace whose shredding was confirmed, with the answers of their KMS.

        Args:
            namespace_id: The namespace.

        Raises:
            RegistryAltered: They are not the KEKs that the confirmation decided on.
        """
        async with self._heads.change(self._database, namespace_id, [namespace_id]) as change:
            _, keks = await checked_request(change, namespace_id)
        return keks

    async def record_answer(self, namespace_id: UUID, answer: KekDisposal) -> None:
        """Store the answer of a KMS about a KEK.

        Args:
            namespace_id: The namespace.
            answer: The KEK with the answer.
        """
        async with self._heads.change(self._database, namespace_id, [namespace_id]) as change:
            await record_answer(change, namespace_id, answer)

    @commits_several_times
    async def purge(self, namespace_id: UUID, *, progress: Progress | None = None) -> None:
        """Delete all rows of a namespace. Each transaction that deletes rows counts them in the request.

        Args:
            namespace_id: The namespace.
            progress: Called with the name of a table and the number of its rows deleted so far.

        Raises:
            ConditionFailed: A key of the namespace is not destroyed.
        """

        async def tally(connection: Connection, table: str, rows: int) -> None:
            await connection.execute(_SQL["add_rows"], namespace_id, table, rows)

        await purge_namespace(self._database, self._journal, namespace_id, progress=progress, tally=tally)

    async def record_documents(self, namespace_id: UUID, documents: int) -> None:
        """Store the number of documents in the search index, unless a number is already stored.

        Args:
            namespace_id: The namespace.
            documents: The number, counted before the first document is deleted.
        """
        async with self._database.connection(namespace_id) as connection:
            await connection.execute(_SQL["record_documents"], namespace_id, documents)

    @commits_several_times
    async def complete(self, namespace_id: UUID, *, eviction_seconds: int) -> bytes:
        """Delete the name of a namespace, and sign and store its erasure certificate.

        If a KMS has not yet deleted a KEK, the shredding stays incomplete. The next call then replaces the certificate.

        Args:
            namespace_id: The namespace.
            eviction_seconds: Time after the request until every process has removed the keys from its memory, in seconds.

        Returns:
            The certificate. If the shredding is already complete, the stored certificate.

        Raises:
            ConditionFailed: The shredding is not confirmed.
            KmsError: The cell's keys can't be unwrapped.
        """
        cell = await self._keyring.open(self._keyring.cell_id)
        async with self._heads.change(self._database, namespace_id, [namespace_id]) as change:
            connection, keys = change.connection, change.of(namespace_id).records
            request, keks = await checked_request(change, namespace_id)
            if request.completed_at is not None:
                return await stored_certificate(connection, namespace_id)
            if request.confirmed_at is None or any(key.state is not KeyState.DESTROYED for key in keys):
                msg = "this shredding is not confirmed; confirm it first, with the code of the request"
                raise ConditionFailed(msg)
            now = await server_time(connection)
            signing_key = cell.certificate_key()
            certificate = ErasureCertificate(
                cell_id=self._keyring.cell_id,
                namespace_id=namespace_id,
                requested_at=request.requested_at,
                confirmed_at=request.confirmed_at,
                completed_at=now,
                eviction_seconds=eviction_seconds,
                keys=tuple(keys),
                keks=tuple(keks),
                rows_deleted=request.rows_deleted,
                documents_deleted=request.documents,
                public_key=signing_key.public_key,
            )
            signed = sign_certificate(with_scope(certificate), signing_key)
            stored = await connection.fetchrow(_SQL["lock_name"], namespace_id)
            await connection.execute(_SQL["forget_name"], namespace_id, now)
            await connection.execute(_SQL["put_certificate"], namespace_id, now, signed)
            if all(kek.is_done for kek in keks):
                await connection.execute(_SQL["complete"], namespace_id, now)
            if stored is not None:
                old = (stored["details"], stored["data"])
                await self._journal.write(connection, replaced_namespace(namespace_id, old, (None, None)))
        return signed

    async def certificate(self, namespace_id: UUID) -> bytes:
        """Return the erasure certificate of a shredded namespace.

        Args:
            namespace_id: The namespace.

        Raises:
            NotFound: There is none.
        """
        async with self._database.connection(namespace_id) as connection:
            return await stored_certificate(connection, namespace_id)
