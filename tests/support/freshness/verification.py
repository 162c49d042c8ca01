"""Verification of a cell, as the tests of attacks use it."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from strongroom.storage.journal.images import CELL, TASK_QUEUE_GROUPS
from strongroom.storage.journal.keeping import JournalKeeper
from strongroom.storage.journal.writer import Journal

if TYPE_CHECKING:
    from collections.abc import Iterable

OF_THE_CELL = (CELL, *(-1 - group for group in range(TASK_QUEUE_GROUPS)))
"""The shards of the journal that are not shards of workflows."""


class Difference(NamedTuple):
    """A difference that a verification names.

    Attributes:
        shard_id: The shard in the journal.
        table: The table, or what else was changed.
    """

    shard_id: int
    table: str


async def differences(cell, *shards: int) -> set[Difference]:
    """Verify shards and the tables of the cell, as this process and as one that starts now. Return what both find."""
    fresh = JournalKeeper(cell.database, cell.keyring, Journal(cell.keyring))
    found = set()
    for shard_id in (*shards, *OF_THE_CELL):
        own, new = await cell.journal.verify(shard_id), await fresh.verify(shard_id)
        assert own.tables == new.tables
        found |= {Difference(shard_id, name) for name in (*own.tables, *own.problems)}
    return found


async def fold(cell, *shards: int) -> None:
    """Fold the entries of shards and of the tables of the cell into their sums."""
    for shard_id in (*shards, *OF_THE_CELL):
        await cell.journal.fold(shard_id)


async def accept(cell) -> None:
    """Accept the tables of the cell as they are now, so that the next attack on them is found by itself."""
    for shard_id in OF_THE_CELL:
        await cell.journal.accept(shard_id, digest=(await cell.journal.verify(shard_id)).digest)


def tables(found: Iterable[Difference]) -> set[str]:
    """Return the tables of differences."""
    return {difference.table for difference in found}
