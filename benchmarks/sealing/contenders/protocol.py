"""What a contender is: four functions over rows, its version, and what it does differently."""

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
    """A history node's number, its transaction and the one before: the part of a primary key that differs from row to row."""
    Row: TypeAlias = tuple[Key, bytes]
    Sealed: TypeAlias = Sequence[tuple[Key, Any]]

PREFIX = b"cell:namespace:history_nod"
"""Of the associated data that the others are given; 26 bytes, and 24 of the row's key."""
encode_key = struct.Struct(">qqq").pack


class Absent(Exception):  # noqa: N818 - it is no error
    """A contender can't take part; why, in words."""


@dataclass(frozen=True, slots=True)
class Contender:
    """A way to seal and open rows.

    Attributes:
        name: as the report has it.
        version: of the library.
        differs: what it does that others don't, or does not do, in a line.
        seal: rows to sealed values, in order. A library without a batch is called row by row, as its user would.
        open: the row's keys and sealed values to plaintexts.
        seal_one: the same for one row, in the way that is shortest for it.
        open_one: likewise.
    """

    name: str
    version: str
    differs: str
    seal: Callable[[Sequence[Row]], list[Any]]
    open: Callable[[Sealed], list[bytes]]
    seal_one: Callable[[Key, bytes], Any]
    open_one: Callable[[Key, Any], bytes]
    samplers: Callable[[int, Sequence[Row]], dict[str, Sampler]] | None = None
    """Of a contender that keeps the time itself: (batch, rows) to samplers of seal and open."""


def installed(distribution: str) -> str:
    """Return a library's name and version."""
    return f"{distribution} {version(distribution)}"


def samplers_of(contender: Contender, batch: int, rows: Sequence[Row]) -> dict[str, Sampler]:
    """Return what samples a contender's seal and open, in nanoseconds a row.

    Args:
        contender: whose.
        batch: 1, or the number of rows. A batch of 1 is sampled as all rows, one call each.
        rows: what to seal; each key is different.
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
    """Return a contender whose library has no batches and takes microseconds a row, so that the cost of a call is negligible."""
    return Contender(
        name,
        installed(library),
        differs,
        lambda rows: [seal_one(key, plaintext) for key, plaintext in rows],
        lambda sealed: [open_one(key, value) for key, value in sealed],
        seal_one,
        open_one,
    )
