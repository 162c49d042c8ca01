"""The sums of a shard: the images of all rows that its entries added and did not remove, and the entries that are in them."""

from __future__ import annotations

import struct
from dataclasses import dataclass, field
from typing import TYPE_CHECKING
from uuid import UUID

from strongroom.storage.multiset import EMPTY, SUM_BYTES, pack, unpack

if TYPE_CHECKING:
    from collections.abc import Mapping

_HEAD = struct.Struct(">BI")
_SUM = struct.Struct(f">B{SUM_BYTES}s")
_WRITER = struct.Struct(">16sQ")


@dataclass(slots=True)
class ShardSums:
    """The sums of a shard.

    Attributes:
        number: A number that rises by one with each folding; 0 for a shard that was never folded.
        sums: The sum of the live rows' images, by table.
        writers: The number of the last entry of each writer that is in the sums.
    """

    number: int = 0
    sums: dict[int, int] = field(default_factory=dict)
    writers: dict[UUID, int] = field(default_factory=dict)

    def pack(self) -> bytes:
        """Return the sums as bytes (kms/FORMAT.md section 9). The number is in the key of the sealed value."""
        parts = [_HEAD.pack(len(self.sums), len(self.writers))]
        parts += [_SUM.pack(table, pack(total)) for table, total in sorted(self.sums.items())]
        parts += [_WRITER.pack(writer.bytes, number) for writer, number in self.writers.items()]
        return b"".join(parts)

    @classmethod
    def unpack(cls, number: int, packed: bytes) -> ShardSums:
        """Return the sums of bytes that were opened."""
        tables, writers = _HEAD.unpack_from(packed)
        at = _HEAD.size
        sums: dict[int, int] = {}
        for table, total in _SUM.iter_unpack(packed[at : at + tables * _SUM.size]):
            sums[table] = unpack(total)
        at += tables * _SUM.size
        places = {UUID(bytes=writer): last for writer, last in _WRITER.iter_unpack(packed[at:])}
        assert len(places) == writers  # noqa: S101 - our own encoding, which was authenticated
        return cls(number, sums, places)


def differing(one: Mapping[int, int], other: Mapping[int, int]) -> list[int]:
    """Return the tables whose sums differ."""
    return sorted(table for table in one.keys() | other.keys() if one.get(table, EMPTY) != other.get(table, EMPTY))
