"""The registry of data keys in PostgreSQL: `strongroom.kms.DataKeyStore`."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING
from uuid import UUID

from strongroom.kms import DataKeyRecord, KekUsage, KeyClass, KeyConflict, KeyPendingDeletion
from strongroom.kms.commits import not_counted
from strongroom.kms.keys.leases import SUITE_1_LIMIT
from strongroom.storage.engine.queries import load_queries
from strongroom.storage.engine.row_level_security import EVERY_NAMESPACE

from .shared_statements import SharedKeyStatements, record_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from datetime import datetime, timedelta

    from strongroom.kms import KekRef, Wrapped
    from strongroom.storage.engine.connection import Connection
    from strongroom.storage.engine.database import Database

KEY_CHANNEL = "strongroom_keys"
"""The notification channel for key changes. The payload is the namespace's id; `changes.py` listens to it."""
_FIRST = (UUID(int=0), "", 0)
_SQL = load_queries("keys/store")


class PostgresDataKeyStore:
    """The key registry in PostgreSQL. `strongroom.kms.DataKeyStore` has the arguments and errors of each operation.

    Every method also raises `StorageError` if the database does not answer.

    Args:
        database: The database of the registry.
    """

    def __init__(self, database: Database) -> None:
        self._database = database
        self._shared = SharedKeyStatements(database)

    async def list_data_keys(self, namespace_id: UUID) -> Sequence[DataKeyRecord]:
        """Return all keys of a namespace, including destroyed ones, in the order of class and version.

        Concurrent calls share a statement.
        """
        return await self._shared.keys(namespace_id)

    async def rotate_data_key(self, successor: DataKeyRecord, *, expected_active: int) -> DataKeyRecord:
        """Register a new key as the active one of its class, and return it as it is registered.

        Raises:
            KeyConflict: Another version is active, or the new version exists.
            KeyPendingDeletion: Its KEK is being deleted.
        """
        async with self._database.transaction(successor.namespace_id) as connection:
            key_class = successor.key_class.value
            if not await connection.fetch(_SQL["retire"], successor.namespace_id, key_class, expected_active):
                raise KeyConflict
            (registered,) = await _insert(connection, [successor])
            await notify_keys(connection, successor.namespace_id)
        return registered

    async def activate_data_key(
        self, namespace_id: UUID, key_class: KeyClass, version: int, *, expected_active: int
    ) -> None:
        """Make a pending key the active one of its class.

        Raises:
            KeyConflict: Another version is active, or the key is not pending.
        """
        async with self._database.transaction(namespace_id) as connection:
            place = (namespace_id, key_class.value)
            if not await connection.fetch(_SQL["retire"], *place, expected_active):
                raise KeyConflict
            if not await connection.fetch(_SQL["activate"], *place, version):
                raise KeyConflict
            await notify_keys(connection, namespace_id)

    async def destroy_data_key(self, namespace_id: UUID, key_class: KeyClass, version: int) -> None:
        """Delete one wrapped root; its row stays as a tombstone.

        Raises:
            KeyConflict: The version is not retired (`decrypt_only`).
        """
        async with self._database.transaction(namespace_id) as connection:
            if not await connection.fetch(_SQL["destroy_one"], namespace_id, key_class.value, version):
                raise KeyConflict
            await notify_keys(connection, namespace_id)

    async def destroy_data_keys(self, namespace_id: UUID) -> Sequence[DataKeyRecord]:
        """Delete every wrapped root of a namespace; return the rows, which stay as tombstones."""
        async with self._database.transaction(namespace_id) as connection:
            return await destroy_keys(connection, namespace_id, destroyed_at=None)

    async def disable_data_keys(self, namespace_id: UUID) -> None:
        """Disable every key of a namespace, and store its state."""
        async with self._database.transaction(namespace_id) as connection:
            await disable_keys(connection, namespace_id)

    async def enable_data_keys(self, namespace_id: UUID) -> None:
        """Restore the states of the keys that were disabled together."""
        async with self._database.transaction(namespace_id) as connection:
            await enable_keys(connection, namespace_id)

    async def insert_data_keys(self, records: Iterable[DataKeyRecord]) -> Sequence[DataKeyRecord]:
        """Register new keys, all or none, and return them as they are registered.

        Raises:
            KeyConflict: A version exists.
            KeyPendingDeletion: A KEK is being deleted.
        """
        async with self._database.transaction(EVERY_NAMESPACE) as connection:
            registered = await _insert(connection, records)
            for namespace_id in sorted({record.namespace_id for record in registered}):
                await notify_keys(connection, namespace_id)
        return registered

    async def providers_in_use(self) -> set[str]:
        """Return the ids of the providers that wrap at least one key."""
        async with self._database.connection(EVERY_NAMESPACE) as connection:
            return {row["provider"] for row in await connection.fetch(_SQL["providers"])}

    async def lease_records(self, namespace_id: UUID, version: int, *, count: int, limit: int) -> bool:
        """Reserve `count` uses of a key of suite 1; return False if that would exceed `limit`. Concurrent calls share a statement."""
        with not_counted():
            return await self._shared.lease(namespace_id, version, count=count, limit=limit)

    async def list_kek_usage(self) -> Sequence[KekUsage]:
        """Return how many keys each version of each KEK wraps."""
        async with self._database.connection(EVERY_NAMESPACE) as connection:
            return [KekUsage(**row) for row in await connection.fetch(_SQL["usage"])]

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
        """
        columns = zip(
            *(
                (
                    record.namespace_id,
                    record.key_class.value,
                    record.version,
                    record.wrapped,
                    wrapped.kek.provider,
                    wrapped.kek.key_id,
                    wrapped.kek_version,
                    wrapped.ciphertext,
                )
                for record, wrapped in rewrapped
            ),
            strict=True,
        )
        if not rewrapped:
            return 0
        async with self._database.transaction(EVERY_NAMESPACE) as connection:
            for provider, kek_id in sorted({(wrapped.kek.provider, wrapped.kek.key_id) for _, wrapped in rewrapped}):
                await claim_kek(connection, provider, kek_id)
            return len(await connection.fetch(_SQL["rewrap"], *map(list, columns)))

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
        """
        async with self._database.transaction(EVERY_NAMESPACE) as connection:
            await lock_kek(connection, kek.provider, kek.key_id)
            if await connection.fetch(_SQL["used_kek"], kek.provider, kek.key_id):
                raise KeyConflict
            await connection.execute(_SQL["retire_kek"], cell_id, kek.provider, kek.key_id)

    async def keep_kek(self, cell_id: UUID, kek: KekRef) -> None:
        """Undo `retire_kek`."""
        async with self._database.connection(EVERY_NAMESPACE) as connection:
            await connection.execute(_SQL["keep_kek"], cell_id, kek.provider, kek.key_id)


