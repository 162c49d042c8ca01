"""Seal the values of several requests as one batch."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, TypeAlias

from .sealing import OFF_LOOP_BYTES, ROW_BYTES

if TYPE_CHECKING:
    from strongroom.kms import NamespaceKeys, RecordKey, RecordKind

Column: TypeAlias = list[bytes | None]
"""A column of sealed values; None where the row has no value, or is not sealed yet."""
_Slot: TypeAlias = tuple[Column, int]


class ColumnSealer:
    """Collects plaintexts and seals those of each namespace as one batch. Each value goes to its own place in its column."""

    __slots__ = ("_groups", "_size")

    def __init__(self) -> None:
        self._groups: dict[NamespaceKeys, dict[RecordKind, tuple[list[tuple[RecordKey, bytes]], list[_Slot]]]] = {}
        self._size = 0

    def add(self, column: Column, keys: NamespaceKeys, kind: RecordKind, key: RecordKey, plaintext: bytes) -> None:
        """Append an empty place to a column. `seal` later fills it with the sealed plaintext.

        Args:
            column: The column.
            keys: The namespace's keys.
            kind: The record kind.
            key: The parts of the row's key that the value is bound to.
            plaintext: The value to seal.
        """
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
        """Seal all values and put them into their places.

        Raises:
            KmsError: A namespace has no active key.
            SealingLimitExceeded: A value or a batch is too large; see `NamespaceKeys.seal_many`.
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
