"""Shredding in two confirmations with a time between: the request, and each step to the certificate, so that any can be the last.

`NamespaceStore.shred` does the same to keys and rows at once, without a certificate. `strongroom.driver` puts the steps in order.
"""

from __future__ import annotations

import struct
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from types import MappingProxyType
from typing import TYPE_CHECKING

import orjson

from strongroom.kms import (
    ErasureCertificate,
    KekDisposal,
    KekRef,
    KekUsage,
    KeyState,
    depending_on,
    sign_certificate,
    with_scope,
)
from strongroom.storage.engine.queries import load_queries
from strongroom.storage.engine.row_level_security import EVERY_NAMESPACE, NO_NAMESPACE
from strongroom.storage.errors import ConditionFailed, InvalidPersistenceRequest, NamespaceNotFound, NotFound
from strongroom.storage.namespaces.purge import count_rows, purge_namespace

from .store import destroy_keys, disable_keys, enable_keys, lock_kek

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping, Sequence
    from uuid import UUID

    from strongroom.kms import Keyring
    from strongroom.storage.engine.connection import Connection, Row
    from strongroom.storage.engine.database import Database
    from strongroom.storage.namespaces.purge import Progress

_SQL = load_queries("keys/shredding")
_NAMESPACES = load_queries("namespaces/store")
_CODE_DIGITS = 10
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class ShredRequest:
    """A shredding that was asked for.

    Attributes:
        namespace_id: of what.
        requested_at: UTC; since then the namespace can't be read.
        due_at: from when it may be confirmed.
        keep_kek: whether its KEK stays, though nothing else is wrapped by it.
        confirmed_at: when its roots were destroyed; None while it can be taken back.
        rows_deleted: so far, by table.
        documents: how many the search index held; None before they were counted, and where there is no index.
        completed_at: when nothing was left to do; None before.
    """

    namespace_id: UUID
    requested_at: datetime
    due_at: datetime
    keep_kek: bool
    confirmed_at: datetime | None
    rows_deleted: Mapping[str, int]
    documents: int | None
    completed_at: datetime | None

    @property
    def code(self) -> str:
        """What the second confirmation must give: no secret, but known to nobody who has not seen this very request."""
        microseconds = (self.requested_at - _EPOCH) // timedelta(microseconds=1)
        message = b"strongroom shred code v1" + self.namespace_id.bytes + struct.pack(">q", microseconds)
        return sha256(message).hexdigest()[:_CODE_DIGITS]


