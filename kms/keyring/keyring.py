"""The cache of unwrapped keys: whose keys a process has, since when, and for how long (DESIGN.md, "The cache")."""

from __future__ import annotations

import asyncio
import random
import time
from collections import OrderedDict
from contextlib import suppress
from copy import copy
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

from strongroom.kms.errors import KeyNotFound, KmsUnavailable, StrongroomError
from strongroom.kms.key_events import NO_KEY_EVENTS
from strongroom.kms.keys.leases import Leases
from strongroom.kms.region import check_region

from .cache_policy import CachePolicy
from .loader import KeyLoader

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Coroutine, Mapping, Sequence
    from uuid import UUID

    from strongroom.kms.key_events import KeyEventSink
    from strongroom.kms.keys.namespace_keys import NamespaceKeys
    from strongroom.kms.keys.registry import DataKeyRecord, DataKeyStore, KeyContext
    from strongroom.kms.provider import KekRef, KmsProvider
    from strongroom.kms.secret import Secret
    from strongroom.kms.watch import KeyWatch

    T = TypeVar("T")


@dataclass(slots=True)
class _Kept:
    """Unwrapped keys of a namespace.

    Attributes:
        keys: for everything.
        records: rows of the registry that they were made of.
        unwrapped_at: when their KMS was asked.
        confirmed_at: when the registry last said the same.
        fresh_until: until when nobody need be asked.
        ask_at: before which nobody is asked again, as it failed a moment ago.
        failure: why they could not be unwrapped anew.
        opening_only: the same keys for opening alone, once that was needed.
        used_at: when they were last asked for; kept while somebody watches.
    """

    keys: NamespaceKeys
    records: Sequence[DataKeyRecord]
    unwrapped_at: float
    confirmed_at: float
    fresh_until: float
    ask_at: float = 0.0
    failure: StrongroomError | None = None
    opening_only: NamespaceKeys | None = None
    used_at: float = float("-inf")


