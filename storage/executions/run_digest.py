"""The digest of a run's map rows, which its execution row seals (kms/FORMAT.md section 7.6).

Each map row has a stamp of 8 random bytes in its sealed value, which is new with each write. The digest is a multiset hash over map,
item and stamp of all map rows. So a reader notices a map row that is missing, came back, or is of another state than the execution
row.
"""

from __future__ import annotations

import os
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
_ITEM_BYTES = 16
_NO_ROWS = multiset.pack(multiset.EMPTY)

_PREFIXES: Final = tuple(number.to_bytes(2) for number in range(256))
"""The first two bytes of a map row's place: the number of its map. The item follows, in 16 bytes."""

NextState: TypeAlias = tuple[bytes, dict[bytes, bytes] | None, dict[bytes, bytes | None]]
"""The state of a run after a write that is not committed yet: its binding, the stamps of the map rows before the write, by place (None
if there are none), and the stamp of each map row that the write changes (None for one that it deletes)."""


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
        rows = {} if rows is None else rows
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
    changes: dict[bytes, bytes | None] = {}
    for number, item, plaintext in entries:
        if item is None:
            changes.update(dict.fromkeys((place for place in before or () if place[1] == number), None))
        else:  # a deletion follows the entries that are written, and wins, as in the statement
            place = _PREFIXES[number] + item.rjust(_ITEM_BYTES, b"\x00")
            changes[place] = None if plaintext is None else stamp
    removed = [place + before[place] for place in changes if place in before] if before else ()
    added = [place + written for place, written in changes.items() if written is not None]
    return keys.identity(_PURPOSE).exchange(total, run_id, removed, added) + end, before, changes


def stored_rows(
    keys: NamespaceKeys,
    run_id: UUID,
    places: Iterable[tuple[int, bytes]],
    opened: Sequence[bytes],
    *,
    known: dict[bytes, bytes] | None,
    total: bytes,
) -> dict[bytes, bytes] | None:
    """Return the stamps of the map rows of a run that was read in one snapshot, by place.

    Args:
        keys: The namespace's keys.
        run_id: The run.
        places: The map and item of each map row.
        opened: The plaintext of each map row. It begins with the stamp.
        known: The stamps of the same execution row, if it was read or written before; they save the hashes. None if it was not.
        total: The digest in the execution row.

    Raises:
        IntegrityError: The map rows are not those of the execution row.
    """
    rows = {
        _PREFIXES[number] + item.rjust(_ITEM_BYTES, b"\x00"): plaintext[:STAMP_BYTES]
        for (number, item), plaintext in zip(places, opened, strict=True)
    }
    if known is None or rows != known or len(rows) != len(opened):
        check_digest(keys, run_id, rows, len(opened), total)
    return rows or None


def check_digest(keys: NamespaceKeys, run_id: UUID, rows: dict[bytes, bytes], count: int, total: bytes) -> None:
    """Refuse map rows that are not those of the execution row.

    Args:
        keys: The namespace's keys.
        run_id: The run.
        rows: The stamp of each map row, by place.
        count: The number of map rows. It is higher if two items are of one place, one of them with zero bytes before it.
        total: The digest in the execution row.

    Raises:
        IntegrityError: The sum of the hashes is another one, or two rows are of one place.
    """
    messages = [place + stamp for place, stamp in rows.items()]
    digest = keys.identity(_PURPOSE).exchange(_NO_ROWS, run_id.bytes, [], messages) if messages else _NO_ROWS
    if digest != total or len(rows) != count:
        raise IntegrityError(
            f"the rows of run {run_id} are of different states: a row was deleted, put back or replaced by an older one in the "
            "database; restore the run from a backup"
        )
