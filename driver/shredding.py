"""Shred a namespace: the steps from the first confirmation to the certificate, in the key registry, KMS, database and search index.

An interrupted shredding continues when its last step is run again.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from math import ceil
from typing import TYPE_CHECKING, Literal, TypeAlias

from strongroom.kms import (
    KekDisposal,
    KeyEvent,
    commits_several_times,
    depending_on,
    destroy_data_keys,
    dispose_of_kek,
    recording_change,
)
from strongroom.storage import MARGIN, ConditionFailed, NamespaceNotFound, ShreddingStore

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from uuid import UUID

    from strongroom.kms import KekRef, Keyring
    from strongroom.storage import Database, ShredRequest
    from strongroom.storage.journal.writer import Journal
    from strongroom.visibility.backends.elasticsearch import ElasticsearchIndex

    from .config import StrongroomConfig

Step: TypeAlias = Literal["roots", "keks", "rows", "documents", "certificate"]
Progress: TypeAlias = Callable[[Step, int], None]
"""Called when a step is done, and after each chunk of rows.

The step is keys, KEKs, rows, documents or certificates, and the number counts them.
"""


@dataclass(frozen=True, slots=True)
class Loss:
    """The data and keys that a shredding will delete.

    Attributes:
        rows: The number of rows, by table.
        documents: The number of documents in the search index; None without one.
        keks: The KEKs of the namespace, and what happens to them.
    """

    rows: Mapping[str, int]
    documents: int | None
    keks: Sequence[KekDisposal]


class Shredding:
    """Shreds namespaces.

    Args:
        store: The store of requests and certificates.
        keyring: The keyring of the cell, whose providers delete KEKs.
        index: The search index; None if it is the database.
        eviction_seconds: Seconds after a request by which no process has a key of the namespace in its memory.
    """

    def __init__(
        self, store: ShreddingStore, keyring: Keyring, *, index: ElasticsearchIndex | None, eviction_seconds: int
    ) -> None:
        self.store = store
        self._keyring = keyring
        self._index = index
        self.eviction_seconds = eviction_seconds

    @commits_several_times
    async def request(self, namespace_id: UUID, *, grace: timedelta, keep_kek: bool = False) -> ShredRequest:
        """Schedule a namespace for shredding; see `ShreddingStore.request`."""
        async with recording_change(
            self._keyring.key_events, KeyEvent("namespace.request_shredding", namespace_id=namespace_id)
        ):
            return await self.store.request(namespace_id, grace=grace, keep_kek=keep_kek)

    @commits_several_times
    async def cancel(self, namespace_id: UUID) -> None:
        """Cancel a scheduled shredding; see `ShreddingStore.cancel`."""
        async with recording_change(
            self._keyring.key_events, KeyEvent("namespace.cancel_shredding", namespace_id=namespace_id)
        ):
            await self.store.cancel(namespace_id)

    async def loss(self, request: ShredRequest) -> Loss:
        """Return what a shredding will delete. It reads large tables.

        Args:
            request: The request.

        Raises:
            StorageError, VisibilityError: The database or the search index does not answer.
        """
        namespace_id = request.namespace_id
        return Loss(
            await self.store.rows(namespace_id),
            await self._documents(namespace_id),
            await self.store.kek_dispositions(namespace_id, keep_kek=request.keep_kek),
        )

    @commits_several_times
    async def confirm(self, namespace_id: UUID, code: str) -> ShredRequest:
        """Destroy the keys; see `ShreddingStore.confirm`. `finish` does this and all later steps."""
        request = await self.store.find(namespace_id)
        if request is not None and request.confirmed_at is not None:
            return await self.store.confirm(namespace_id, code)
        async with recording_change(
            self._keyring.key_events, KeyEvent("namespace.destroy_keys", namespace_id=namespace_id)
        ):
            return await self.store.confirm(namespace_id, code)

    @commits_several_times
    async def finish(self, namespace_id: UUID, code: str, *, progress: Progress | None = None) -> bytes:
        """Destroy the keys of a scheduled namespace, delete its KEKs, rows and documents, and certify it.

        A KMS that refuses to delete a KEK does not stop the shredding. The certificate records the refusal, and the next
        call asks again.

        Args:
            namespace_id: The namespace.
            code: The code of the request.
            progress: Called while it runs.

        Returns:
            The certificate.

        Raises:
            ConditionFailed: The namespace is not scheduled, or its shredding is not due yet.
            InvalidPersistenceRequest: The code is not that of the request.
            StrongroomError: A step failed. Run it again to continue.
        """
        show = progress or _no_progress
        event = KeyEvent("namespace.shred", namespace_id=namespace_id)
        async with self.store.alone(namespace_id), recording_change(self._keyring.key_events, event):
            request = await self.confirm(namespace_id, code)
            show("roots", len(await self._keyring.store.list_data_keys(namespace_id)))
            if request.completed_at is not None:
                return await self.store.certificate(namespace_id)
            keks = await self.store.keks(namespace_id)
            for kek in keks:
                if not kek.is_done:
                    await self._dispose_of(namespace_id, kek.kek)
            show("keks", len(keks))
            await self._purge(namespace_id, show)
            show("documents", await self._delete_documents(namespace_id))
            certificate = await self.store.complete(namespace_id, eviction_seconds=self.eviction_seconds)
        show("certificate", 1)
        return certificate

    @commits_several_times
    async def shred(self, namespace_id: UUID) -> bytes | None:
        """Shred a namespace without a grace period, and keep its KEKs. A namespace that does not exist is not an error.

        Keys without a namespace, which an interrupted creation left, are destroyed too.

        Args:
            namespace_id: The namespace.

        Returns:
            The certificate; None if there is no such namespace.

        Raises:
            ConditionFailed: The namespace is scheduled for shredding, and its grace period is not over or its KEKs are deleted too.
            InvalidPersistenceRequest: The id is the cell's own.
            StrongroomError: A step failed. Run it again to continue.
        """
        try:
            request = await self.store.find(namespace_id) or await self.request(
                namespace_id, grace=timedelta(0), keep_kek=True
            )
        except NamespaceNotFound:
            await destroy_data_keys(self._keyring, namespace_id)
            return None
        if request.completed_at is None and not request.keep_kek:
            # The request also deletes KEKs. That needs the code and, with access control, a second person.
            msg = (
                "this namespace is scheduled for shredding together with its KEKs; finish that with "
                "'strongroom namespace shred NAME --final CODE', or cancel it with 'strongroom namespace unshred NAME'"
            )
            raise ConditionFailed(msg)
        return await self.finish(namespace_id, request.code)

    async def _dispose_of(self, namespace_id: UUID, kek: KekRef) -> None:
        event = KeyEvent("kek.delete", provider=kek.provider, kek_id=kek.key_id, namespace_id=namespace_id)
        await self._keyring.key_events.record(replace(event, at=datetime.now(UTC)))
        if depending_on(self._keyring, await self._keyring.store.list_kek_usage(), [kek]):
            answer = KekDisposal(kek, "delete", error="KeyConflict: the KEK wraps other keys now, so it is not deleted")
        else:
            answer = await dispose_of_kek(self._keyring, kek)
        outcome: Literal["done", "failed"] = "done" if answer.error is None else "failed"
        answered = replace(
            event, outcome=outcome, at=datetime.now(UTC), request_id=answer.request_id, note=answer.state
        )
        await self._keyring.key_events.record(answered)
        await self.store.record_answer(namespace_id, answer)

    async def _purge(self, namespace_id: UUID, show: Progress) -> None:
        deleted: dict[str, int] = {}

        def count(table: str, rows: int) -> None:
            deleted[table] = rows
            show("rows", sum(deleted.values()))

        await self.store.purge(namespace_id, progress=count)

    async def _documents(self, namespace_id: UUID) -> int | None:
        if self._index is None:
            return None
        return sum((await self._index.epochs(namespace_id)).values())

    async def _delete_documents(self, namespace_id: UUID) -> int:
        documents = await self._documents(namespace_id)
        if self._index is None or documents is None:
            return 0
        await self.store.record_documents(namespace_id, documents)
        return await self._index.delete_namespace(namespace_id)


def new_shredding(
    config: StrongroomConfig, database: Database, keyring: Keyring, journal: Journal, index: ElasticsearchIndex | None
) -> Shredding:
    """Return the shredding job of a cell.

    Args:
        config: The cell's configuration.
        database: The database.
        keyring: The keyring of the cell.
        journal: The journal of this process.
        index: The search index; None if it is the database.
    """
    store = ShreddingStore(database, keyring, journal)
    return Shredding(store, keyring, index=index, eviction_seconds=ceil(config.cache.encrypt_ttl + MARGIN))


def _no_progress(_step: Step, _count: int) -> None:
    """Ignore progress."""