class ShreddingStore:
    """The steps of a shredding. Each is one transaction, or may break off and be run again."""

    def __init__(self, database: Database, keyring: Keyring) -> None:
        self._database = database
        self._keyring = keyring

    async def find(self, namespace_id: UUID) -> ShredRequest | None:
        """Return the request to shred a namespace; None where there is none."""
        async with self._database.connection(namespace_id) as connection:
            row = await connection.fetchrow(_SQL["find"], namespace_id)
        return None if row is None else _request(namespace_id, row)

    async def request(self, namespace_id: UUID, *, grace: timedelta, keep_kek: bool = False) -> ShredRequest:
        """Make a namespace unreadable, in every process, and note when it may be shredded. Nothing is lost yet.

        Returns:
            The request; where there is one already, that one as it is.

        Raises:
            NamespaceNotFound: no such namespace, or it was shredded.
            InvalidPersistenceRequest: it is the cell itself.
        """
        if namespace_id == self._keyring.cell_id:
            msg = "this is the cell itself: without its keys no namespace can be found by name"
            raise InvalidPersistenceRequest(msg)
        async with self._database.transaction(namespace_id) as connection:
            row = await connection.fetchrow(_SQL["find"], namespace_id)
            if row is None:
                namespace = await connection.fetchrow(_SQL["namespace"], namespace_id)
                if namespace is None or namespace["shredded_at"] is not None:
                    raise NamespaceNotFound
                now = await _now(connection)
                await connection.execute(_SQL["request"], namespace_id, now, now + grace, keep_kek)
                await disable_keys(connection, namespace_id)
                row = await _locked(connection, namespace_id)
        self._keyring.evict(namespace_id)
        return _request(namespace_id, row)

    async def cancel(self, namespace_id: UUID) -> None:
        """Take a request back: every key has the state that it had.

        Raises:
            ConditionFailed: nobody asked for it, or it was confirmed and the keys are destroyed.
        """
        async with self._database.transaction(namespace_id) as connection:
            request = _request(namespace_id, await _locked(connection, namespace_id))
            if request.confirmed_at is not None:
                msg = (
                    f"the keys were destroyed at {request.confirmed_at:%Y-%m-%d %H:%M:%S} UTC; nothing brings them back"
                )
                raise ConditionFailed(msg)
            await enable_keys(connection, namespace_id)
            await connection.execute(_SQL["cancel"], namespace_id)
        self._keyring.evict(namespace_id)

    async def rows(self, namespace_id: UUID) -> Mapping[str, int]:
        """Return how many rows there are to delete, by table."""
        return await count_rows(self._database, namespace_id)

    async def judged_keks(self, namespace_id: UUID, *, keep_kek: bool) -> Sequence[KekDisposal]:
        """Return what would become of the KEKs of a namespace, if it were shredded now."""
        async with self._database.connection(EVERY_NAMESPACE) as connection:
            return await self._judged(connection, namespace_id, keep_kek=keep_kek)

    @asynccontextmanager
    async def alone(self, namespace_id: UUID) -> AsyncIterator[None]:
        """Wait until nobody else finishes this shredding, and keep others out. Holds one of the connections meanwhile."""
        async with self._database.transaction(NO_NAMESPACE, unlimited=True) as lock:
            await lock.execute("SET LOCAL idle_in_transaction_session_timeout = 0")
            await lock.execute(_SQL["lock_finish"], str(namespace_id))
            yield

    async def confirm(self, namespace_id: UUID, code: str) -> ShredRequest:
        """Destroy all wrapped roots, and decide what becomes of the KEKs; at once, and for good. Once confirmed it stays so.

        Raises:
            ConditionFailed: nobody asked for it, or it is not due yet.
            InvalidPersistenceRequest: the code is not that of the request.
        """
        async with self._database.transaction(EVERY_NAMESPACE) as connection:
            request = _request(namespace_id, await _locked(connection, namespace_id))
            if code.strip().lower() != request.code:
                msg = "the code is not that of this request; nothing was changed"
                raise InvalidPersistenceRequest(msg)
            if request.confirmed_at is None:
                now = await _now(connection)
                if now < request.due_at:
                    msg = f"not before {request.due_at:%Y-%m-%d %H:%M:%S} UTC, when the time to take it back is over"
                    raise ConditionFailed(msg)
                for row in await connection.fetch(_SQL["keks"], namespace_id):
                    await lock_kek(connection, row["provider"], row["kek_id"])
                for each in await self._judged(connection, namespace_id, keep_kek=request.keep_kek):
                    kek = (each.kek.provider, each.kek.key_id)
                    await connection.execute(_SQL["add_kek"], namespace_id, *kek, each.disposal)
                await connection.execute(_SQL["confirm"], namespace_id, now)
                await destroy_keys(connection, namespace_id, destroyed_at=now)
            row = await _locked(connection, namespace_id)
        self._keyring.evict(namespace_id)
        return _request(namespace_id, row)

    async def keks(self, namespace_id: UUID) -> Sequence[KekDisposal]:
        """Return the KEKs of a namespace whose shredding was confirmed, and what their KMS said."""
        async with self._database.connection(namespace_id) as connection:
            return [_disposal(row) for row in await connection.fetch(_SQL["list_keks"], namespace_id)]

    async def note_kek(self, namespace_id: UUID, answer: KekDisposal) -> None:
        """Keep what a KMS said."""
        kek = (answer.kek.provider, answer.kek.key_id)
        said = (answer.state, answer.deletion_at, answer.request_id, answer.error)
        async with self._database.connection(namespace_id) as connection:
            await connection.execute(_SQL["note_kek"], namespace_id, *kek, *said)

    async def purge(self, namespace_id: UUID, *, progress: Progress | None = None) -> None:
        """Delete all rows; each is counted in the transaction that deletes it."""

        async def tally(connection: Connection, table: str, rows: int) -> None:
            await connection.execute(_SQL["add_rows"], namespace_id, table, rows)

        await purge_namespace(self._database, namespace_id, progress=progress, tally=tally)

    async def note_documents(self, namespace_id: UUID, found: int) -> None:
        """Keep how many documents there were, before the first is deleted; what is noted already stays."""
        async with self._database.connection(namespace_id) as connection:
            await connection.execute(_SQL["note_documents"], namespace_id, found)

    async def complete(self, namespace_id: UUID, *, eviction_seconds: int) -> bytes:
        """Forget the name, sign the certificate and keep it. The cell's keys are needed.

        Where a KMS did not delete a KEK the shredding is not complete, and the next certificate takes the place of this one.

        Args:
            namespace_id: of what.
            eviction_seconds: after the request, by when no process holds a key any more.

        Returns:
            The certificate; that of a shredding which is complete is never made anew.

        Raises:
            ConditionFailed: it is not confirmed.
        """
        cell = await self._keyring.open(self._keyring.cell_id)
        keys = await self._keyring.store.list_data_keys(namespace_id)
        keks = await self.keks(namespace_id)
        async with self._database.transaction(namespace_id) as connection:
            request = _request(namespace_id, await _locked(connection, namespace_id))
            if request.completed_at is not None:
                return await _certificate(connection, namespace_id)
            if request.confirmed_at is None or any(key.state is not KeyState.DESTROYED for key in keys):
                msg = "the second confirmation is missing"
                raise ConditionFailed(msg)
            now = await _now(connection)
            key = cell.certificate_key()
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
                public_key=key.public_key,
            )
            signed = sign_certificate(with_scope(certificate), key)
            await connection.execute(_NAMESPACES["shred"], namespace_id, now)
            await connection.execute(_SQL["put_certificate"], namespace_id, now, signed)
            if all(kek.is_done for kek in keks):
                await connection.execute(_SQL["complete"], namespace_id, now)
        return signed

    async def _judged(self, connection: Connection, namespace_id: UUID, *, keep_kek: bool) -> list[KekDisposal]:
        rows = await connection.fetch(_SQL["judge_keks"], namespace_id, keep_kek)
        judged = [KekDisposal(KekRef(row["provider"], row["kek_id"]), row["disposal"]) for row in rows]
        # A KEK of several is deleted with its children, and one of those may be another namespace's.
        others = [
            KekUsage(row["provider"], row["kek_id"], kek_version="", keys=1, namespaces=1)
            for row in await connection.fetch(_SQL["other_keks"], namespace_id)
        ]
        return [
            replace(each, disposal="shared")
            if each.disposal == "delete" and depending_on(self._keyring, others, [each.kek])
            else each
            for each in judged
        ]

    async def certificate(self, namespace_id: UUID) -> bytes:
        """Return the certificate of a namespace that was shredded.

        Raises:
            NotFound: there is none.
        """
        async with self._database.connection(namespace_id) as connection:
            return await _certificate(connection, namespace_id)


