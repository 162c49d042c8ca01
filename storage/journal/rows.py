"""Images of rows from Python values (kms/FORMAT.md section 7.7). `image_sql` makes the same bytes in the database."""

from __future__ import annotations

import struct
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final

from strongroom.storage.schema.table import NAMESPACE
from strongroom.storage.schema.tables import TABLES

from .images import CLEAR, NO_NAMESPACE_ID, NUMBERS, TAG_BYTES, tag

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from uuid import UUID

    from strongroom.storage.schema.table import Table

NO_TAG: Final = bytes(TAG_BYTES)
_PACK: Final[Mapping[str, Callable[[Any], bytes]]] = MappingProxyType(
    {
        "smallint": struct.Struct(">h").pack,
        "integer": struct.Struct(">i").pack,
        "bigint": struct.Struct(">q").pack,
        "uuid": lambda value: bytes(value.bytes),
        "boolean": struct.Struct("?").pack,
        "text": str.encode,
        "bytea": bytes,
    }
)


class RowImages:
    """Makes the images of one table's rows.

    Args:
        name: The table.
    """

    __slots__ = ("_clear", "_number", "_packers", "table")

    def __init__(self, name: str) -> None:
        self.table: Table = next(table for table in TABLES if table.name == name)
        self._number = bytes([NUMBERS[name]])
        columns = [(name, type_) for name, type_ in self.table.key if name not in {NAMESPACE, "shard_id"}]
        self._packers = [_PACK[type_] for _, type_ in columns]
        self._clear = [_PACK[type_] for _, type_ in CLEAR.get(name, ())]

    @property
    def number(self) -> int:
        """The number of the table."""
        return self._number[0]

    def key(self, *values: object) -> bytes:
        """Return the columns of a key after shard and namespace."""
        return b"".join([pack(value) for pack, value in zip(self._packers, values, strict=True)])

    def row(self, namespace_id: UUID | None, *key: object) -> bytes:
        """Return an image without its tags.

        Args:
            namespace_id: The namespace of the row; None in a table without the column.
            key: The other columns of the primary key except `shard_id`, in order.
        """
        return self._number + (NO_NAMESPACE_ID if namespace_id is None else namespace_id.bytes) + self.key(*key)

    def tags(self, *sealed: bytes | None, clear: tuple[object, ...] = ()) -> bytes:
        """Return the end of an image: clear columns that count, then the tag of each sealed value."""
        packed = [pack(value) for pack, value in zip(self._clear, clear, strict=True)]
        return b"".join([*packed, *[NO_TAG if value is None else tag(value) for value in sealed]])
