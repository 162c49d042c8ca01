"""The derived keys with which a namespace's values are opened."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeAlias

from strongroom.kms.sealing.header import HEAD_BYTES, HEADER_BYTES, Suite, parse_header

from .versions import key_of_version

if TYPE_CHECKING:
    from collections.abc import Mapping

    from strongroom.kms.errors import StrongroomError

    from .data_key import DataKey

CACHED_SUBKEYS = 1024
"""Number of cached keys of a namespace. Each takes about 0.9 KB in the kernel, or 2.7 KB in Python (OpenSSL's contexts)."""
Subkey: TypeAlias = tuple[Any, bytes, int, int]
"""A derived key, the header, the offset of the last 12 bytes of the nonce, and the header's flags."""


class SubkeyCache:
    """A cache of derived keys by the head of a value, which all values of one batch share.

    Attributes:
        entries: The cached keys. A reader looks them up here first, and calls `derive` after a miss.

    Args:
        data: The data keys by version, with an error in place of a key that can't be used.
        size: The number of cached keys.
    """

    __slots__ = ("_data", "_size", "entries")

    def __init__(self, data: Mapping[int, DataKey | StrongroomError], size: int) -> None:
        self._data = data
        self._size = size
        self.entries: dict[bytes, Subkey] = {}

    def derive(self, sealed: bytes) -> Subkey:
        """Return the derived key of a value. In suite 2 it is cached for the other values of the batch.

        Raises:
            IntegrityError: The value ends within its nonce, or names another suite than its key version.
            UnsupportedFormat: The value is not a sealed value of a known format.
            KmsError: The value names a key version that is unknown, disabled or destroyed.
        """
        header = parse_header(sealed)
        key, nonce_tail = key_of_version(self._data, header.key_version).subkey_of(sealed, header)
        subkey = (key, bytes(sealed[:HEADER_BYTES]), nonce_tail, header.flags)
        if header.suite is Suite.XAES_256_GCM:
            if len(self.entries) >= self._size:
                heads = list(self.entries)  # one atomic step, because other threads insert meanwhile
                for oldest in heads[: self._size // 2]:
                    self.entries.pop(oldest, None)
            self.entries[bytes(sealed[:HEAD_BYTES])] = subkey
        return subkey
