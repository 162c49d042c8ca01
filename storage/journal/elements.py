"""The elements of images in the sums of a shard (kms/FORMAT.md section 7.7)."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

from strongroom.storage.multiset import EMPTY, add, element

if TYPE_CHECKING:
    from collections.abc import Sequence

    from strongroom.kms import NamespaceKeys

_SHARD = struct.Struct(">i")


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

    def of(self, image: bytes) -> int:
        """Return the element of one image."""
        return element(self._key, self._shard + image)

    def sum(self, images: Sequence[bytes]) -> int:
        """Return the sum of images modulo 2^256."""
        return add(EMPTY, map(self.of, images))
