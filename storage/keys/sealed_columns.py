"""The sealed columns of all tables, with the keys that their values are bound to."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from strongroom.kms import PartType
from strongroom.storage.schema.tables import TABLES

if TYPE_CHECKING:
    from collections.abc import Sequence

    from strongroom.kms import RecordKey, RecordKind
    from strongroom.storage.engine.connection import Row
    from strongroom.storage.schema.table import Table

_ID_BYTES = 16


@dataclass(frozen=True, slots=True)
class SealedColumn:
    """A sealed column.

    Attributes:
        table: Its table.
        name: Its name in the table.
        kind: The record kind of its values.
        parts: The columns that give the parts of the value's key, in the kind's order.
    """

    table: Table
    name: str
    kind: RecordKind
    parts: tuple[str, ...]

    def __str__(self) -> str:
        return f"{self.table.name}.{self.name}"

    def keys_of(self, rows: Sequence[Row]) -> list[RecordKey]:
        """Return the keys that the values of rows are bound to. They are built column by column, which is fastest."""
        parts = [
            _parts(kind, [row[name] for row in rows]) for kind, name in zip(self.kind.key, self.parts, strict=True)
        ]
        return list(zip(*parts, strict=True))


def _parts(kind: PartType, values: list[Any]) -> list[int] | list[bytes] | list[str]:
    if kind is PartType.INT64:
        return list(map(int, values))  # a boolean is 0 or 1
    if kind is PartType.ID:
        # UUIDs, or tokens. An item of execution_maps that is a number has 8 bytes.
        return [v.rjust(_ID_BYTES, b"\x00") if isinstance(v, bytes) else v.bytes for v in values]
    return values


def sealed_columns() -> tuple[SealedColumn, ...]:
    """Return the sealed columns of all tables."""
    return tuple(SealedColumn(table, *sealed) for table in TABLES for sealed in table.sealed)
