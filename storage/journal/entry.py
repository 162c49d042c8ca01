"""An entry of the journal: what a write adds, which rows it may replace or delete, and the outcomes of earlier entries."""

from __future__ import annotations

import struct
from dataclasses import dataclass, field
from hashlib import sha256
from types import MappingProxyType
from typing import TYPE_CHECKING, NamedTuple

from strongroom.kms import IntegrityError

from .sums import PACKED_BYTES

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

_NAMESPACE_BYTES = 16
DIGEST_BYTES = 16
_OWN_BYTES = 8
"""The bytes at the end of an image in which a row's new version differs from older ones. They are a part of its tag."""
_HEAD = struct.Struct(">QIIIBI")
_NUMBER_BYTES = 8
_DIGEST = struct.Struct(f">Q{DIGEST_BYTES}s")
_PART = struct.Struct(">BH")
_ROW, _RANGE, _OLDER = 1, 2, 3
NOTHING_REPLACED = b""
"""The digest of an entry that replaced no row."""
NO_DIGESTS: Mapping[int, bytes] = MappingProxyType({})


@dataclass(slots=True)
class Changes:
    """The rows of one shard that a write changes.

    Attributes:
        shard_id: The shard.
        images: The images of the rows that it adds, or that take the place of others.
        replaced: The images of the rows that it replaces or deletes, where the statement compares the stored row with them, or the
            transaction has locked the row before. The database names the key too in a purge, a resealing and a dead letter. A false
            key leaves a difference that verification finds.
        rows: Images without tags: the rows that it may replace or delete.
        older: Images without tags, each with the last 8 bytes of the image that the write adds for this row: the rows of which it may
            replace an older version.
        ranges: Ranges of a table that it may delete: the number of the table, then the first key, inclusive, and the last, exclusive,
            as the columns of the key after the namespace.
    """

    shard_id: int
    images: list[bytes] = field(default_factory=list)
    replaced: list[bytes] = field(default_factory=list)
    rows: list[bytes] = field(default_factory=list)
    older: list[bytes] = field(default_factory=list)
    ranges: list[tuple[int, bytes, bytes]] = field(default_factory=list)

    def add(self, row: bytes, tags: bytes) -> None:
        """Add a row: its image in two parts."""
        self.images.append(row + tags)

    def replace(self, row: bytes, old: bytes | None, new: bytes) -> None:
        """Add a row in place of an older version of it: the row's image without tags, and both tags. `old` is None for a new row."""
        if old is not None:
            self.replaced.append(row + old)
        self.images.append(row + new)

    def overwrite(self, row: bytes, tags: bytes) -> None:
        """Add a row: its image in two parts. It may replace an older version that only the statement knows."""
        self.older.append(row + tags[-_OWN_BYTES:])
        self.images.append(row + tags)

    def offer(self, row: bytes, tags: bytes) -> None:
        """Add a row: its image in two parts. If a condition leaves the row out, the statement lists this image as replaced."""
        self.rows.append(row)
        self.images.append(row + tags)

    def remove(self, row: bytes, tags: bytes) -> None:
        """Remove a row: its image in two parts. The tags may come from the database."""
        self.replaced.append(row + tags)


class Entry(NamedTuple):
    """An entry.

    Attributes:
        settled: All entries of the writer below this number were settled when the entry was made: committed, refused, or unknown. This
            entry, or a committed one, names each of them that was refused, is unknown, or replaced rows.
        refused: The numbers of entries that were not committed.
        unknown: The numbers of entries whose writer does not know.
        sums: The sums of the added images by table, without those of the rows that the writer knows to be replaced; packed
            (`sums.py`).
        rows: See `Changes`.
        ranges: See `Changes`.
        older: See `Changes`.
        digests: Numbers of committed entries that replaced rows, each with the digest of what it replaced.
    """

    settled: int
    refused: Sequence[int]
    unknown: Sequence[int]
    sums: bytes
    rows: Sequence[bytes] = ()
    ranges: Sequence[tuple[int, bytes, bytes]] = ()
    older: Sequence[bytes] = ()
    digests: Mapping[int, bytes] = NO_DIGESTS

    def pack(self) -> bytes:
        """Return the entry as bytes (kms/FORMAT.md section 9)."""
        return packed_entry(*self)

    @classmethod
    def unpack(cls, packed: bytes) -> Entry:
        """Return the entry of bytes that were opened."""
        settled, refused, unknown, digests, sums, allowed = _HEAD.unpack_from(packed)
        at = _HEAD.size
        numbers = struct.unpack_from(f">{refused + unknown}Q", packed, at)
        at += (refused + unknown) * _NUMBER_BYTES
        end = at + digests * _DIGEST.size
        confirmed = dict(_DIGEST.iter_unpack(packed[at:end]))
        at = end
        totals = packed[at : at + sums * PACKED_BYTES]
        at += len(totals)
        parts: dict[int, list[bytes]] = {_ROW: [], _RANGE: [], _OLDER: []}
        for _ in range(allowed):
            kind, length = _PART.unpack_from(packed, at)
            at += _PART.size
            parts[kind].append(packed[at : at + length])
            at += length
        ranges = [(part[0], *_halves(part[1:])) for part in parts[_RANGE]]
        outcomes = settled, numbers[:refused], numbers[refused:]
        return cls(*outcomes, totals, parts[_ROW], ranges, parts[_OLDER], confirmed)


