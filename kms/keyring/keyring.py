"""The keyring: a cache of unwrapped keys by namespace (DESIGN.md, "The cache"). `ageing.py` decides how keys of an age are used."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from contextlib import suppress
from copy import copy
from typing import TYPE_CHECKING, TypeVar
from uuid import UUID

from strongroom.kms.errors import KeyNotFound, KmsUnavailable, StrongroomError
from strongroom.kms.key_events import NO_KEY_EVENTS
from strongroom.kms.keys.leases import Leases
from strongroom.kms.region import check_region

from .ageing import Action, Load, jitter, new_age, next_action
from .cache_policy import CachePolicy
from .cached_keys import CachedKeys
from .elapsed import elapsed
from .failed_loads import FailedLoads
from .loader import KeyLoader
from .registry_access import RegistryAccess

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Coroutine, Mapping, Sequence

    from strongroom.kms.key_events import KeyEventSink
    from strongroom.kms.keys.namespace_keys import NamespaceKeys
    from strongroom.kms.keys.registry import DataKeyRecord, DataKeyStore, KeyContext
    from strongroom.kms.provider import KekRef, KmsProvider
    from strongroom.kms.secret import Secret
    from strongroom.kms.watch import KeyWatch

    T = TypeVar("T")


class Keyring:
    """A bounded, expiring cache of unwrapped keys. A cache miss costs one KMS call, however many callers wait for it.

    Args:
        cell_id: The id of the cell. It is in the context of every key and the associated data of every row.
        providers: The KMS providers, by the ids that the registry uses.
        store: The registry of data keys.
        region: The region to which the cell is bound. None binds it to no region, so that any KEK may be used.
        kek_regions: Names of that region in the KMSs. None means the same name.
        commitment: The commitment of the identity root that is accepted as the cell's own; None accepts the registry's.
        policy: The limits of the cache.
        key_events: The recorder of key changes.
        watch: The receiver of reports on batches and cache look-ups. None reports nothing.
        clock: Returns monotonic seconds, which count the time in which the machine was suspended.
        leases: The leases of suite 1. None makes leases of the usual size.
    """

    def __init__(  # noqa: PLR0913 - the parts of a cell
        self,
        *,
        cell_id: UUID,
        providers: Mapping[str, KmsProvider],
        store: DataKeyStore,
        region: str | None = None,
        kek_regions: Collection[str] | None = None,
        commitment: bytes | None = None,
        policy: CachePolicy | None = None,
        key_events: KeyEventSink = NO_KEY_EVENTS,
        watch: KeyWatch | None = None,
        clock: Callable[[], float] = elapsed,
        leases: Leases | None = None,
    ) -> None:
        self.cell_id = cell_id
        self.region = region if region is None else check_region(region)
        self.providers = providers
        self.store = store
        self.policy = policy or CachePolicy()
        self.key_events = key_events
        self._watch = watch
        self._clock = clock
        self._leases = leases or Leases(store)
        self._loader = KeyLoader(
            cell_id=cell_id,
            providers=providers,
            leases=self._leases,
            region=region,
            kek_regions=(region,) if region is not None and kek_regions is None else kek_regions or (),
            commitment=commitment,
            watch=watch,
        )
        self.registry = RegistryAccess(cell_id, store, self._loader)
        self._cache: OrderedDict[UUID, CachedKeys] = OrderedDict()
        self._loading: dict[UUID, asyncio.Task[CachedKeys]] = {}
        self._running: set[asyncio.Task[CachedKeys]] = set()  # also the loads of evicted namespaces
        self._doubted_at = float("-inf")
        self._failed = FailedLoads(self.policy, clock)
        self._refreshing = asyncio.Semaphore(self.policy.refreshes)

    async def open(self, namespace_id: UUID) -> NamespaceKeys:
        """Return the unwrapped keys of a namespace. Use them for one request only.

        Raises:
            KeyNotFound: The registry has no keys of this namespace.
            KmsError: The KMS does not answer now, and the cached keys are too old.
            KeyringFileError: The local provider's file can't be used.
        """
        cached = self._cache.get(namespace_id)
        if self._watch is not None:
            self._report_look_up(cached, self._watch)
        if cached is None:
            self._failed.check(namespace_id)
            keys = await self._load_once(namespace_id)
        else:
            self._cache.move_to_end(namespace_id)
            is_fresh = self._clock() < cached.age.fresh_until
            keys = cached.keys if is_fresh else await self._open_aged(namespace_id, cached)
        if keys.leased_version is not None:
            await self._leases.extend(namespace_id, keys.leased_version)
        return keys

    def kept(self, namespace_id: UUID) -> NamespaceKeys | None:
        """Return a namespace's keys if they are cached and fresh, else None. Don't seal with them; call `open` for that."""
        cached = self._cache.get(namespace_id)
        return cached.keys if cached is not None and self._clock() < cached.age.fresh_until else None

    async def with_keys(
        self, namespace_id: UUID, use: Callable[[NamespaceKeys], T], *, keys: NamespaceKeys | None = None
    ) -> T:
        """Call `use` with a namespace's keys. Call it again if another process has registered a new version since they were loaded.

        A row with a version that the registry does not have costs one read of the registry, and no KMS call.

        Args:
            namespace_id: The namespace.
            use: Opens rows.
            keys: The keys that `open` returned earlier in this request, if it was called.

        Raises:
            KeyNotFound, KmsError, KeyringFileError: As `open`.
        """
        keys = keys or await self.open(namespace_id)
        try:
            return use(keys)
        except KeyNotFound:
            if keys.has_versions_of(await self.store.list_data_keys(namespace_id)):
                raise
        self.evict(namespace_id)
        return use(await self.open(namespace_id))

    def evict(self, namespace_id: UUID) -> None:
        """Remove a namespace's keys from the cache. The next call reads the registry again."""
        self._cache.pop(namespace_id, None)
        self._failed.forget(namespace_id)
        self._loading.pop(namespace_id, None)  # callers that wait for the load get its result, which is not cached

    def ages(self) -> list[float]:
        """Return the seconds since the KMS was asked, for each namespace that was used within `soft_ttl`; none without a watch."""
        now = self._clock()
        return [
            now - cached.age.unwrapped_at
            for cached in list(self._cache.values())
            if now - cached.used_at < self.policy.soft_ttl
        ]

    def doubt(self) -> None:
        """Read the registry again at the next use of each namespace: a notification may have been lost. Unchanged keys are kept."""
        self._doubted_at = self._clock()
        for cached in self._cache.values():
            cached.age.fresh_until = self._doubted_at

    def provider(self, provider_id: str) -> KmsProvider:
        """Return a provider by its id. See `KeyLoader.provider`."""
        return self._loader.provider(provider_id)

    def check_kek(self, kek: KekRef) -> None:
        """Raise an error if a KEK is not in the cell's region. See `KeyLoader.check_kek`."""
        self._loader.check_kek(kek)

    def context(self, record: DataKeyRecord) -> KeyContext:
        """Return the context to which a row's root is bound in this cell."""
        return self._loader.context(record)

    def provider_of(self, kek: KekRef) -> KmsProvider:
        """Return the provider of a KEK that this cell may use.

        Raises:
            WrongRegion, KeyNotFound, InvalidRequest: As `KeyLoader.check_kek`.
        """
        self.check_kek(kek)
        return self.provider(kek.provider)

    async def unwrap(self, records: Sequence[DataKeyRecord]) -> list[Secret | StrongroomError]:
        """Unwrap rows of the registry. See `KeyLoader.unwrap`."""
        return await self._loader.unwrap(records)

    def checked(self, record: DataKeyRecord, answer: Secret | StrongroomError) -> Secret | StrongroomError:
        """Compare an unwrapped root with its row's commitment. See `KeyLoader.checked`."""
        return self._loader.checked(record, answer)

    async def aclose(self) -> None:
        """Remove all keys from the cache, and report to the registry how many rows they sealed."""
        self._cache.clear()
        self._loading.clear()
        for task in self._running:
            task.cancel()
        await asyncio.gather(*self._running, return_exceptions=True)
        await self._leases.report()

    def _report_look_up(self, cached: CachedKeys | None, watch: KeyWatch) -> None:
        if cached is None:
            watch.looked_up("miss")
            return
        cached.used_at = self._clock()
        watch.looked_up("hit" if cached.used_at < cached.age.fresh_until else "aged")

    async def _open_aged(self, namespace_id: UUID, cached: CachedKeys) -> NamespaceKeys:
        load = Load.RUNNING if namespace_id in self._loading else Load.NONE
        action = next_action(cached.age, self.policy, now=self._clock(), load=load)
        failure = cached.failure
        if action is Action.LOAD:
            try:
                return await self._load_once(namespace_id)
            except StrongroomError as error:
                failure = error
            is_cached = self._cache.get(namespace_id) is cached
            action = next_action(cached.age, self.policy, now=self._clock(), load=Load.FAILED, is_cached=is_cached)
        if action is Action.REFRESH:
            self._start(namespace_id, self._refresh(namespace_id))
        if action in (Action.USE, Action.REFRESH):
            return cached.keys
        failure = failure or KmsUnavailable()
        if action is Action.REFUSE:
            self._drop(namespace_id, cached)
            raise copy(failure)
        if cached.opening_only is None:
            cached.opening_only = cached.keys.opening_only(failure)
        return cached.opening_only

    async def _load_once(self, namespace_id: UUID) -> NamespaceKeys:
        """Unwrap a namespace's keys, or wait for the task that is unwrapping them."""
        if not isinstance(namespace_id, UUID):  # it would be looked up in one statement with those of other callers
            raise KeyNotFound
        task = self._loading.get(namespace_id) or self._start(namespace_id, self._load(namespace_id))
        # Shielded, so that a cancelled caller does not cancel the task for the others.
        return (await asyncio.shield(task)).keys

    def _start(self, namespace_id: UUID, load: Coroutine[None, None, CachedKeys]) -> asyncio.Task[CachedKeys]:
        task = self._loading[namespace_id] = asyncio.create_task(load)
        self._running.add(task)
        task.add_done_callback(lambda done: self._loaded(namespace_id, done))
        return task

    def _loaded(self, namespace_id: UUID, task: asyncio.Task[CachedKeys]) -> None:
        self._running.discard(task)
        failure = None if task.cancelled() else task.exception()
        if self._loading.get(namespace_id) is not task:
            return  # the namespace was evicted during the load, so the result may be stale
        del self._loading[namespace_id]
        self._failed.note(namespace_id, failure)
        if failure is not None or task.cancelled():
            return
        cached = self._cache[namespace_id] = task.result()
        cached.age.doubted(self._doubted_at)  # during the load, perhaps
        self._cache.move_to_end(namespace_id)
        while len(self._cache) > self.policy.max_namespaces:
            self._cache.popitem(last=False)

    async def _refresh(self, namespace_id: UUID) -> CachedKeys:
        async with self._refreshing:
            return await self._load(namespace_id)

    async def _load(self, namespace_id: UUID) -> CachedKeys:
        cached = self._cache.get(namespace_id)
        asked_at = self._clock()
        try:
            records = tuple(await self.store.list_data_keys(namespace_id))
            if cached is not None and records != cached.records:
                self._drop(namespace_id, cached)
                cached = None
            if cached is not None and cached.confirm(asked_at):
                return cached
            roots = await self._loader.unwrap_all(namespace_id, records)
            errors = {position: root for position, root in enumerate(roots) if isinstance(root, StrongroomError)}
            if cached is not None and (lost := cached.new_errors(errors)):
                if not any(error.is_refusal for error in lost):
                    raise lost[0]  # an outage, whatever its cause: the cached keys are used until their hard TTLs
                self._drop(namespace_id, cached)  # even if another KEK's KMS does not answer now
                cached = None
            keys = self._loader.keys(namespace_id, records, roots)
        except StrongroomError as error:
            if cached is not None:
                cached.failure, cached.age.retry_at = error, self._clock() + self.policy.retry_pause
            raise
        with suppress(StrongroomError):
            await self._leases.report(namespace_id)
        factor = jitter(len(self._cache) + len(self._loading), is_first=cached is None)
        age = new_age(self.policy, asked_at=asked_at, incomplete=keys.incomplete, jitter=factor)
        return CachedKeys(keys, records, errors, age, used_at=asked_at)

    def _drop(self, namespace_id: UUID, cached: CachedKeys) -> None:
        if self._cache.get(namespace_id) is cached:
            del self._cache[namespace_id]
