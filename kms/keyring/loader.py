"""Unwrap a namespace's keys with their KMS, and compare each root with its row's commitment (FORMAT.md section 6)."""

from __future__ import annotations

import asyncio
import hmac
from functools import partial
from typing import TYPE_CHECKING

from strongroom.kms.errors import IntegrityError, KeyNotFound, KeyWithdrawn, KmsError, StrongroomError
from strongroom.kms.keys import derivation
from strongroom.kms.keys.data_key import DataKey
from strongroom.kms.keys.namespace_keys import NamespaceKeys
from strongroom.kms.keys.pin import check_commitment
from strongroom.kms.keys.registry import KeyClass, KeyState
from strongroom.kms.keys.registry_head import RegistryKey, altered
from strongroom.kms.keys.versions import unusable
from strongroom.kms.provider import KekRef, Wrapped, unwrap_in_batches
from strongroom.kms.region import bound_cell_id, check_kek_regions

from .watched_keys import WatchedKeys

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence
    from uuid import UUID

    from strongroom.kms.keys.leases import Leases
    from strongroom.kms.keys.registry import DataKeyRecord, KeyContext
    from strongroom.kms.provider import KmsProvider
    from strongroom.kms.secret import Secret
    from strongroom.kms.watch import KeyWatch


class KeyLoader:
    """Make `NamespaceKeys` from the registry's rows. A loader caches nothing.

    Args:
        cell_id: The id of the cell, which is in every key's context.
        providers: The KMS providers, by the ids that the registry uses.
        leases: The counters of the rows that each data key seals.
        region: The region to which the cell is bound, or None.
        kek_regions: Names of that region in the KMSs.
        commitment: The commitment of the identity root that is accepted as the cell's own; None accepts the registry's.
        watch: The receiver of a report on each batch, or None.
    """

    def __init__(
        self,
        *,
        cell_id: UUID,
        providers: Mapping[str, KmsProvider],
        leases: Leases,
        region: str | None = None,
        kek_regions: Collection[str] = (),
        commitment: bytes | None = None,
        watch: KeyWatch | None = None,
    ) -> None:
        self.cell_id = cell_id
        self.region = region
        self.providers = providers
        self._leases = leases
        self._kek_regions = frozenset(kek_regions)
        self._commitment = commitment
        self._make_keys = NamespaceKeys if watch is None else partial(WatchedKeys, watch=watch)

    def provider(self, provider_id: str) -> KmsProvider:
        """Return a provider by its id.

        Raises:
            KeyNotFound: It is not configured.
        """
        provider = self.providers.get(provider_id)
        if provider is None:
            msg = (
                f"no KMS provider {provider_id!r} is configured; add [kms.{provider_id}] to the configuration, or name one of "
                f"{', '.join(self.providers)}"
            )
            raise KeyNotFound(msg)
        return provider

    def check_kek(self, kek: KekRef) -> None:
        """Raise an error if a KEK is not in the cell's region. The check calls no KMS.

        Raises:
            WrongRegion: The KEK is in another region, or its region is unknown.
            KeyNotFound: Its provider is not configured.
            InvalidRequest: The KEK's id is not valid for its provider.
        """
        if self.region is not None:
            check_kek_regions(kek, self.provider(kek.provider).regions(kek), self._kek_regions)

    def context(self, record: DataKeyRecord) -> KeyContext:
        """Return the context to which a row's root is bound in this cell."""
        return record.context(self.cell_id, self.region)

    def keys(
        self, namespace_id: UUID, records: Sequence[DataKeyRecord], roots: Sequence[Secret | StrongroomError]
    ) -> NamespaceKeys:
        """Return a namespace's keys. A version that was not unwrapped has its error in place of the key.

        Args:
            namespace_id: The namespace.
            records: Its rows in the registry.
            roots: The answer of `unwrap` for each row.

        Raises:
            KeyWithdrawn: The namespace is deleted.
            KmsError: A KMS does not answer now. A retryable error fails the whole call, so that an outage never looks like a
                missing version.
        """
        for root in roots:
            if isinstance(root, KmsError) and (root.retryable or isinstance(root, KeyWithdrawn)):
                raise root
        incomplete = any(
            isinstance(root, StrongroomError) and unusable(record.state, record.key_class) is None
            for record, root in zip(records, roots, strict=True)
        )
        by_class: dict[KeyClass, dict[int, Secret | StrongroomError]] = {key_class: {} for key_class in KeyClass}
        data: dict[int, DataKey | StrongroomError] = {}
        for record, root in zip(records, roots, strict=True):
            by_class[record.key_class][record.version] = root
            if record.key_class is KeyClass.DATA:
                data[record.version] = root if isinstance(root, StrongroomError) else self._data_key(record, root)
        return self._make_keys(
            cell_id=bound_cell_id(self.cell_id, self.region),
            namespace_id=namespace_id,
            data=data,
            index=by_class[KeyClass.INDEX],
            identity=by_class[KeyClass.IDENTITY],
            active={record.key_class: record.version for record in records if record.state is KeyState.ACTIVE},
            layouts={record.version: record.layout for record in records if record.key_class is KeyClass.INDEX},
            incomplete=incomplete,
        )

    async def unwrap_all(self, namespace_id: UUID, records: Sequence[DataKeyRecord]) -> list[Secret | StrongroomError]:
        """Unwrap all keys of a namespace. See `unwrap`.

        Raises:
            KeyNotFound: The namespace has no keys.
            PinMismatch: These are the cell's own keys, and its identity root is not the pinned one.
        """
        if not records:
            msg = f"no keys are registered for namespace {namespace_id}"
            raise KeyNotFound(msg)
        if self._commitment is not None and namespace_id == self.cell_id:
            check_commitment(records, self._commitment)
        return await self.unwrap(records)

    async def registry_key(self, records: Sequence[DataKeyRecord]) -> RegistryKey:
        """Unwrap the cell's identity root, and return the key of the registry's heads.

        Args:
            records: The cell's rows. Only the identity row is used, and it is verified by the pin, if there is one.

        Raises:
            KeyNotFound: The cell has no keys.
            PinMismatch: The identity root is not the pinned one.
            RegistryAltered: The wrapped root is not the one of its row's commitment.
            StrongroomError: The root can't be unwrapped.
        """
        identity = [record for record in records if record.key_class is KeyClass.IDENTITY]
        (root,) = await self.unwrap_all(self.cell_id, identity)
        if isinstance(root, IntegrityError):  # it must not look like a row of data that does not open
            raise altered(self.cell_id, "its identity root is another one")
        if isinstance(root, StrongroomError):
            raise root
        return RegistryKey(root, bound_cell_id(self.cell_id, self.region))

    async def unwrap(self, records: Sequence[DataKeyRecord]) -> list[Secret | StrongroomError]:
        """Unwrap rows of the registry, and compare each root with its commitment. All providers are called at once.

        Returns:
            For each row, in order, its root or the error that prevented the unwrapping.
        """
        roots: dict[int, Secret | StrongroomError] = {}
        by_provider: dict[str, list[int]] = {}
        for index, record in enumerate(records):
            unusable_now = unusable(record.state, record.key_class, withdrawn=record.withdrawn)
            reason = unusable_now or self._kek_error(record)
            if reason is not None or record.wrapped is None:
                roots[index] = reason or IntegrityError()
            else:
                by_provider.setdefault(record.provider, []).append(index)
        answers_by_provider = await asyncio.gather(
            *(
                self._unwrap_at(provider_id, [records[index] for index in indexes])
                for provider_id, indexes in by_provider.items()
            )
        )
        for indexes, answers in zip(by_provider.values(), answers_by_provider, strict=True):
            for index, answer in zip(indexes, answers, strict=True):
                roots[index] = self.checked(records[index], answer)
        return [roots[index] for index in range(len(records))]

    def checked(self, record: DataKeyRecord, answer: Secret | StrongroomError) -> Secret | StrongroomError:
        """Return an unwrapped root, or an error if it does not match its row's commitment (FORMAT.md section 6.3)."""
        if isinstance(answer, StrongroomError):
            return answer
        expected = derivation.commitment(answer, self.context(record), record.suite)
        return answer if hmac.compare_digest(expected, record.commitment) else IntegrityError()

    def _kek_error(self, record: DataKeyRecord) -> StrongroomError | None:
        try:
            self.check_kek(KekRef(record.provider, record.kek_id))
        except StrongroomError as error:
            return error
        return None

    async def _unwrap_at(
        self, provider_id: str, records: Sequence[DataKeyRecord]
    ) -> Sequence[Secret | StrongroomError]:
        try:
            provider = self.provider(provider_id)
        except KeyNotFound as error:
            return [error] * len(records)
        items = [
            (
                Wrapped(KekRef(provider_id, record.kek_id), record.kek_version, record.wrapped or b""),
                self.context(record).encryption_context(),
            )
            for record in records
        ]
        return await unwrap_in_batches(provider, items)

    def _data_key(self, record: DataKeyRecord, root: Secret) -> DataKey:
        lease = self._leases.of(record.namespace_id, record.version)
        return DataKey(root, version=record.version, suite=record.suite, lease=lease)
