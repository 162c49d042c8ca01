"""Shredding from the first confirmation to the certificate: registry, KMS, rows and documents, in an order that any step may end."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Literal, TypeAlias

from strongroom.kms import KeyEvent, dispose_of_kek, recording_change

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import timedelta
    from uuid import UUID

    from strongroom.kms import KekDisposal, KekRef, Keyring
    from strongroom.storage import ShreddingStore, ShredRequest
    from strongroom.visibility.backends.elasticsearch import ElasticsearchIndex

Step: TypeAlias = Literal["roots", "keks", "rows", "documents", "certificate"]
Progress: TypeAlias = Callable[[Step, int], None]
"""Called when a step is done, and of rows for each chunk: with how many (roots' KEKs, KEKs, rows, documents, certificates)."""


@dataclass(frozen=True, slots=True)
class Loss:
    """What a shredding takes away: rows by table, documents (None without a search index), and what becomes of the KEKs."""

    rows: Mapping[str, int]
    documents: int | None
    keks: Sequence[KekDisposal]


class Shredding:
    """Shreds namespaces.

    Args:
        store: keeps requests and certificates.
        keyring: of the cell; its providers delete KEKs.
        index: whose documents go too.
        eviction_seconds: after which no process uses keys that it had before it was told.
    """

    def __init__(
        self, store: ShreddingStore, keyring: Keyring, *, index: ElasticsearchIndex | None, eviction_seconds: int
    ) -> None:
        self.store = store
        self._keyring = keyring
        self._index = index
        self.eviction_seconds = eviction_seconds

    async def request(self, namespace_id: UUID, *, grace: timedelta, keep_kek: bool = False) -> ShredRequest:
        """Confirm for the first time; see `ShreddingStore.request`."""
        async with recording_change(
            self._keyring.key_events, KeyEvent("namespace.request_shredding", namespace_id=namespace_id)
        ):
            return await self.store.request(namespace_id, grace=grace, keep_kek=keep_kek)

    async def cancel(self, namespace_id: UUID) -> None:
        """Take the first confirmation back; see `ShreddingStore.cancel`."""
        async with recording_change(
            self._keyring.key_events, KeyEvent("namespace.cancel_shredding", namespace_id=namespace_id)
        ):
            await self.store.cancel(namespace_id)

    async def loss(self, request: ShredRequest) -> Loss:
        """Return what there is to lose now. Reads large tables whole."""
        namespace_id = request.namespace_id
        return Loss(
            await self.store.rows(namespace_id),
            await self._documents(namespace_id),
            await self.store.judged_keks(namespace_id, keep_kek=request.keep_kek),
        )

    async def confirm(self, namespace_id: UUID, code: str) -> ShredRequest:
        """Confirm for the second time, which destroys the keys; see `ShreddingStore.confirm`. `finish` does it too, and the rest."""
        known = await self.store.find(namespace_id)
        if known is not None and known.confirmed_at is not None:
            return await self.store.confirm(namespace_id, code)
        async with recording_change(
            self._keyring.key_events, KeyEvent("namespace.destroy_keys", namespace_id=namespace_id)
        ):
            return await self.store.confirm(namespace_id, code)

    async def finish(self, namespace_id: UUID, code: str, *, progress: Progress | None = None) -> bytes:
        """Confirm for the second time: destroy, delete, and certify. What breaks off is finished by calling it again.

        A KMS that refuses stops nothing: the certificate says so, and the next call asks again.

        Returns:
            The certificate.

        Raises:
            ConditionFailed: nobody asked for it, or it is not due yet.
            InvalidPersistenceRequest: the code is another one.
        """
        tell = progress or _silent
        event = KeyEvent("namespace.shred", namespace_id=namespace_id)
        async with self.store.alone(namespace_id), recording_change(self._keyring.key_events, event):
            request = await self.confirm(namespace_id, code)
            tell("roots", len(await self._keyring.store.list_data_keys(namespace_id)))
            if request.completed_at is not None:
                return await self.store.certificate(namespace_id)
            keks = await self.store.keks(namespace_id)
            for kek in keks:
                if not kek.is_done:
                    await self._dispose_of(namespace_id, kek.kek)
            tell("keks", len(keks))
            await self._purge(namespace_id, tell)
            tell("documents", await self._delete_documents(namespace_id))
            certificate = await self.store.complete(namespace_id, eviction_seconds=self.eviction_seconds)
        tell("certificate", 1)
        return certificate

    async def _dispose_of(self, namespace_id: UUID, kek: KekRef) -> None:
        event = KeyEvent("kek.delete", provider=kek.provider, kek_id=kek.key_id, namespace_id=namespace_id)
        await self._keyring.key_events.record(replace(event, at=datetime.now(UTC)))
        answer = await dispose_of_kek(self._keyring, kek)
        outcome: Literal["done", "failed"] = "done" if answer.error is None else "failed"
        told = replace(event, outcome=outcome, at=datetime.now(UTC), request_id=answer.request_id, note=answer.state)
        await self._keyring.key_events.record(told)
        await self.store.note_kek(namespace_id, answer)

    async def _purge(self, namespace_id: UUID, tell: Progress) -> None:
        deleted: dict[str, int] = {}

        def count(table: str, rows: int) -> None:
            deleted[table] = rows
            tell("rows", sum(deleted.values()))

        await self.store.purge(namespace_id, progress=count)

    async def _documents(self, namespace_id: UUID) -> int | None:
        if self._index is None:
            return None
        return sum((await self._index.epochs(namespace_id)).values())

    async def _delete_documents(self, namespace_id: UUID) -> int:
        found = await self._documents(namespace_id)
        if self._index is None or found is None:
            return 0
        await self.store.note_documents(namespace_id, found)
        return await self._index.delete_namespace(namespace_id)


def _silent(_step: Step, _count: int) -> None:
    """Tell nobody."""