def packed_entry(
    settled: int,
    refused: Sequence[int],
    unknown: Sequence[int],
    sums: bytes,
    rows: Sequence[bytes],
    ranges: Sequence[tuple[int, bytes, bytes]],
    older: Sequence[bytes],
    digests: Mapping[int, bytes],
) -> bytes:
    """Return an entry as bytes (kms/FORMAT.md section 9), given by the fields of `Entry`."""
    allowed = len(rows) + len(ranges) + len(older)
    packed = _HEAD.pack(settled, len(refused), len(unknown), len(digests), len(sums) // PACKED_BYTES, allowed)
    if refused or unknown:
        packed += struct.pack(f">{len(refused) + len(unknown)}Q", *refused, *unknown)
    if digests:
        packed += b"".join([_DIGEST.pack(*each) for each in digests.items()])
    packed += sums
    if not allowed:
        return packed
    parts = [packed]
    for row in rows:
        parts += (_PART.pack(_ROW, len(row)), row)
    for table, first, end in ranges:
        parts += (_PART.pack(_RANGE, 1 + len(first) + len(end)), bytes([table]), first, end)
    for row in older:
        parts += (_PART.pack(_OLDER, len(row)), row)
    return b"".join(parts)


def _halves(packed: bytes) -> tuple[bytes, bytes]:
    half = len(packed) // 2
    return packed[:half], packed[half:]


class Permissions:
    """Compares the rows that the database reports as replaced with those that an entry allows.

    Args:
        entry: The entry.
    """

    def __init__(self, entry: Entry) -> None:
        self._own = dict.fromkeys(entry.rows, b"")
        for each in entry.older:
            row, own = each[:-_OWN_BYTES], each[-_OWN_BYTES:]
            # A statement that writes a row twice replaces its own first version.
            self._own[row] = b"" if row in self._own else own
        self._ranges = entry.ranges

    def use(self, image: bytes, tags: int) -> bool:
        """Return whether a row may have been replaced. Each row of `Entry.rows` and `Entry.older` may be used once.

        Args:
            image: The row's image.
            tags: The bytes of its tags.
        """
        if len(image) < 1 + _NAMESPACE_BYTES + tags:
            return False
        row = image[: len(image) - tags]
        if row in self._own:
            return self._own.pop(row) != image[-_OWN_BYTES:]
        table, key = row[0], row[1 + _NAMESPACE_BYTES :]
        return any(table == each and len(key) == len(first) and first <= key < end for each, first, end in self._ranges)


def replaced_digest(replaced: bytes) -> bytes:
    """Return the digest of what an entry replaced: of the bytes that `split_images` takes. Statements return it in full length."""
    return sha256(replaced).digest()[:DIGEST_BYTES] if replaced else NOTHING_REPLACED


def split_images(replaced: bytes) -> list[bytes]:
    """Return the images that a statement wrote into the journal, each after its length in two bytes.

    Raises:
        IntegrityError: They are not such images.
    """
    images, at = [], 0
    while at < len(replaced):
        length = int.from_bytes(replaced[at : at + 2], "big")
        image = replaced[at + 2 : at + 2 + length]
        if length < 1 + 16 or len(image) != length:
            raise IntegrityError
        images.append(image)
        at += 2 + length
    return images
