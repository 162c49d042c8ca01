"""Make, rotate, disable and destroy the data keys of a namespace (DESIGN.md, "Life of a key")."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from strongroom.kms.errors import KeyConflict, KeyDestroyed, KeyNotFound, UnsupportedOperation
from strongroom.kms.key_events import KeyEvent, recording_change
from strongroom.kms.keys import derivation
from strongroom.kms.keys.registry import DataKeyRecord, KeyClass, KeyContext, KeyState
from strongroom.kms.provider import KekRef
from strongroom.kms.sealing.header import Suite

if TYPE_CHECKING:
    from collections.abc import Sequence
    from uuid import UUID

    from strongroom.kms.keyring.keyring import Keyring


async def create_data_keys(
    keyring: Keyring,
    namespace_id: UUID,
    kek: KekRef,
    *,
    suite: Suite = Suite.XAES_256_GCM,
    index_layout: str = "",
) -> None:
    """Draw, wrap and register the first key of each class for a namespace.

    Args:
        keyring: to wrap and register with.
        namespace_id: whose keys.
        kek: that wraps them.
        suite: of the data key.
        index_layout: what documents of the first epoch of the index hold.

    Raises:
        KeyConflict: it has keys.
        KmsError: the KEK does not exist, or its KMS refuses.
    """
    layouts = {KeyClass.INDEX: index_layout}
    contexts = (_context(keyring, namespace_id, key_class, 1, layouts.get(key_class, "")) for key_class in KeyClass)
    event = KeyEvent("key.create", provider=kek.provider, kek_id=kek.key_id, namespace_id=namespace_id)
    async with recording_change(keyring.key_events, event):
        records = [await _new_key(keyring, context, kek, suite) for context in contexts]
        await keyring.store.insert_data_keys(records)


async def rotate_data_key(keyring: Keyring, namespace_id: UUID, *, suite: Suite | None = None) -> DataKeyRecord:
    """Make a new version of the data key the active one; older versions go on opening what they sealed.

    Args:
        keyring: of this process; other processes take the new version up within the keyring's TTL, and sooner when
            they meet a row that it sealed.
        namespace_id: whose key.
        suite: of the new version; the current one's if None.

    Returns:
        The new registry row.

    Raises:
        KeyConflict: somebody else rotated at the same time.
        KeyDestroyed: the namespace was shredded.
    """
    records = [
        record for record in await keyring.store.list_data_keys(namespace_id) if record.key_class is KeyClass.DATA
    ]
    current = _active(records)
    version = max(record.version for record in records) + 1
    context = _context(keyring, namespace_id, KeyClass.DATA, version)
    kek = KekRef(current.provider, current.kek_id)
    async with recording_change(keyring.key_events, _event("key.rotate", context, kek)):
        successor = await _new_key(keyring, context, kek, suite or current.suite)
        await keyring.store.rotate_data_key(successor, expected_active=current.version)
    keyring.evict(namespace_id)
    return successor


def refuse_rotation(key_class: KeyClass) -> None:
    """Refuse to rotate a class whose rows would have to be written anew.

    Raises:
        UnsupportedOperation: for every class but `data`.
    """
    if key_class is KeyClass.INDEX:
        msg = "a new index key needs every document's tokens made anew: strongroom index rotate NAMESPACE"
        raise UnsupportedOperation(msg)
    if key_class is KeyClass.IDENTITY:
        msg = "the identity key is fixed for the life of a namespace: row identifiers are made with it"
        raise UnsupportedOperation(msg)


async def begin_index_rotation(keyring: Keyring, namespace_id: UUID, *, layout: str) -> DataKeyRecord:
    """Register the next epoch of the index, pending: searches ask for its tokens, and no document has them yet.

    Returns:
        The new registry row.

    Raises:
        KeyConflict: an epoch is under way already, or somebody else began one at the same time.
        KeyDestroyed: the namespace was shredded.
    """
    records = await index_keys(keyring, namespace_id)
    current = _active(records)
    if any(record.state not in (KeyState.ACTIVE, KeyState.DESTROYED) for record in records):
        raise KeyConflict
    version = max(record.version for record in records) + 1
    context = _context(keyring, namespace_id, KeyClass.INDEX, version, layout)
    kek = KekRef(current.provider, current.kek_id)
    async with recording_change(keyring.key_events, _event("key.create", context, kek)):
        successor = replace(await _new_key(keyring, context, kek, current.suite), state=KeyState.PENDING)
        await keyring.store.insert_data_keys([successor])
    keyring.evict(namespace_id)
    return successor


async def activate_index_key(keyring: Keyring, namespace_id: UUID, version: int) -> None:
    """Make a pending epoch the one that documents are written in. All processes must know it by now.

    Raises:
        KeyConflict: it is not pending (any more).
    """
    current = _active(await index_keys(keyring, namespace_id))
    event = _event("key.activate", _context(keyring, namespace_id, KeyClass.INDEX, version))
    async with recording_change(keyring.key_events, event):
        await keyring.store.activate_data_key(namespace_id, KeyClass.INDEX, version, expected_active=current.version)
    keyring.evict(namespace_id)


async def destroy_index_key(keyring: Keyring, namespace_id: UUID, version: int) -> None:
    """Forget the root of an epoch that no document has any more, for good.

    Raises:
        KeyConflict: it is the active one, or was destroyed meanwhile.
    """
    await _destroy(keyring, namespace_id, KeyClass.INDEX, version)


async def destroy_data_key(keyring: Keyring, namespace_id: UUID, version: int) -> None:
    """Forget the root of a retired version of the data key, for good. Its caller must have proved that no value names it.

    Raises:
        KeyConflict: it is the active one, or was destroyed meanwhile.
    """
    await _destroy(keyring, namespace_id, KeyClass.DATA, version)


async def index_keys(keyring: Keyring, namespace_id: UUID) -> list[DataKeyRecord]:
    """Return the registry's rows of a namespace's epochs, the oldest first."""
    return [record for record in await keyring.store.list_data_keys(namespace_id) if record.key_class is KeyClass.INDEX]


async def disable_data_keys(keyring: Keyring, namespace_id: UUID) -> None:
    """Take all keys of a namespace out of use: nothing is sealed or opened until `enable_data_keys`, and nothing is lost."""
    await keyring.store.disable_data_keys(namespace_id)
    keyring.evict(namespace_id)


async def enable_data_keys(keyring: Keyring, namespace_id: UUID) -> None:
    """Undo `disable_data_keys`: each key has the state that it had."""
    await keyring.store.enable_data_keys(namespace_id)
    keyring.evict(namespace_id)


async def destroy_data_keys(keyring: Keyring, namespace_id: UUID) -> Sequence[DataKeyRecord]:
    """Forget every wrapped root of a namespace, for good: what they sealed opens for nobody who kept no copy.

    Returns:
        The tombstones.
    """
    async with recording_change(keyring.key_events, KeyEvent("namespace.shred", namespace_id=namespace_id)):
        tombstones = await keyring.store.destroy_data_keys(namespace_id, destroyed_at=datetime.now(UTC))
    keyring.evict(namespace_id)
    return tombstones


def _context(keyring: Keyring, namespace_id: UUID, key_class: KeyClass, version: int, layout: str = "") -> KeyContext:
    return KeyContext(keyring.cell_id, namespace_id, key_class, version, layout, keyring.region)


def _event(operation: str, context: KeyContext, kek: KekRef | None = None) -> KeyEvent:
    return KeyEvent(
        operation,
        provider=kek.provider if kek else None,
        kek_id=kek.key_id if kek else None,
        namespace_id=context.namespace_id,
        key_class=context.key_class.value,
        version=context.version,
    )


async def _destroy(keyring: Keyring, namespace_id: UUID, key_class: KeyClass, version: int) -> None:
    event = _event("key.destroy", _context(keyring, namespace_id, key_class, version))
    async with recording_change(keyring.key_events, event):
        await keyring.store.destroy_data_key(namespace_id, key_class, version, destroyed_at=datetime.now(UTC))
    keyring.evict(namespace_id)


async def _new_key(keyring: Keyring, context: KeyContext, kek: KekRef, suite: Suite) -> DataKeyRecord:
    generated = await keyring.provider_of(kek).generate_data_key(kek, context=context.encryption_context())
    keyring.check_kek(generated.wrapped.kek)  # what an alias stood for
    return DataKeyRecord(
        namespace_id=context.namespace_id,
        key_class=context.key_class,
        version=context.version,
        suite=suite,
        state=KeyState.ACTIVE,
        provider=kek.provider,
        kek_id=kek.key_id,
        kek_version=generated.wrapped.kek_version,
        wrapped=generated.wrapped.ciphertext,
        commitment=derivation.commitment(generated.root, context, suite),
        created_at=datetime.now(UTC),
        layout=context.layout,
    )


def _active(records: Sequence[DataKeyRecord]) -> DataKeyRecord:
    for record in records:
        if record.state is KeyState.ACTIVE:
            return record
    if records and all(record.state is KeyState.DESTROYED for record in records):
        raise KeyDestroyed
    msg = "the namespace has no active key of this class"
    raise KeyNotFound(msg)