async def notify_keys(connection: Connection, namespace_id: UUID) -> None:
    """Notify every process to evict a namespace's keys, once the caller's transaction is committed."""
    await connection.execute(_SQL["notify"], KEY_CHANNEL, str(namespace_id))


async def disable_keys(connection: Connection, namespace_id: UUID) -> None:
    """Disable every key of a namespace in the caller's transaction."""
    await connection.execute(_SQL["disable"], namespace_id)
    await notify_keys(connection, namespace_id)


async def withdraw_keys(connection: Connection, namespace_id: UUID) -> None:
    """Disable every key of a deleted namespace, in the caller's transaction. `enable_keys` restores them."""
    await connection.execute(_SQL["withdraw"], namespace_id)
    await disable_keys(connection, namespace_id)


async def enable_keys(connection: Connection, namespace_id: UUID) -> None:
    """Restore the states of the keys that were disabled together, in the caller's transaction."""
    await connection.execute(_SQL["enable"], namespace_id)
    await notify_keys(connection, namespace_id)


async def destroy_keys(
    connection: Connection, namespace_id: UUID, *, destroyed_at: datetime | None
) -> list[DataKeyRecord]:
    """Delete every wrapped root of a namespace in the caller's transaction; return the tombstones. None is the server's time."""
    await connection.execute(_SQL["destroy"], namespace_id, destroyed_at)
    await notify_keys(connection, namespace_id)
    return [record_of(row) for row in await connection.fetch(_SQL["list"], [namespace_id])]


async def lock_kek(connection: Connection, provider: str, kek_id: str) -> None:
    """Lock a KEK until the transaction ends, so that no key is registered under it and no shredding decides on it."""
    await connection.execute(_SQL["lock_kek"], provider, kek_id)


async def claim_kek(connection: Connection, provider: str, kek_id: str) -> None:
    """Keep a KEK from being deleted while this transaction registers keys under it.

    Raises:
        KeyPendingDeletion: It was deleted with a shredded namespace, or is being deleted.
    """
    await lock_kek(connection, provider, kek_id)
    if await connection.fetch(_SQL["deleted_kek"], provider, kek_id):
        msg = f"the KEK {provider}:{kek_id} is deleted with a namespace that was shredded; name another one"
        raise KeyPendingDeletion(msg)


async def _insert(connection: Connection, records: Iterable[DataKeyRecord]) -> list[DataKeyRecord]:
    """Register keys. The time of creation is that of the server, because keys of several hosts are compared by age."""
    registered, records = [], list(records)
    for provider, kek_id in sorted({(record.provider, record.kek_id) for record in records}):
        await claim_kek(connection, provider, kek_id)
    for record in records:
        inserted = await connection.fetch(
            _SQL["insert"],
            record.namespace_id,
            record.key_class.value,
            record.version,
            record.suite.value,
            record.state.value,
            record.provider,
            record.kek_id,
            record.kek_version,
            record.wrapped,
            record.commitment,
            record.layout,
        )
        if not inserted:
            raise KeyConflict
        registered.append(replace(record, created_at=inserted[0]["created_at"]))
    return registered
