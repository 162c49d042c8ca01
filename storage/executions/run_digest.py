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

from .known_runs import MAP_ROW_BYTES
from .packing import NO_BINDING, packed_end_after

if TYPE_CHECKING:
    from collections.abc import Sequence
    from uuid import UUID

    from strongroom.kms import NamespaceKeys
    from strongroom.storage.histories.rows import HistoryAppend

    from .known_runs import MapRows, RunState
    from .maps import Entry

STAMP_BYTES: Final = 8
ITEM_BYTES: Final = 16
"""The bytes of an item in a place. A shorter item has zero bytes before it."""
_PURPOSE = "map row"
_NO_ROWS = multiset.pack(multiset.EMPTY)

_PREFIXES: Final = tuple(number.to_bytes(2) for number in range(256))
"""The first two bytes of a map row's place: the number of its map. The item follows, in 16 bytes."""
_map_row = struct.Struct(f">H{ITEM_BYTES}s{STAMP_BYTES}s").pack
"""Returns place and stamp of a map row, given by the number of its map, the item and the plaintext, which begins with the stamp."""
_PLACE_BYTES: Final = 2 + ITEM_BYTES

NextState: TypeAlias = "tuple[bytes, MapRows | None, dict[bytes, bytes | None]]"
"""The state of a run after a write that is not committed yet: its binding, the map rows before the write (None if there are none; a
dictionary if the write changes any), and the stamp of each map row that the write changes, by place (None for one that it deletes)."""


def committed(state: NextState, tag: bytes, current: bytes | None, record_version: int) -> RunState:
    """Return the state after the commit. It takes over the map rows of the state before, which must not be used any more.

    Args:
        state: The state that was written.
        tag: The tag of the run's row.
        current: What is known of the row of the current run; see `RunState`.
        record_version: The record version that was written.
    """
    binding, rows, changes = state
    if changes:
        rows = {} if rows is None else stamps_of(rows)
        for place, stamp in changes.items():
            if stamp is None:
                rows.pop(place, None)
            else:
                rows[place] = stamp
    return tag, binding, rows or None, current, record_version


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
    binding, before = (NO_BINDING, None) if known is None else known[1:3]
    end = binding[multiset.SUM_BYTES :]
    if appends:
        end = packed_end_after(appends, end)
    if replaced:
        binding, before = NO_BINDING, None
    total = binding[: multiset.SUM_BYTES]
    if not entries:
        return total + end, before, {}
    stamps = None if before is None else stamps_of(before)
    changes: dict[bytes, bytes | None] = {}
    for number, item, plaintext in entries:
        if item is None:
            changes.update(dict.fromkeys((place for place in stamps or () if place[1] == number), None))
        else:  # a deletion follows the entries that are written, and wins, as in the statement
            place = _PREFIXES[number] + item.rjust(ITEM_BYTES, b"\x00")
            changes[place] = None if plaintext is None else stamp
    removed = [place + stamps[place] for place in changes if place in stamps] if stamps else ()
    added = [place + written for place, written in changes.items() if written is not None]
    return keys.identity(_PURPOSE).exchange(total, run_id, removed, added) + end, stamps, changes


def stored_rows(
    keys: NamespaceKeys,
    run_id: UUID,
    maps: Sequence[int],
    items: Sequence[bytes],
    opened: Sequence[bytes],
    *,
    known: MapRows | None,
    total: bytes,
) -> bytes | None:
    """Return the map rows of a run that was read in one snapshot, as `MapRows` has those of a read.

    Args:
        keys: The namespace's keys.
        run_id: The run.
        maps: The map of each row.
        items: The item of each row, in 16 bytes.
        opened: The plaintext of each row. It begins with the stamp.
        known: The map rows of the same execution row, if it was read or written before; None if it was not. Rows that were read
            before save the hashes.
        total: The digest in the execution row.

    Raises:
        IntegrityError: The map rows are not those of the execution row.
    """
    rows = list(map(_map_row, maps, items, opened))
    packed = b"".join(rows)
    if packed != known:
        check_digest(keys, run_id, rows, total)
    return packed or None


def check_digest(keys: NamespaceKeys, run_id: UUID, rows: Sequence[bytes], total: bytes) -> None:
    """Refuse map rows that are not those of the execution row.

    Args:
        keys: The namespace's keys.
        run_id: The run.
        rows: Place and stamp of each map row. A place that two rows have is hashed twice, so the sum is another one.
        total: The digest in the execution row.

    Raises:
        IntegrityError: The sum of the hashes is another one.
    """
    digest = keys.identity(_PURPOSE).exchange(_NO_ROWS, run_id.bytes, [], rows) if rows else _NO_ROWS
    if digest != total:
        raise IntegrityError(
            f"the rows of run {run_id} are of different states: a row was deleted, put back or replaced by an older one in the "
            "database; restore the run from a backup"
        )


def stamps_of(rows: MapRows) -> dict[bytes, bytes]:
    """Return the stamp of each map row, by place. A dictionary is returned itself."""
    if isinstance(rows, dict):
        return rows
    starts = range(0, len(rows), MAP_ROW_BYTES)
    return {rows[at : at + _PLACE_BYTES]: rows[at + _PLACE_BYTES : at + MAP_ROW_BYTES] for at in starts}