class Keyring:
    """Unwrapped keys by namespace: bounded, expiring, one KMS call per miss however many callers wait.

    Args:
        cell_id: this deployment; in every key's context and every row's associated data.
        providers: KMS providers by the id that the registry names them with.
        store: the registry.
        region: of the deployment, bound as its id is; None for one that is bound to none. Then any KEK may be used.
        kek_regions: what KMSs call that region; None for the same.
        policy: how long keys are used, and how many namespaces are kept.
        key_events: records every change of a key.
        watch: is told of each batch and each look into the cache; None for nobody.
        clock: monotonic seconds.
    """

    def __init__(
        self,
        *,
        cell_id: UUID,
        providers: Mapping[str, KmsProvider],
        store: DataKeyStore,
        region: str | None = None,
        kek_regions: Collection[str] | None = None,
        policy: CachePolicy | None = None,
        key_events: KeyEventSink = NO_KEY_EVENTS,
        watch: KeyWatch | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.cell_id = cell_id
        self.region = region if region is None else check_region(region)
        self.providers = providers
        self.store = store
        self.policy = policy or CachePolicy()
        self.key_events = key_events
        self._watch = watch
        self._clock = clock
        self._leases = Leases(store)
        self._loader = KeyLoader(
            cell_id=cell_id,
            providers=providers,
            leases=self._leases,
            region=region,
            kek_regions=(region,) if region is not None and kek_regions is None else kek_regions or (),
            watch=watch,
        )
        self._cache: OrderedDict[UUID, _Kept] = OrderedDict()
        self._loading: dict[UUID, asyncio.Task[_Kept]] = {}
        self._refreshing = asyncio.Semaphore(self.policy.refreshes)

    async def open(self, namespace_id: UUID) -> NamespaceKeys:
        """Return the unwrapped keys of a namespace; use them for this request and let them go.

        Raises:
            KeyNotFound: the registry knows no keys of this namespace.
            KmsError: a KMS does not answer now, and what is kept is too old.
            KeyringFileError: the local provider's file can't be used.
        """
        kept = self._cache.get(namespace_id)
        if self._watch is not None:
            self._tell(kept, self._watch)
        if kept is None:
            keys = await self._load_once(namespace_id)
        else:
            self._cache.move_to_end(namespace_id)
            keys = kept.keys if self._clock() < kept.fresh_until else await self._aged(namespace_id, kept)
        if keys.leased_version is not None:
            await self._leases.extend(namespace_id, keys.leased_version)
        return keys

    def kept(self, namespace_id: UUID) -> NamespaceKeys | None:
        """Return a namespace's keys if they are kept and fresh, for anything but sealing; None if `open` must be asked."""
        kept = self._cache.get(namespace_id)
        return kept.keys if kept is not None and self._clock() < kept.fresh_until else None

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

    def ages(self) -> list[float]:
        """Return for each namespace whose keys are kept, and were used lately, how many seconds ago its KMS was asked for them.

        Lately is within `soft_ttl`: what nobody uses is not refreshed, and its age means nothing. Only while somebody watches.
        """
        now = self._clock()
        return [
            now - kept.unwrapped_at for kept in list(self._cache.values()) if now - kept.used_at < self.policy.soft_ttl
        ]

    def doubt(self) -> None:
        """Have all keys unwrapped anew at their next use: changes of the registry may have been missed."""
        for kept in self._cache.values():
            kept.fresh_until = self._clock()

    def provider(self, provider_id: str) -> KmsProvider:
        """Return a provider by its id.

        Raises:
            KeyNotFound: not configured.
        """
        return self._loader.provider(provider_id)

    def check_kek(self, kek: KekRef) -> None:
        """Refuse a KEK of another region: see `KeyLoader.check_kek`."""
        self._loader.check_kek(kek)

    def context(self, record: DataKeyRecord) -> KeyContext:
        """Return what a row's root is bound to here."""
        return self._loader.context(record)

    def provider_of(self, kek: KekRef) -> KmsProvider:
        """Return the provider of a KEK that this cell may use.

        Raises:
            WrongRegion, KeyNotFound, InvalidRequest: as `KeyLoader.check_kek`.
        """
        self.check_kek(kek)
        return self.provider(kek.provider)

    async def unwrap(self, records: Sequence[DataKeyRecord]) -> list[Secret | StrongroomError]:
        """Unwrap registry rows: see `KeyLoader.unwrap`."""
        return await self._loader.unwrap(records)

    def checked(self, record: DataKeyRecord, answer: Secret | StrongroomError) -> Secret | StrongroomError:
        """Hold an unwrapped root against its registry row: see `KeyLoader.checked`."""
        return self._loader.checked(record, answer)

    async def aclose(self) -> None:
        """Forget all keys, and tell the registry how much they sealed."""
        loading = list(self._loading.values())
        self._cache.clear()
        self._loading.clear()
        for task in loading:
            task.cancel()
        await asyncio.gather(*loading, return_exceptions=True)
        await self._leases.report()

    def _tell(self, kept: _Kept | None, watch: KeyWatch) -> None:
        if kept is None:
            watch.looked_up("miss")
            return
        kept.used_at = self._clock()
        watch.looked_up("hit" if kept.used_at < kept.fresh_until else "aged")

    async def _aged(self, namespace_id: UUID, kept: _Kept) -> NamespaceKeys:
        """Return what may still be used of keys that are due to be unwrapped anew, and see to that."""
        due = self._clock() >= kept.ask_at
        if not kept.keys.incomplete and self._usable(kept, self.policy.encrypt_ttl):
            if due and namespace_id not in self._loading:
                self._start(namespace_id, self._load_in_turn(namespace_id))
            return kept.keys
        if due or namespace_id in self._loading:
            try:
                return await self._load_once(namespace_id)
            except StrongroomError:
                if self._cache.get(namespace_id) is not kept:
                    raise  # evicted, or the registry says something else now
        if self._usable(kept, self.policy.encrypt_ttl):
            return kept.keys
        failure = kept.failure or KmsUnavailable()
        if not self._usable(kept, self.policy.decrypt_ttl):
            self._drop(namespace_id, kept)
            raise copy(failure)
        if kept.opening_only is None:
            kept.opening_only = kept.keys.opening_only(failure)
        return kept.opening_only

    def _usable(self, kept: _Kept, ttl: float) -> bool:
        return self._clock() < min(kept.unwrapped_at + ttl, kept.confirmed_at + self.policy.encrypt_ttl)

    async def _load_once(self, namespace_id: UUID) -> NamespaceKeys:
        """Unwrap a namespace's keys, or wait for who does already."""
        task = self._loading.get(namespace_id) or self._start(namespace_id, self._load(namespace_id))
        # Shielded: a caller that gives up takes nothing from the others.
        return (await asyncio.shield(task)).keys

    def _start(self, namespace_id: UUID, load: Coroutine[None, None, _Kept]) -> asyncio.Task[_Kept]:
        task = asyncio.create_task(load)
        self._loading[namespace_id] = task
        task.add_done_callback(lambda done: self._loaded(namespace_id, done))
        return task

    def _loaded(self, namespace_id: UUID, task: asyncio.Task[_Kept]) -> None:
        failed = task.cancelled() or task.exception() is not None
        if self._loading.get(namespace_id) is not task:
            return  # evicted meanwhile: what it read may be old, so it is not kept
        del self._loading[namespace_id]
        if failed:
            return
        self._cache[namespace_id] = task.result()
        self._cache.move_to_end(namespace_id)
        while len(self._cache) > self.policy.max_namespaces:
            self._cache.popitem(last=False)

    async def _load_in_turn(self, namespace_id: UUID) -> _Kept:
        async with self._refreshing:
            return await self._load(namespace_id)

    async def _load(self, namespace_id: UUID) -> _Kept:
        kept = self._cache.get(namespace_id)
        asked_at = self._clock()
        try:
            records = tuple(await self.store.list_data_keys(namespace_id))
            if kept is not None and records != kept.records:
                self._drop(namespace_id, kept)
                kept = None
            if kept is not None:
                kept.confirmed_at = asked_at
            keys = await self._loader.load(namespace_id, records)
        except StrongroomError as error:
            if kept is not None:
                kept.failure, kept.ask_at = error, self._clock() + self.policy.retry_pause
            raise
        with suppress(StrongroomError):
            await self._leases.report(namespace_id)
        # Namespaces that were unwrapped together, after a restart, are not all due together.
        soft_ttl = self.policy.soft_ttl * random.uniform(0.9, 1.0)  # noqa: S311 - nothing secret
        fresh_until = asked_at + (self.policy.failure_ttl if keys.incomplete else soft_ttl)
        return _Kept(keys, records, asked_at, confirmed_at=asked_at, fresh_until=fresh_until, used_at=asked_at)

    def _drop(self, namespace_id: UUID, kept: _Kept) -> None:
        if self._cache.get(namespace_id) is kept:
            del self._cache[namespace_id]
