"""Create, rotate, disable and destroy the data keys of a namespace (DESIGN.md, "Life of a key")."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from strongroom.kms.commits import commits_several_times
from strongroom.kms.errors import KeyConflict, KeyDestroyed, KeyNotFound, RegistryAltered, UnsupportedOperation
from strongroom.kms.key_events import KeyEvent, recording_change
from strongroom.kms.keys import derivation
from strongroom.kms.keys.identity_keys import IdentityKeys
from strongroom.kms.keys.registry import UNREGISTERED, DataKeyRecord, KeyClass, KeyContext, KeyState
from strongroom.kms.provider import KekRef
from strongroom.kms.sealing.header import Suite

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from uuid import UUID

    from strongroom.kms.keyring.keyring import Keyring
    from strongroom.kms.secret import Secret


@commits_several_times
async def create_data_keys(
    keyring: Keyring,
    namespace_id: UUID,
    kek: KekRef,
    *,
    suite: Suite = Suite.XAES_256_GCM,
    index_layout: str = "",
    mark_layout: Callable[[str, IdentityKeys], str] | None = None,
) -> None:
    """Generate, wrap and register the first key of each class for a namespace.

    Args:
        keyring: The cell's keyring.
        namespace_id: The namespace.
        kek: The KEK that wraps the keys.
        suite: The suite of the data key.
        index_layout: The layout of the documents of the first epoch.
        mark_layout: Function that adds to the layout what is made with the namespace's identity keys; None to add nothing.

    Raises:
        KeyConflict: The namespace has keys already.
        KmsError: The KEK does not exist, or its KMS refuses or does not answer.
    """

    async def root(key_class: KeyClass, layout: str = "") -> tuple[DataKeyRecord, Secret]:
        return await _new_root(keyring, _context(keyring, namespace_id, key_class, 1, layout), kek, suite)

    event = KeyEvent("key.create", provider=kek.provider, kek_id=kek.key_id, namespace_id=namespace_id)
    async with recording_change(keyring.key_events, event):
        made = [await root(KeyClass.DATA), identity := await root(KeyClass.IDENTITY)]
        layout = index_layout if mark_layout is None else mark_layout(index_layout, IdentityKeys(identity[1]))
        made.append(await root(KeyClass.INDEX, layout))
        if namespace_id == keyring.cell_id:  # the registry begins with these keys
            keyring.registry.begin(identity[1])
        try:
            await keyring.store.insert_data_keys([key for key, _ in made])
        except BaseException as error:
            if namespace_id == keyring.cell_id:
                keyring.registry.begin(None)
                if isinstance(error, RegistryAltered):  # another process began the registry with its own keys
                    raise KeyConflict from None
            raise


@commits_several_times
async def rotate_data_key(keyring: Keyring, namespace_id: UUID, *, suite: Suite | None = None) -> DataKeyRecord:
    """Make a new version of the data key active. Older versions still open what they sealed.

    Other processes use the new version after their keyring's soft TTL, or earlier if they read a row that it sealed.

    Args:
        keyring: The cell's keyring.
        namespace_id: The namespace.
        suite: The suite of the new version. None keeps the suite of the active version.

    Returns:
        The new row of the registry.

    Raises:
        KeyConflict: Another caller rotated the key at the same time.
        KeyDestroyed: The namespace was shredded.
        KmsError: The KMS refuses or does not answer.
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
        registered = await keyring.store.rotate_data_key(successor, expected_active=current.version)
    keyring.evict(namespace_id)
    return registered


def refuse_rotation(key_class: KeyClass) -> None:
    """Raise an error if a class of keys can't be rotated without rewriting rows or documents.

    Raises:
        UnsupportedOperation: The class is not `data`.
    """
    if key_class is KeyClass.INDEX:
        msg = "an index key can't be rotated alone, because every document needs new tokens. Run 'strongroom index rotate NAMESPACE'"
        raise UnsupportedOperation(msg)
    if key_class is KeyClass.IDENTITY:
        msg = "the identity key of a namespace can't be rotated, because the identifiers of its rows depend on it"
        raise UnsupportedOperation(msg)


