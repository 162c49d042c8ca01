"""Open rows on the event loop or in a thread, by their size."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, TypeVar

from strongroom.kms import IntegrityError, KeyNotFound, KeyringFileError, KmsError, UnsupportedFormat

from .errors import DataLoss

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from uuid import UUID

    from strongroom.kms import Keyring, NamespaceKeys, RecordKey, RecordKind, StrongroomError

T = TypeVar("T")

OFF_LOOP_BYTES = 256 * 2**10
"""From this size, sealing or opening would block the event loop for a millisecond or more. It is done in a thread, which lets other
threads run between records (`kms/sealing/python_cipher.py`, "turns")."""

UNAVAILABLE = (KmsError, KeyringFileError)
"""Errors of keys that are not available. The row itself may be intact."""
UNREADABLE = (*UNAVAILABLE, IntegrityError, UnsupportedFormat, DataLoss)
"""If opening a row raises one of these errors, a list has the error in the row's place, and goes on."""

ROW_BYTES = 512
"""The fixed cost of a row, in addition to its value: it takes as long as this many bytes."""


async def open_rows(
    keyring: Keyring,
    namespace_id: UUID,
    size: int,
    use: Callable[[NamespaceKeys], T],
    *,
    keys: NamespaceKeys | None = None,
) -> T:
    """Open rows with a namespace's keys; see `Keyring.with_keys`.

    Args:
        keyring: The unwrapped keys.
        namespace_id: The namespace of the rows.
        size: The bytes of all sealed values. From `OFF_LOOP_BYTES` on they are opened in a thread.
        use: Opens the rows with the keys, and returns the result. It may be called twice.
        keys: The namespace's keys, if the caller has them.

    Raises:
        IntegrityError: A row does not open.
        KmsError: The keys are not available.
    """
    if size < OFF_LOOP_BYTES:
        return await keyring.with_keys(namespace_id, use, keys=keys)
    keys = keys or await keyring.open(namespace_id)
    try:
        return await asyncio.to_thread(use, keys)
    except KeyNotFound:  # a key version that these keys do not have yet is loaded on the event loop
        return await keyring.with_keys(namespace_id, use)


async def open_each(
    keyring: Keyring, namespace_id: UUID, kind: RecordKind, scope: RecordKey, rows: Sequence[tuple[RecordKey, bytes]]
) -> Sequence[bytes | StrongroomError]:
    """Open rows of one kind. A row that does not open hides no other one.

    Args:
        keyring: The unwrapped keys.
        namespace_id: The namespace of the rows.
        kind: The record kind.
        scope: The parts of the sealed values' keys that all rows have in common.
        rows: The other parts of each key, and the sealed value.

    Returns:
        For each row its plaintext, or the error of opening it: one of `UNREADABLE`.
    """
    size = sum(len(sealed) for _, sealed in rows)
    try:
        return await open_rows(keyring, namespace_id, size, lambda keys: keys.open_many(kind, rows, scope=scope))
    except UNREADABLE as error:
        if len(rows) == 1:
            return [error]
    try:
        keys = await keyring.open(namespace_id)
    except UNREADABLE as error:
        return [error] * len(rows)
    return [_open_one(keys, kind, (*scope, *key), sealed) for key, sealed in rows]


def _open_one(keys: NamespaceKeys, kind: RecordKind, key: RecordKey, sealed: bytes) -> bytes | StrongroomError:
    try:
        return keys.open(kind, key, sealed)
    except UNREADABLE as error:
        return error
