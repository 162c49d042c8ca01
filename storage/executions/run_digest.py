"""The digest of a run's map rows, which its execution row seals (kms/FORMAT.md section 7.6).

Each map row has a stamp of 8 random bytes in its sealed value, which is new with each write. The digest is a multiset hash over map,
item and stamp of all map rows. So a reader notices a map row that is missing, came back, or is of another state than the execution
row.
"""

from __future__ import annotations

import os
import struct
from typing import TYPE_CHECKING, Final, TypeAlias

from strongroom.kms import IntegrityError
from strongroom.storage import multiset

from .packing import NO_BINDING, packed_end_after

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from uuid import UUID

    from strongroom.kms import NamespaceKeys
    from strongroom.storage.histories.rows import HistoryAppend

    from .known_runs import RunState
    from .maps import Entry

STAMP_BYTES: Final = 8
_PURPOSE = "map row"
_ROW = struct.Struct(">16sH16s8s")
_ITEM_BYTES = 16


_PREFIXES: Final = tuple(bytes((number,)) for number in range(256))
"""The first byte of a map row's place: the number of its map. The item follows."""

NextState: TypeAlias = tuple[bytes, dict[bytes, bytes] | None, dict[bytes, bytes | None]]
"""The state of a run after a write that is not committed yet: its binding, the map rows before the write (None if there are none), and
the stamp and hash of each map row that the write changes (None for one that it deletes)."""


def committed(state: NextState, tag: bytes) -> RunState:
    """Return the state after the commit. The state before can't be used any more; its tag is not stored any more either."""
    binding, rows, changes = state
    if changes:
        rows = {} if rows is None else rows
        for place, row in changes.items():
            if row is None:
                rows.pop(place, None)
            else:
                rows[place] = row
    return tag, binding, rows or None


def new_stamp() -> bytes:
    """Return a stamp for the map rows of one statement."""
    return os.urandom(STAMP_BYTES)


def next_state(
    keys: NamespaceKeys,
    run_id: bytes,
    entries: Sequence[Entry],
    stamp: bytes,
    *,
    known: RunState | None,
    replaced: bool,
    appends: Sequence[HistoryAppend],
) -> NextState:
    """Return the state of a run after a write.

    Args:
        keys: The namespace's keys.
        run_id: The run.
        entries: The map entries of the write.
        stamp: The stamp of the written map rows.
        known: The state before the write; None for a run that does not exist.
        replaced: Whether all earlier map rows are deleted.
        appends: The history of the write.
    """
    binding, before = (NO_BINDING, None) if known is None else known[1:]
    end = binding[multiset.SUM_BYTES :]
    if appends:
        end = packed_end_after(appends, end)
    if replaced:
        binding, before = NO_BINDING, None
    if not entries:
        return binding[: multiset.SUM_BYTES] + end, before, {}
    token = keys.identity(_PURPOSE).token
    changes: dict[bytes, bytes | None] = {}
    for number, item, plaintext in entries:
        if item is None:
            changes.update(dict.fromkeys((place for place in before or () if place[0] == number), None))
        elif plaintext is None:  # a deletion follows the entries that are written, and wins, as in the statement
            changes[_PREFIXES[number] + item] = None
        else:
            row = _ROW.pack(run_id, number, item.rjust(_ITEM_BYTES, b"\x00"), stamp)
            changes[_PREFIXES[number] + item] = stamp + token(row)
    removed = [int.from_bytes(before[place][STAMP_BYTES:]) for place in changes if place in before] if before else ()
    added = [int.from_bytes(row[STAMP_BYTES:]) for row in changes.values() if row is not None]
    total = multiset.exchange(int.from_bytes(binding[: multiset.SUM_BYTES]), removed, added)
    return multiset.pack(total) + end, before, changes


def stored_rows(
    keys: NamespaceKeys,
    run_id: UUID,
    places: Sequence[tuple[int, bytes]],
    opened: Sequence[bytes],
    *,
    known: dict[bytes, bytes] | None,
    total: int,
) -> dict[bytes, bytes] | None:
    """Return the map rows of a run that was read in one snapshot.

    Args:
        keys: The namespace's keys.
        run_id: The run.
        places: The map and item of each map row.
        opened: The plaintext of each map row. It begins with the stamp.
        known: The map rows of the same execution row, if it was read or written before; they save the hashes. None if it was not.
        total: The digest in the execution row.

    Raises:
        IntegrityError: The map rows are not those of the execution row.
    """
    if known is not None and len(known) == len(opened):
        for (number, item), plaintext in zip(places, opened, strict=True):
            row = known.get(_PREFIXES[number] + item)
            if row is None or row[:STAMP_BYTES] != plaintext[:STAMP_BYTES]:
                break
        else:
            return known
    rows: dict[bytes, bytes] = {}
    if opened:
        token, run_bytes = keys.identity(_PURPOSE).token, run_id.bytes
        for (number, item), plaintext in zip(places, opened, strict=True):
            stamp = plaintext[:STAMP_BYTES]
            row = _ROW.pack(run_bytes, number, item.rjust(_ITEM_BYTES, b"\x00"), stamp)
            rows[_PREFIXES[number] + item] = stamp + token(row)
    check_digest(run_id, rows.values(), total)
    return rows or None


def check_digest(run_id: UUID, rows: Iterable[bytes], total: int) -> None:
    """Refuse map rows that are not those of the execution row.

    Args:
        run_id: The run.
        rows: The stamp and hash of each map row.
        total: The digest in the execution row.

    Raises:
        IntegrityError: The sum of the hashes is another one.
    """
    if multiset.add(multiset.EMPTY, [int.from_bytes(row[STAMP_BYTES:]) for row in rows]) != total:
        raise IntegrityError(
            f"the rows of run {run_id} are of different states: a row was deleted, put back or replaced by an older one in the "
            "database; restore the run from a backup"
        )
