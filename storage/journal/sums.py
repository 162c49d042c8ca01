"""The sums of a shard: the images of all rows that its entries added and did not remove, and the entries that are in them."""

from __future__ import annotations

import struct
from dataclasses import dataclass, field
from hashlib import sha256
from typing import TYPE_CHECKING
from uuid import UUID

from strongroom.storage.multiset import EMPTY, SUM_BYTES, pack, unpack

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

_HEAD = struct.Struct(">BI")
_SUM = struct.Struct(f">B{SUM_BYTES}s")
_WRITER = struct.Struct(">16sQ")
PACKED_BYTES = _SUM.size
"""The bytes of one packed sum."""
ACCEPTANCE = 2**32
"""An acceptance raises the number of the sums to the next multiple of this. So the number, divided by this and rounded down, counts
acceptances."""


@dataclass(slots=True)
class ShardSums:
    """The sums of a shard.

    Attributes:
        number: A number that rises by one with each folding, and to the next multiple of `ACCEPTANCE` with each acceptance. It is 0
            for a shard that was never folded.
        sums: The sum of the live rows' images, by table.
        writers: The number of the last entry of each writer that is in the sums.
    """

    number: int = 0
    sums: dict[int, int] = field(default_factory=dict)
    writers: dict[UUID, int] = field(default_factory=dict)

    def pack(self) -> bytes:
        """Return the sums as bytes (kms/FORMAT.md section 9). The number is in the key of the sealed value."""
        parts = [_HEAD.pack(len(self.sums), len(self.writers)), pack_sums(self.sums)]
        parts += [_WRITER.pack(writer.bytes, number) for writer, number in self.writers.items()]
        return b"".join(parts)

    @classmethod
    def unpack(cls, number: int, packed: bytes) -> ShardSums:
        """Return the sums of bytes that were opened."""
        tables, writers = _HEAD.unpack_from(packed)
        at = _HEAD.size
        end = at + tables * PACKED_BYTES
        sums, at = dict(unpack_sums(packed[at:end])), end
        places = {UUID(bytes=writer): last for writer, last in _WRITER.iter_unpack(packed[at:])}
        assert len(places) == writers  # noqa: S101 - our own encoding, which was authenticated
        return cls(number, sums, places)


def pack_sums(sums: Mapping[int, int]) -> bytes:
    """Return sums as bytes: for each the number of the table, then the sum, in ascending order of the tables."""
    return b"".join([_SUM.pack(table, pack(total)) for table, total in sorted(sums.items())])


def unpack_sums(packed: bytes) -> Iterator[tuple[int, int]]:
    """Return the table and the sum of each of the sums that were packed."""
    return ((table, unpack(total)) for table, total in _SUM.iter_unpack(packed))


def digest_of(sums: Mapping[int, int]) -> bytes:
    """Return a digest of sums, which shows nothing of them."""
    return sha256(pack_sums(sums)).digest()


def differing(one: Mapping[int, int], other: Mapping[int, int]) -> list[int]:
    """Return the tables whose sums differ."""
    return sorted(table for table in one.keys() | other.keys() if one.get(table, EMPTY) != other.get(table, EMPTY))
