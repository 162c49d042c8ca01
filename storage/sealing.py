"""Seal the rows of several requests as one batch, column by column."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, TypeAlias, TypeVar

from strongroom.kms import KeyNotFound

if TYPE_CHECKING:
    from collections.abc import Callable
    from uuid import UUID

    from strongroom.kms import Key, Keyring, NamespaceKeys, RecordKind

T = TypeVar("T")
_Slot: TypeAlias = tuple[list[bytes | None], int]

OFF_LOOP_BYTES = 256 * 2**10
"""From here on sealing or opening would hold up the event loop for a millisecond or more, and goes to a thread (which lets others run
meanwhile: `kms/sealing/python_cipher.py`, "turns")."""


ROW_BYTES = 512
"""A row takes as long as so many of its bytes, besides those that it has."""


class SealedColumns:
    """Collects plaintexts, each with the column that its sealed value belongs to; then seals all of a namespace's in one batch."""

    __slots__ = ("_groups", "_size")

    def __init__(self) -> None:
        self._groups: dict[NamespaceKeys, dict[RecordKind, tuple[list[tuple[Key, bytes]], list[_Slot]]]] = {}
        self._size = 0

    def add(
        self, column: list[bytes | None], keys: NamespaceKeys, kind: RecordKind, key: Key, plaintext: bytes
    ) -> None:
        """Append a place to `column`, for the sealed value of a plaintext."""
        kinds = self._groups.get(keys)
        if kinds is None:
            kinds = self._groups[keys] = {}
        group = kinds.get(kind)
        if group is None:
            group = kinds[kind] = ([], [])
        group[0].append((key, plaintext))
        group[1].append((column, len(column)))
        column.append(None)
        self._size += len(plaintext) + ROW_BYTES

    async def seal(self) -> None:
        """Put the sealed values into their places.

        Raises:
            KmsError: a namespace has no active key.
            SealingLimitExceeded: see `NamespaceKeys.seal_many`.
        """
        if self._size >= OFF_LOOP_BYTES:
            await asyncio.to_thread(self._seal)
        else:
            self._seal()

    def _seal(self) -> None:
        for keys, kinds in self._groups.items():
            sealed = keys.seal_groups([(kind, (), rows) for kind, (rows, _) in kinds.items()])
            for values, (_, slots) in zip(sealed, kinds.values(), strict=True):
                for value, (column, index) in zip(values, slots, strict=True):
                    column[index] = value


async def open_rows(
    keyring: Keyring,
    namespace_id: UUID,
    size: int,
    use: Callable[[NamespaceKeys], T],
    *,
    keys: NamespaceKeys | None = None,
) -> T:
    """Open rows with a namespace's keys, in a thread when they are of many bytes; see `Keyring.with_keys`."""
    if size < OFF_LOOP_BYTES:
        return await keyring.with_keys(namespace_id, use, keys=keys)
    keys = keys or await keyring.open(namespace_id)  # the thread only opens; a key that is missing is fetched out here
    try:
        return await asyncio.to_thread(use, keys)
    except KeyNotFound:
        return await keyring.with_keys(namespace_id, use)