async def _certificate(connection: Connection, namespace_id: UUID) -> bytes:
    row = await connection.fetchrow(_SQL["certificate"], namespace_id)
    if row is None:
        msg = f"there is no erasure certificate of namespace {namespace_id}"
        raise NotFound(msg)
    certificate: bytes = row["certificate"]
    return certificate


async def _now(connection: Connection) -> datetime:
    row = await connection.fetchrow(_SQL["now"])
    assert row is not None  # noqa: S101 - a SELECT without FROM
    now: datetime = row["now"]
    return now


async def _locked(connection: Connection, namespace_id: UUID) -> Row:
    row = await connection.fetchrow(_SQL["lock"], namespace_id)
    if row is None:
        msg = "nobody asked to shred this namespace: strongroom namespace shred NAME"
        raise ConditionFailed(msg)
    return row


def _request(namespace_id: UUID, row: Row) -> ShredRequest:
    return ShredRequest(
        namespace_id=namespace_id,
        requested_at=row["requested_at"],
        due_at=row["due_at"],
        keep_kek=row["keep_kek"],
        confirmed_at=row["confirmed_at"],
        rows_deleted=MappingProxyType(orjson.loads(row["rows_deleted"])),
        documents=row["documents"],
        completed_at=row["completed_at"],
    )


def _disposal(row: Row) -> KekDisposal:
    kek = KekRef(row["provider"], row["kek_id"])
    return KekDisposal(kek, row["disposal"], row["state"], row["deletion_at"], row["request_id"], row["error"])
