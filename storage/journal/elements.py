"""The sums of images of a shard (kms/FORMAT.md section 7.7)."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

from strongroom.storage.multiset import EMPTY, pack, unpack

if TYPE_CHECKING:
    from collections.abc import Sequence

    from strongroom.kms import NamespaceKeys

_SHARD = struct.Struct(">i")
_EMPTY = pack(EMPTY)


class ElementHash:
    """Hashes images for the sums of a shard, under a key of the cell (kms/FORMAT.md section 7.7).

    Args:
        keys: The cell's own keys.
        shard_id: The shard.
    """

    __slots__ = ("_key", "_shard", "keys")

    def __init__(self, keys: NamespaceKeys, shard_id: int) -> None:
        self.keys = keys
        self._key = keys.identity("journal")
        self._shard = _SHARD.pack(shard_id)

    def sum(self, images: Sequence[bytes]) -> int:
        """Return the sum of images modulo 2^256."""
        return unpack(self._key.exchange(_EMPTY, self._shard, [], images))

    def packed_sums(self, removed: Sequence[bytes], added: Sequence[bytes]) -> bytes:
        """Return the sums of the added images without the removed ones, by table, as an entry has them (`sums.py`)."""
        return self._key.grouped(self._shard, removed, added)
