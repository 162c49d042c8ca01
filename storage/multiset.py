"""Keyed multiset hashes: a sum of 256 bits over rows, in any order (kms/FORMAT.md section 7.5).

The sum proves that a set of rows is the same as it was. Adding, replacing or removing a row costs one or two hashes, and the order
does not matter. This is MSet-Add-Hash of Clarke, Devadas, van Dijk, Gassend and Suh (ASIACRYPT 2003) with HMAC-SHA-256.

A sum MUST be stored in sealed bytes only. From two sums in clear, anyone could compute the hash of the row between them and add it
again.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterable

    from strongroom.kms import TokenKey

SUM_BYTES: Final = 32
EMPTY: Final = 0
"""The sum of no rows."""
_BITS: Final = (1 << 8 * SUM_BYTES) - 1


def element(key: TokenKey, message: bytes) -> int:
    """Return the hash of a row, which is added to a sum and subtracted from it.

    Args:
        key: The namespace's or the cell's identity key of one purpose. It never changes, so neither does the hash.
        message: The row. Two rows with another place or content must have another message.
    """
    return int.from_bytes(key.token(message))


def add(total: int, elements: Iterable[int]) -> int:
    """Return a sum after rows were added."""
    return (total + sum(elements)) & _BITS


def subtract(total: int, elements: Iterable[int]) -> int:
    """Return a sum after rows were removed."""
    return (total - sum(elements)) & _BITS


def reduced(total: int) -> int:
    """Return a sum of elements, some of them negative, as a sum of rows."""
    return total & _BITS


def exchange(total: int, removed: Iterable[int], added: Iterable[int]) -> int:
    """Return a sum after some rows were removed and others added."""
    return (total - sum(removed) + sum(added)) & _BITS


def pack(total: int) -> bytes:
    """Return the bytes of a sum: `SUM_BYTES`, big-endian."""
    return total.to_bytes(SUM_BYTES)


def unpack(packed: bytes) -> int:
    """Return the sum that `pack` packed."""
    return int.from_bytes(packed)
