"""The registry of data keys in PostgreSQL: `strongroom.kms.DataKeyStore`."""

from __future__ import annotations

from dataclasses import replace
from itertools import chain
from typing import TYPE_CHECKING
from uuid import UUID

from strongroom.kms import DataKeyRecord, KekUsage, KeyClass, KeyConflict, KeyState
from strongroom.kms.commits import not_counted
from strongroom.kms.keys.leases import SUITE_1_LIMIT, UNLIMITED
from strongroom.storage.engine.queries import load_queries
from strongroom.storage.engine.row_level_security import EVERY_NAMESPACE

from .registry_changes import (
    claim_kek,
    destroy_keys,
    disable_keys,
    enable_keys,
    insert_keys,
    lock_kek,
    notify_keys,
    retire_key,
    tombstone,
)
from .registry_rows import record_of, unverified_keys
from .shared_statements import SharedKeyStatements

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from datetime import timedelta

    from strongroom.kms import KekRef, Keyring, Wrapped
    from strongroom.storage.engine.connection import Connection
    from strongroom.storage.engine.database import Database

    from .registry_heads import RegistryHeads

_FIRST = (UUID(int=0), "", 0)
_SQL = load_queries("keys/store")


class PostgresDataKeyStore:
    """The key registry in PostgreSQL. `strongroom.kms.DataKeyStore` has the arguments and errors of each operation.

    Every method also raises `StorageError` if the database does not answer, and `RegistryAltered` if the registry was changed outside
    of Strongroom.

    Attributes:
        heads: The heads, which authenticate the registry.

    Args:
        database: The database of the registry.
        heads: See the attribute.
    """

    def __init__(self, database: Database, heads: RegistryHeads) -> None:
        self._database = database
        self.heads = heads
        self._shared = SharedKeyStatements(database, heads)

    async def list_data_keys(self, namespace_id: UUID) -> Sequence[DataKeyRecord]:
        """Return all keys of a namespace, including destroyed ones, in the order of class and version.

        Concurrent calls share a statement.
        """
        return await self._shared.keys(namespace_id)

    async def list_unverified(self, namespace_id: UUID) -> Sequence[DataKeyRecord]:
        """Return all keys of a namespace without the check of their head."""
        async with self._database.connection(namespace_id) as connection:
            return await unverified_keys(connection, [namespace_id])

    async def rotate_data_key(self, successor: DataKeyRecord, *, expected_active: int) -> DataKeyRecord:
        """Register a new key as the active one of its class, and return it as it is registered.

        Raises:
            KeyConflict: Another version is active, or the new version exists.
            KeyPendingDeletion: Its KEK is being deleted.
        """
        namespace_id, key_class = successor.namespace_id, successor.key_class
        async with self.heads.change(self._database, namespace_id, [namespace_id]) as change:
            await retire_key(change, namespace_id, key_class, expected_active)
            (registered,) = await insert_keys(change, [successor])
            await notify_keys(change.connection, namespace_id)
        return registered

    async def activate_data_key(
        self, namespace_id: UUID, key_class: KeyClass, version: int, *, expected_active: int
    ) -> None:
        """Make a pending key the active one of its class.

        Raises:
            KeyConflict: Another version is active, or the key is not pending.
        """
        async with self.heads.change(self._database, namespace_id, [namespace_id]) as change:
            await retire_key(change, namespace_id, key_class, expected_active)
            registry = change.of(namespace_id)
            pending = registry.get(key_class, version, KeyState.PENDING)
            if not await change.connection.fetch(_SQL["activate"], namespace_id, key_class.value, version):
                raise KeyConflict
            registry.put(replace(pending, state=KeyState.ACTIVE))
            await notify_keys(change.connection, namespace_id)

    async def destroy_data_key(self, namespace_id: UUID, key_class: KeyClass, version: int) -> None:
        """Delete one wrapped root; its row stays as a tombstone.

        Raises:
            KeyConflict: The version is not retired (`decrypt_only`).
        """
        async with self.heads.change(self._database, namespace_id, [namespace_id]) as change:
            registry = change.of(namespace_id)
            retired = registry.get(key_class, version, KeyState.DECRYPT_ONLY)
            rows = await change.connection.fetch(_SQL["destroy_one"], namespace_id, key_class.value, version)
            if not rows:
                raise KeyConflict
            registry.put(tombstone(retired, rows[0]["destroyed_at"]))
            await notify_keys(change.connection, namespace_id)

    async def destroy_data_keys(self, namespace_id: UUID) -> Sequence[DataKeyRecord]:
        """Delete every wrapped root of a namespace; return the rows, which stay as tombstones."""
        async with self.heads.change(self._database, namespace_id, [namespace_id]) as change:
            return await destroy_keys(change, namespace_id, destroyed_at=None)

    async def disable_data_keys(self, namespace_id: UUID) -> None:
        """Disable every key of a namespace, and store its state."""
        async with self.heads.change(self._database, namespace_id, [namespace_id]) as change:
            await disable_keys(change, namespace_id)

    async def enable_data_keys(self, namespace_id: UUID) -> None:
        """Restore the states of the keys that were disabled together."""
        async with self.heads.change(self._database, namespace_id, [namespace_id]) as change:
            await enable_keys(change, namespace_id)

    async def insert_data_keys(self, records: Iterable[DataKeyRecord]) -> Sequence[DataKeyRecord]:
        """Register new keys, all or none, and return them as they are registered.

        Raises:
            KeyConflict: A version exists.
            KeyPendingDeletion: A KEK is being deleted.
        """
        records = list(records)
        namespaces = sorted({record.namespace_id for record in records})
        async with self.heads.change(self._database, EVERY_NAMESPACE, namespaces) as change:
            registered = await insert_keys(change, records)
            for namespace_id in namespaces:
                await notify_keys(change.connection, namespace_id)
        return registered

    async def lease_records(self, namespace_id: UUID, version: int, *, count: int, limit: int) -> bool:
        """Reserve `count` uses of a key of suite 1; return False if that would exceed `limit`.

        The head of the namespace authenticates the number. Reports of suite 2, which have no limit, only count. Concurrent calls of
        either kind share statements.
        """
        with not_counted():
            if limit >= UNLIMITED:
                return await self._shared.lease(namespace_id, version, count=count, limit=limit)
            return await self._shared.reserve(namespace_id, version, count=count, limit=limit)

    async def list_kek_usage(self) -> Sequence[KekUsage]:
        """Return how many keys each version of each KEK wraps. It reads and checks the whole registry."""
        await self.heads.key()  # before the connection is taken, because it may need the same one
        used: dict[tuple[str, str, str], list[UUID]] = {}
        async with self._database.connection(EVERY_NAMESPACE) as connection:
            for record in await self._wrapped_keys(connection):
                kek = (record.provider, record.kek_id, record.kek_version)
                used.setdefault(kek, []).append(record.namespace_id)
        return [KekUsage(*kek, keys=len(by), namespaces=len(set(by))) for kek, by in sorted(used.items())]

    async def count_wrapped(self, kek: KekRef, *, except_version: str | None, namespace_id: UUID | None) -> int:
        """Return the number of keys on all pages of `list_wrapped`."""
        async with self._database.connection(EVERY_NAMESPACE) as connection:
            place = (kek.provider, kek.key_id, except_version, namespace_id)
            row = await connection.fetchrow(_SQL["count_wrapped"], *place)
        return int(row["keys"]) if row is not None else 0

    async def list_wrapped(
        self,
        kek: KekRef,
        *,
        except_version: str | None,
        namespace_id: UUID | None,
        after: DataKeyRecord | None,
        limit: int,
    ) -> Sequence[DataKeyRecord]:
        """Return a page of the keys that a KEK wrapped."""
        place = _FIRST if after is None else (after.namespace_id, after.key_class.value, after.version)
        async with self._database.connection(EVERY_NAMESPACE) as connection:
            rows = await connection.fetch(
                _SQL["wrapped"], kek.provider, kek.key_id, except_version, namespace_id, *place, limit
            )
        return [record_of(row) for row in rows]

    async def rewrap_data_keys(self, rewrapped: Sequence[tuple[DataKeyRecord, Wrapped]]) -> int:
        """Replace wrapped roots by new wrapped forms, unless they changed since they were read; return the number replaced.

        Raises:
            KeyPendingDeletion: A KEK is being deleted.
            KeyConflict: The rows changed although their heads are locked.
        """
        if not rewrapped:
            return 0
        namespaces = {record.namespace_id for record, _ in rewrapped}
        async with self.heads.change(self._database, EVERY_NAMESPACE, namespaces) as change:
            connection = change.connection
            for provider, kek_id in sorted({(wrapped.kek.provider, wrapped.kek.key_id) for _, wrapped in rewrapped}):
                await claim_kek(connection, provider, kek_id)
            columns = []
            for record, wrapped in rewrapped:
                if record.namespace_id in change.altered:
                    continue  # this namespace must not stop the others; a load of its keys names the error
                registry = change.of(record.namespace_id)
                current = registry.keys.get((record.key_class, record.version))
                if current is None or current.wrapped is None or current.wrapped != record.wrapped:
                    continue
                kek = wrapped.kek
                registry.put(
                    replace(
                        current,
                        provider=kek.provider,
                        kek_id=kek.key_id,
                        kek_version=wrapped.kek_version,
                        wrapped=wrapped.ciphertext,
                    )
                )
                place = (record.namespace_id, record.key_class.value, record.version, record.wrapped)
                columns.append((*place, kek.provider, kek.key_id, wrapped.kek_version, wrapped.ciphertext))
            if not columns:
                return 0
            if len(await connection.fetch(_SQL["rewrap"], *map(list, zip(*columns, strict=True)))) != len(columns):
                raise KeyConflict
        return len(columns)

    async def list_due(self, *, max_age: timedelta, rows: int, rows_suite_1: int) -> Sequence[UUID]:
        """Return the namespaces whose active data key is old, or has sealed many rows."""
        async with self._database.connection(EVERY_NAMESPACE) as connection:
            found = await connection.fetch(_SQL["due"], max_age, rows, rows_suite_1)
        return [UUID(bytes=row["namespace_id"].bytes) for row in found]

    async def nonce_use(self) -> float | None:
        """Return how much of its limit the most used active key of suite 1 has spent, from 0 to 1; None without such a key."""
        async with self._database.connection(EVERY_NAMESPACE) as connection:
            row = await connection.fetchrow(_SQL["nonce_use"])
        leased = row["leased"] if row is not None else None
        return None if leased is None else leased / SUITE_1_LIMIT

    async def retire_kek(self, cell_id: UUID, kek: KekRef) -> None:
        """Refuse new keys under a KEK from now on, because it will be deleted.

        Raises:
            KeyConflict: It wraps a key that is not destroyed.
            RegistryAltered: The registry was changed outside of Strongroom, so nobody knows what it wraps.
        """
        await self.heads.key()  # before the connection is taken
        async with self._database.transaction(EVERY_NAMESPACE) as connection:
            await lock_kek(connection, kek.provider, kek.key_id)
            wrapped = await self._wrapped_keys(connection)
            if any((record.provider, record.kek_id) == (kek.provider, kek.key_id) for record in wrapped):
                raise KeyConflict
            await connection.execute(_SQL["retire_kek"], cell_id, kek.provider, kek.key_id)

    async def keep_kek(self, cell_id: UUID, kek: KekRef) -> None:
        """Undo `retire_kek`."""
        async with self._database.connection(EVERY_NAMESPACE) as connection:
            await connection.execute(_SQL["keep_kek"], cell_id, kek.provider, kek.key_id)

    async def _wrapped_keys(self, connection: Connection) -> list[DataKeyRecord]:
        """Return all keys of the cell that are not destroyed, after checking the whole registry."""
        everything = await self.heads.all_keys(connection)
        return [key for key in chain.from_iterable(everything.values()) if key.state is not KeyState.DESTROYED]


def heads_of(keyring: Keyring) -> RegistryHeads:
    """Return the heads of the registry that a keyring reads."""
    store = keyring.store
    assert isinstance(store, PostgresDataKeyStore)  # noqa: S101 - the only store of a cell
    return store.heads


async def providers_in_use(database: Database) -> set[str]:
    """Return the ids of the providers that wrap at least one key. The heads are not checked."""
    async with database.connection(EVERY_NAMESPACE) as connection:
        return {row["provider"] for row in await connection.fetch(_SQL["providers"])}