@commits_several_times
async def begin_index_rotation(keyring: Keyring, namespace_id: UUID, *, layout: str) -> DataKeyRecord:
    """Register the next epoch of the index in state `pending`. Searches then include its tokens, which no document has yet.

    Args:
        keyring: The cell's keyring.
        namespace_id: The namespace.
        layout: The layout of the documents of the new epoch.

    Returns:
        The new row of the registry.

    Raises:
        KeyConflict: A rotation of the index is already running, or another caller began one at the same time.
        KeyDestroyed: The namespace was shredded.
        KmsError: The KMS refuses or does not answer.
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
        (registered,) = await keyring.store.insert_data_keys([successor])
    keyring.evict(namespace_id)
    return registered


@commits_several_times
async def activate_index_key(keyring: Keyring, namespace_id: UUID, version: int) -> None:
    """Make a pending epoch active, so that new documents are written in it. Every process must have read the epoch already.

    Raises:
        KeyConflict: The epoch is not pending.
    """
    current = _active(await index_keys(keyring, namespace_id))
    event = _event("key.activate", _context(keyring, namespace_id, KeyClass.INDEX, version))
    async with recording_change(keyring.key_events, event):
        await keyring.store.activate_data_key(namespace_id, KeyClass.INDEX, version, expected_active=current.version)
    keyring.evict(namespace_id)


async def destroy_index_key(keyring: Keyring, namespace_id: UUID, version: int) -> None:
    """Destroy the root of an epoch. The caller must have proved that no document has tokens of it.

    Raises:
        KeyConflict: The epoch is active or already destroyed.
    """
    await _destroy(keyring, namespace_id, KeyClass.INDEX, version)


async def destroy_data_key(keyring: Keyring, namespace_id: UUID, version: int) -> None:
    """Destroy the root of an old version of the data key. The caller must have proved that no value names it.

    Raises:
        KeyConflict: The version is active or already destroyed.
    """
    await _destroy(keyring, namespace_id, KeyClass.DATA, version)


async def index_keys(keyring: Keyring, namespace_id: UUID) -> list[DataKeyRecord]:
    """Return a namespace's rows of class index, the oldest epoch first."""
    return [record for record in await keyring.store.list_data_keys(namespace_id) if record.key_class is KeyClass.INDEX]


async def disable_data_keys(keyring: Keyring, namespace_id: UUID) -> None:
    """Disable all keys of a namespace. Nothing is sealed or opened until `enable_data_keys`, and nothing is lost."""
    await keyring.store.disable_data_keys(namespace_id)
    keyring.evict(namespace_id)


async def enable_data_keys(keyring: Keyring, namespace_id: UUID) -> None:
    """Undo `disable_data_keys` by restoring the state of each key."""
    await keyring.store.enable_data_keys(namespace_id)
    keyring.evict(namespace_id)


@commits_several_times
async def destroy_data_keys(keyring: Keyring, namespace_id: UUID) -> Sequence[DataKeyRecord]:
    """Destroy every wrapped root of a namespace. Without an older copy of the registry, nobody can open what the keys sealed.

    Returns:
        The tombstones.
    """
    async with recording_change(keyring.key_events, KeyEvent("namespace.shred", namespace_id=namespace_id)):
        tombstones = await keyring.store.destroy_data_keys(namespace_id)
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


@commits_several_times
async def _destroy(keyring: Keyring, namespace_id: UUID, key_class: KeyClass, version: int) -> None:
    event = _event("key.destroy", _context(keyring, namespace_id, key_class, version))
    async with recording_change(keyring.key_events, event):
        await keyring.store.destroy_data_key(namespace_id, key_class, version)
    keyring.evict(namespace_id)


async def _new_key(keyring: Keyring, context: KeyContext, kek: KekRef, suite: Suite) -> DataKeyRecord:
    key, _ = await _new_root(keyring, context, kek, suite)
    return key


async def _new_root(keyring: Keyring, context: KeyContext, kek: KekRef, suite: Suite) -> tuple[DataKeyRecord, Secret]:
    generated = await keyring.provider_of(kek).generate_data_key(kek, context=context.encryption_context())
    keyring.check_kek(generated.wrapped.kek)  # an alias may name a KEK in another region
    key = DataKeyRecord(
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
        created_at=UNREGISTERED,
        layout=context.layout,
    )
    return key, generated.root


def _active(records: Sequence[DataKeyRecord]) -> DataKeyRecord:
    for record in records:
        if record.state is KeyState.ACTIVE:
            return record
    if records and all(record.state is KeyState.DESTROYED for record in records):
        raise KeyDestroyed
    msg = "the namespace has no active key of this class"
    raise KeyNotFound(msg)
