"""Keyed multiset hashes: a sum of 256 bits over rows, in any order (kms/FORMAT.md section 7.5).

The sum proves that a set of rows is the same as it was. Adding, replacing or removing a row costs one or two hashes, and the order
does not matter. This is MSet-Add-Hash of Clarke, Devadas, van Dijk, Gassend and Suh (ASIACRYPT 2003) with HMAC-SHA-256. One call of
`TokenKey.exchange` or `TokenKey.grouped` hashes rows and sums the hashes.

A sum MUST be stored in sealed bytes only. From two sums in clear, anyone could compute the hash of the row between them and add it
again.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterable

SUM_BYTES: Final = 32
EMPTY: Final = 0
"""The sum of no rows."""
_BITS: Final = (1 << 8 * SUM_BYTES) - 1


def add(total: int, sums: Iterable[int]) -> int:
    """Return a sum of rows with other sums added to it."""
    return (total + sum(sums)) & _BITS


def pack(total: int) -> bytes:
    """Return the bytes of a sum: `SUM_BYTES`, big-endian."""
    return total.to_bytes(SUM_BYTES)


def unpack(packed: bytes) -> int:
    """Return the sum that `pack` packed."""
    return int.from_bytes(packed)
