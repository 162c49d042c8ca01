"""Resolve the keys of a namespace: registry, KMS, commitment, cache (DESIGN.md, "The cache")."""

from __future__ import annotations

import asyncio
import hmac
import time
from collections import OrderedDict
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

from . import derivation
from .data_key import MAX_BATCH, DataKey, Lease
from .data_keys import KeyClass, KeyState
from .errors import IntegrityError, KeyNotFound, KmsError, StrongroomError
from .header import Suite
from .namespace_keys import NamespaceKeys, unusable
from .provider import KekRef, Wrapped

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from uuid import UUID

    from .data_keys import DataKeyRecord, DataKeyStore
    from .provider import KmsProvider
    from .secret import Secret

    T = TypeVar("T")

SUITE_1_LIMIT = 2**30
"""Uses of one AES-256-GCM key with random nonces, fleet-wide: odds of a collision 2^-37 (SP 800-38D section 8.3)."""
SUITE_1_LEASE = 2 * MAX_BATCH
"""Uses that a process sets aside at a time. What a process does not use is lost with it, so a lease is small."""
FAILURE_TTL = 5.0


@dataclass(slots=True)
class _Cached:
    keys: NamespaceKeys
    until: float


class Keyring:
    """Unwrapped keys by namespace: bounded, expiring, one KMS call per miss however many callers wait.

    Args:
        cell_id: this deployment; in every key's context and every row's associated data.
        providers: KMS providers by the id that the registry names them with.
        store: the registry.
        ttl: seconds after which keys are unwrapped anew. The promise of revocation: a disabled KEK stops all use
            within this time.
        max_namespaces: how many namespaces are kept; the least recently used goes first.
        clock: monotonic seconds.
    """

    def __init__(
        self,
        *,
        cell_id: UUID,
        providers: Mapping[str, KmsProvider],
        store: DataKeyStore,
        ttl: float = 900.0,
        max_namespaces: int = 10_000,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.cell_id = cell_id
        self.providers = providers
        self.store = store
        self._ttl = ttl
        self._max_namespaces = max_namespaces
        self._clock = clock
        self._cache: OrderedDict[UUID, _Cached] = OrderedDict()
        self._loading: dict[UUID, asyncio.Task[NamespaceKeys]] = {}
        # Leases outlive the cache: what is set aside is used up before more is asked for.
        self._leases: dict[tuple[UUID, int], Lease] = {}
        self._leasing = asyncio.Lock()

    async def open(self, namespace_id: UUID) -> NamespaceKeys:
        """Return the unwrapped keys of a namespace; use them for this request and let them go.

        Raises:
            KeyNotFound: the registry knows no keys of this namespace.
            KmsError: a KMS does not answer now.
            KeyringFileError: the local provider's file can't be used.
        """
        cached = self._cache.get(namespace_id)
        if cached is not None and self._clock() < cached.until:
            self._cache.move_to_end(namespace_id)
            keys = cached.keys
        else:
            keys = await self._load_once(namespace_id)
        if keys.leased_version is not None:
            await self._extend_lease(namespace_id, keys.leased_version)
        return keys

    async def with_keys(
        self, namespace_id: UUID, use: Callable[[NamespaceKeys], T], *, keys: NamespaceKeys | None = None
    ) -> T:
        """Call `use` with a namespace's keys, and once more if another process has registered a version meanwhile.

        A row that names a version which the registry does not know costs a look there, and no call of the KMS.

        Args:
            namespace_id: whose keys.
            use: opens rows.
            keys: what `open` returned to this request, if it was called already.
        """
        keys = keys or await self.open(namespace_id)
        try:
            return use(keys)
        except KeyNotFound:
            if keys.knows(await self.store.list_data_keys(namespace_id)):
                raise
        self.evict(namespace_id)
        return use(await self.open(namespace_id))

    def evict(self, namespace_id: UUID) -> None:
        """Forget a namespace's unwrapped keys now; the next call reads the registry again."""
        self._cache.pop(namespace_id, None)
        self._loading.pop(namespace_id, None)  # who waits gets an answer; who comes now starts anew

    def provider(self, provider_id: str) -> KmsProvider:
        """Return a provider by its id.

        Raises:
            KeyNotFound: not configured.
        """
        provider = self.providers.get(provider_id)
        if provider is None:
            msg = f"no KMS provider {provider_id!r} is configured"
            raise KeyNotFound(msg)
        return provider

    async def unwrap(self, records: Sequence[DataKeyRecord]) -> list[Secret | StrongroomError]:
        """Unwrap registry rows, in order, one call per provider; each root is checked against its commitment.

        An error in the place of a root says why it can't be had.
        """
        roots: dict[int, Secret | StrongroomError] = {}
        by_provider: dict[str, list[int]] = {}
        for index, record in enumerate(records):
            reason = unusable(record.state, record.key_class)
            if reason is not None or record.wrapped is None:
                roots[index] = reason or IntegrityError()
            else:
                by_provider.setdefault(record.provider, []).append(index)
        for provider_id, indexes in by_provider.items():
            answers = await self._unwrap_at(provider_id, [records[index] for index in indexes])
            for index, answer in zip(indexes, answers, strict=True):
                roots[index] = self._checked(records[index], answer)
        return [roots[index] for index in range(len(records))]

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
                record.context(self.cell_id).encryption_context(),
            )
            for record in records
        ]
        answers: list[Secret | StrongroomError] = []
        for start in range(0, len(items), provider.capabilities.batch):
            answers += await provider.unwrap_many(items[start : start + provider.capabilities.batch])
        return answers

    def _checked(self, record: DataKeyRecord, answer: Secret | StrongroomError) -> Secret | StrongroomError:
        """Compare a root with the registry's commitment: the right key, for this place (FORMAT.md 6.3)."""
        if isinstance(answer, StrongroomError):
            return answer
        expected = derivation.commitment(answer, record.context(self.cell_id), record.suite)
        return answer if hmac.compare_digest(expected, record.commitment) else IntegrityError()

    async def _load_once(self, namespace_id: UUID) -> NamespaceKeys:
        task = self._loading.get(namespace_id)
        if task is None:
            task = asyncio.create_task(self._load(namespace_id))
            self._loading[namespace_id] = task
            task.add_done_callback(lambda done: self._loaded(namespace_id, done))
        # Shielded: a caller that gives up takes nothing from the others.
        return await asyncio.shield(task)

    def _loaded(self, namespace_id: UUID, task: asyncio.Task[NamespaceKeys]) -> None:
        if self._loading.get(namespace_id) is not task:
            if not task.cancelled():
                task.exception()  # evicted meanwhile: what it read may be old, so it is not kept
            return
        del self._loading[namespace_id]
        if task.cancelled() or task.exception() is not None:
            return
        keys = task.result()
        self._cache[namespace_id] = _Cached(keys, self._clock() + (FAILURE_TTL if keys.incomplete else self._ttl))
        while len(self._cache) > self._max_namespaces:
            self._cache.popitem(last=False)

    async def _load(self, namespace_id: UUID) -> NamespaceKeys:
        records = await self.store.list_data_keys(namespace_id)
        if not records:
            msg = f"no keys are registered for namespace {namespace_id}"
            raise KeyNotFound(msg)
        roots = await self.unwrap(records)
        for root in roots:
            if isinstance(root, KmsError) and root.retryable:
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
        return NamespaceKeys(
            cell_id=self.cell_id,
            namespace_id=namespace_id,
            data=data,
            index=by_class[KeyClass.INDEX],
            identity=by_class[KeyClass.IDENTITY],
            active={record.key_class: record.version for record in records if record.state is KeyState.ACTIVE},
            layouts={record.version: record.layout for record in records if record.key_class is KeyClass.INDEX},
            incomplete=incomplete,
        )

    def _data_key(self, record: DataKeyRecord, root: Secret) -> DataKey:
        lease = None
        if record.suite is Suite.AES_256_GCM:
            lease = self._leases.setdefault((record.namespace_id, record.version), Lease())
        return DataKey(root, version=record.version, suite=record.suite, lease=lease)

    async def _extend_lease(self, namespace_id: UUID, version: int) -> None:
        """See to it that a key of suite 1 may seal at least one full batch, unless all its uses are given out."""
        lease = self._leases[namespace_id, version]
        if not _is_short(lease):
            return
        async with self._leasing:  # callers that come together take one lease
            if not _is_short(lease):
                return
            granted = await self.store.lease_records(namespace_id, version, count=SUITE_1_LEASE, limit=SUITE_1_LIMIT)
            lease.left += SUITE_1_LEASE if granted else 0
            lease.refused = not granted


def _is_short(lease: Lease) -> bool:
    return lease.left < SUITE_1_LEASE // 2 and not lease.refused
