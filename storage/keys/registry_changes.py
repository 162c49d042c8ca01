"""Changes of the registry in a transaction of the caller: the rows, and what the head must authenticate afterwards."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from strongroom.kms import DataKeyRecord, KeyClass, KeyConflict, KeyPendingDeletion, KeyState
from strongroom.storage.engine.queries import load_queries

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime
    from uuid import UUID

    from strongroom.storage.engine.connection import Connection

    from .registry_heads import RegistryChange

KEY_CHANNEL = "strongroom_keys"
"""The notification channel for key changes. The payload is the namespace's id; `changes.py` listens to it."""
_SQL = load_queries("keys/store")


async def notify_keys(connection: Connection, namespace_id: UUID) -> None:
    """Notify every process to evict a namespace's keys, once the caller's transaction is committed."""
    await connection.execute(_SQL["notify"], KEY_CHANNEL, str(namespace_id))


async def disable_keys(change: RegistryChange, namespace_id: UUID) -> None:
    """Disable every key of a namespace in the caller's transaction."""
    await change.connection.execute(_SQL["disable"], namespace_id)
    registry = change.of(namespace_id)
    for key in registry.records:
        if key.state not in (KeyState.DISABLED, KeyState.DESTROYED):
            registry.put(replace(key, state=KeyState.DISABLED, disabled_from=key.state))
    await notify_keys(change.connection, namespace_id)


async def withdraw_keys(change: RegistryChange, namespace_id: UUID) -> None:
    """Disable every key of a deleted namespace, in the caller's transaction. `enable_keys` restores them."""
    await change.connection.execute(_SQL["withdraw"], namespace_id)
    registry = change.of(namespace_id)
    for key in registry.records:
        if key.state is not KeyState.DESTROYED:
            registry.put(replace(key, withdrawn=True))
    await disable_keys(change, namespace_id)


async def enable_keys(change: RegistryChange, namespace_id: UUID) -> None:
    """Restore the states of the keys that were disabled together, in the caller's transaction."""
    await change.connection.execute(_SQL["enable"], namespace_id)
    registry = change.of(namespace_id)
    for key in registry.records:
        if key.disabled_from is not None or key.withdrawn:
            registry.put(replace(key, state=key.disabled_from or key.state, disabled_from=None, withdrawn=False))
    await notify_keys(change.connection, namespace_id)


async def destroy_keys(
    change: RegistryChange, namespace_id: UUID, *, destroyed_at: datetime | None
) -> list[DataKeyRecord]:
    """Delete every wrapped root of a namespace in the caller's transaction; return the tombstones. None is the server's time."""
    rows = await change.connection.fetch(_SQL["destroy"], namespace_id, destroyed_at)
    times = {(KeyClass(row["class"]), row["version"]): row["destroyed_at"] for row in rows}
    registry = change.of(namespace_id)
    for key in registry.records:
        if key.state is not KeyState.DESTROYED:
            if (key.key_class, key.version) not in times:
                raise KeyConflict
            registry.put(tombstone(key, times[key.key_class, key.version]))
    await notify_keys(change.connection, namespace_id)
    return registry.records


def tombstone(key: DataKeyRecord, destroyed_at: datetime) -> DataKeyRecord:
    """Return a key after its destruction."""
    return replace(key, state=KeyState.DESTROYED, wrapped=None, destroyed_at=destroyed_at, disabled_from=None)


async def retire_key(change: RegistryChange, namespace_id: UUID, key_class: KeyClass, version: int) -> None:
    """Make the active key of a class `decrypt_only`.

    Raises:
        KeyConflict: Another version is active.
    """
    registry = change.of(namespace_id)
    active = registry.get(key_class, version, KeyState.ACTIVE)
    if not await change.connection.fetch(_SQL["retire"], namespace_id, key_class.value, version):
        raise KeyConflict
    registry.put(replace(active, state=KeyState.DECRYPT_ONLY))


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


async def insert_keys(change: RegistryChange, records: Sequence[DataKeyRecord]) -> list[DataKeyRecord]:
    """Register keys. The time of creation is that of the server, because keys of several hosts are compared by age."""
    registered = []
    for provider, kek_id in sorted({(record.provider, record.kek_id) for record in records}):
        await claim_kek(change.connection, provider, kek_id)
    for record in records:
        registry = change.of(record.namespace_id)
        if (record.key_class, record.version) in registry.keys:
            raise KeyConflict
        inserted = await change.connection.fetch(
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
        registry.put(registered[-1])
    return registered
