"""Make, rotate and destroy the data keys of a namespace (DESIGN.md, "Life of a key")."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

from . import derivation
from .data_keys import DataKeyRecord, KeyClass, KeyContext, KeyState
from .errors import KeyDestroyed, KeyNotFound, UnsupportedOperation
from .header import Suite
from .provider import KekRef

if TYPE_CHECKING:
    from collections.abc import Sequence
    from uuid import UUID

    from .keyring import Keyring


async def create_data_keys(
    keyring: Keyring, namespace_id: UUID, kek: KekRef, *, suite: Suite = Suite.XAES_256_GCM
) -> None:
    """Draw, wrap and register the first key of each class for a namespace.

    Raises:
        KeyConflict: it has keys.
        KmsError: the KEK does not exist, or its KMS refuses.
    """
    records = [
        await _new_key(keyring, KeyContext(keyring.cell_id, namespace_id, key_class, 1), kek, suite)
        for key_class in KeyClass
    ]
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
    context = KeyContext(keyring.cell_id, namespace_id, KeyClass.DATA, version)
    kek = KekRef(current.provider, current.kek_id)
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
        msg = "rotating the index key needs every document's tokens made anew, which this version does not do yet"
        raise UnsupportedOperation(msg)
    if key_class is KeyClass.IDENTITY:
        msg = "the identity key is fixed for the life of a namespace: row identifiers are made with it"
        raise UnsupportedOperation(msg)


async def destroy_data_keys(keyring: Keyring, namespace_id: UUID) -> Sequence[DataKeyRecord]:
    """Forget every wrapped root of a namespace, for good: what they sealed opens for nobody who kept no copy.

    Returns:
        The tombstones.
    """
    tombstones = await keyring.store.destroy_data_keys(namespace_id, destroyed_at=datetime.now(UTC))
    keyring.evict(namespace_id)
    return tombstones


async def _new_key(keyring: Keyring, context: KeyContext, kek: KekRef, suite: Suite) -> DataKeyRecord:
    provider = keyring.provider(kek.provider)
    generated = await provider.generate_data_key(kek, context=context.encryption_context())
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
    )


def _active(records: Sequence[DataKeyRecord]) -> DataKeyRecord:
    for record in records:
        if record.state is KeyState.ACTIVE:
            return record
    if records and all(record.state is KeyState.DESTROYED for record in records):
        raise KeyDestroyed
    msg = "the namespace has no active data key"
    raise KeyNotFound(msg)
