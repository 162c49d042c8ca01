"""The protocol of a contender: four functions over rows, its version, and a note on how it differs."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from importlib.metadata import version
from typing import TYPE_CHECKING, Any, TypeAlias

from benchmarks.lib.measuring import kept

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from benchmarks.lib.measuring import Sampler

    Key: TypeAlias = tuple[int, int, int]
    """A history node's number, its transaction and the previous transaction: the part of the primary key that varies by row."""
    Row: TypeAlias = tuple[Key, bytes]
    Sealed: TypeAlias = Sequence[tuple[Key, Any]]

PREFIX = b"cell:namespace:history_nod"
"""Prefix of the associated data of the other contenders: 26 bytes, before the 24 bytes of the row's key."""
encode_key = struct.Struct(">qqq").pack


class Absent(Exception):  # noqa: N818 - it is no error
    """A contender can't take part. The message has the reason."""


@dataclass(frozen=True, slots=True)
class Contender:
    """A way to seal and open rows.

    Attributes:
        name: The name in the report.
        version: The version of the library.
        differs: How it differs from the other contenders, in one line.
        seal: Function from rows to sealed values, in order. A library without a batch operation is called row by row.
        open: Function from row keys and sealed values to plaintexts.
        seal_one: Function that seals one row, by the library's shortest path.
        open_one: Function that opens one row, by the library's shortest path.
    """

    name: str
    version: str
    differs: str
    seal: Callable[[Sequence[Row]], list[Any]]
    open: Callable[[Sealed], list[bytes]]
    seal_one: Callable[[Key, bytes], Any]
    open_one: Callable[[Key, Any], bytes]
    samplers: Callable[[int, Sequence[Row]], dict[str, Sampler]] | None = None
    """Function from batch and rows to the samplers of seal and open; only for a contender that measures time itself."""


def installed(distribution: str) -> str:
    """Return a library's name and version."""
    return f"{distribution} {version(distribution)}"


def samplers_of(contender: Contender, batch: int, rows: Sequence[Row]) -> dict[str, Sampler]:
    """Return the samplers of a contender's seal and open, in nanoseconds per row.

    Args:
        contender: The contender.
        batch: 1, or the number of rows. With 1, a sample handles all rows, in one call each.
        rows: The rows to seal. Each row has a different key.
    """
    if contender.samplers is not None:
        return contender.samplers(batch, rows)
    if batch == 1:
        seal_one, open_one = contender.seal_one, contender.open_one
        single = [(key, seal_one(key, plaintext)) for key, plaintext in rows]
        return {
            "seal": kept(lambda: [seal_one(key, plaintext) for key, plaintext in rows], len(rows)),
            "open": kept(lambda: [open_one(key, value) for key, value in single], len(rows)),
        }
    sealed = [(key, value) for (key, _), value in zip(rows, contender.seal(rows), strict=True)]
    return {
        "seal": kept(lambda: contender.seal(rows), len(rows)),
        "open": kept(lambda: contender.open(sealed), len(rows)),
    }


def one_by_one(
    name: str,
    library: str,
    differs: str,
    seal_one: Callable[[Key, bytes], Any],
    open_one: Callable[[Key, Any], bytes],
) -> Contender:
    """Return a contender without a batch operation. It takes microseconds per row, so the cost of a call is negligible."""
    return Contender(
        name,
        installed(library),
        differs,
        lambda rows: [seal_one(key, plaintext) for key, plaintext in rows],
        lambda sealed: [open_one(key, value) for key, value in sealed],
        seal_one,
        open_one,
    )
