"""The digest of a run's map rows, which its execution row seals (kms/FORMAT.md section 7.6).

Each map row has a stamp of 8 random bytes in its sealed value, which is new with each write. The digest is a multiset hash over map,
item and stamp of all map rows. So a reader notices a map row that is missing, came back, or is of another state than the execution
row.
"""

from __future__ import annotations

import secrets
import struct
from typing import TYPE_CHECKING, Final, NamedTuple

from strongroom.kms import IntegrityError
from strongroom.storage import multiset
from strongroom.storage.histories.ends import end_after

from .known_runs import RunState

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from uuid import UUID

    from strongroom.kms import NamespaceKeys
    from strongroom.storage.histories.ends import BranchEnd
    from strongroom.storage.histories.rows import HistoryAppend

    from .maps import Entry

STAMP_BYTES: Final = 8
_PURPOSE = "map row"
_ROW = struct.Struct(">16sH16s8s")
_ITEM_BYTES = 16


class NextState(NamedTuple):
    """The state of a run after a write that is not committed yet.

    Attributes:
        known: The state before; None for a new or replaced run.
        changes: The hash of each map row that the write changes; None for one that it deletes.
        total: The digest after the write.
        end: The end of the current branch after the write.
    """

    known: RunState | None
    changes: dict[tuple[int, bytes], int | None]
    total: int
    end: BranchEnd | None

    def committed(self, tag: bytes) -> RunState:
        """Return the state after the commit. The state before can't be used any more; its tag is not stored any more either."""
        elements = {} if self.known is None else self.known.elements
        for place, element in self.changes.items():
            if element is None:
                elements.pop(place, None)
            else:
                elements[place] = element
        return RunState(tag, elements, self.total, self.end)


def new_stamp() -> bytes:
    """Return a stamp for the map rows of one write."""
    return secrets.token_bytes(STAMP_BYTES)


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
        replaced: Whether all map rows of before are deleted.
        appends: The history of the write.
    """
    end = end_after(appends, None if known is None else known.end)
    if replaced:
        known = None
    before: dict[tuple[int, bytes], int] = {} if known is None else known.elements
    changes: dict[tuple[int, bytes], int | None] = {}
    if entries:
        _collect(changes, before, entries, run_id, stamp, keys.identity(_PURPOSE).token)
    if not changes:
        return NextState(known, changes, multiset.EMPTY if known is None else known.total, end)
    removed = [before[place] for place in changes if place in before]
    total = multiset.subtract(multiset.EMPTY if known is None else known.total, removed)
    total = multiset.add(total, [element for element in changes.values() if element is not None])
    return NextState(known, changes, total, end)


def stored_state(
    keys: NamespaceKeys,
    run_id: UUID,
    rows: Sequence[tuple[int, bytes]],
    opened: Sequence[bytes],
    *,
    tag: bytes,
    total: int,
    end: BranchEnd | None,
) -> RunState:
    """Return the state of a run that was read in one snapshot.

    Args:
        keys: The namespace's keys.
        run_id: The run.
        rows: The map and item of each map row.
        opened: The plaintext of each map row. It begins with the stamp.
        tag: The last 16 bytes of the sealed execution row.
        total: The digest in the execution row.
        end: The end of the current branch in the execution row.

    Raises:
        IntegrityError: The map rows are not those of the execution row.
    """
    elements: dict[tuple[int, bytes], int] = {}
    if rows:
        token, run_bytes = keys.identity(_PURPOSE).token, run_id.bytes
        for (number, item), plaintext in zip(rows, opened, strict=True):
            padded = item.rjust(_ITEM_BYTES, b"\x00")
            row = _ROW.pack(run_bytes, number, padded, plaintext[:STAMP_BYTES])
            elements[number, item] = int.from_bytes(token(row))
    check_digest(run_id, elements, total)
    return RunState(tag, elements, total, end)


def check_digest(run_id: UUID, elements: Mapping[tuple[int, bytes], int], total: int) -> None:
    """Refuse map rows that are not those of the execution row.

    Args:
        run_id: The run.
        elements: The hash of each map row.
        total: The digest in the execution row.

    Raises:
        IntegrityError: The sum of the hashes is another one.
    """
    if multiset.add(multiset.EMPTY, elements.values()) != total:
        raise IntegrityError(
            f"the rows of run {run_id} are of different states: a row was deleted, put back or replaced by an older one in the "
            "database; restore the run from a backup"
        )


def _collect(
    changes: dict[tuple[int, bytes], int | None],
    before: dict[tuple[int, bytes], int],
    entries: Sequence[Entry],
    run_id: bytes,
    stamp: bytes,
    token: Callable[[bytes], bytes],
) -> None:
    """Add the entries of a write to its changes. An entry that is both written and deleted is deleted, as in the statement."""
    deleted = []
    for number, item, plaintext in entries:
        if item is None:
            changes.update(dict.fromkeys((place for place in before if place[0] == number), None))
        elif plaintext is None:
            deleted.append((number, item))
        else:
            row = _ROW.pack(run_id, number, item.rjust(_ITEM_BYTES, b"\x00"), stamp)
            changes[number, item] = int.from_bytes(token(row))
    changes.update(dict.fromkeys(deleted, None))
