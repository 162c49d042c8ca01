"""The positions of the shards: the numbers of their sums, for an anchor outside of the database."""

from __future__ import annotations

import re
import time
from hashlib import sha256
from typing import TYPE_CHECKING

from strongroom.storage.cell.positions import UNKNOWN, Position
from strongroom.storage.engine.queries import load_queries
from strongroom.storage.engine.row_level_security import NO_NAMESPACE

from .images import journal_shards
from .reading import opened

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Sequence

    from strongroom.kms import Keyring
    from strongroom.storage.engine.database import Database

    from .keeping import JournalKeeper

INTERVAL = 600.0
"""Seconds between two readings of the positions. An older state of one shard that is newer than the last one is not refused."""
_NUMBER = re.compile(r"-?[0-9]{1,9}")
SHARD = "shard/"
"""The beginning of the name of a shard's position."""
_SQL = load_queries("journal/journal")


def shard_of(name: str) -> int | None:
    """Return the shard of a position's name; None for another part of the cell."""
    number = name.removeprefix(SHARD)
    return int(number) if name.startswith(SHARD) and _NUMBER.fullmatch(number) else None


class JournalPositions:
    """The source of the shards' positions; see `PositionSource`.

    Args:
        database: The cell's database.
        keyring: The unwrapped keys.
        keeper: Folds and verifies. The positions are read again after each of its acceptances.
        shard_count: The number of the cell's shards.
        interval: Seconds in which the positions to anchor stay the same. Each takes about 120 bytes in the audit log.
        clock: Returns the time in seconds; it never goes backwards.
    """

    def __init__(
        self,
        database: Database,
        keyring: Keyring,
        keeper: JournalKeeper,
        *,
        shard_count: int,
        interval: float = INTERVAL,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._database = database
        self._keyring = keyring
        self._keeper = keeper
        self._shard_count = shard_count
        self._interval = interval
        self._clock = clock
        self._next = clock()
        self._accepted = 0
        self._opened: dict[int, Position] = {}

    async def positions(self) -> Sequence[Position]:
        """Read and open the sums that have changed since the last call. A shard whose sums do not open keeps its former position.

        Raises:
            KmsError, StorageError: They can't be read or opened.
        """
        if self._clock() < self._next and self._accepted == self._keeper.accepted:
            return list(self._opened.values())
        accepted = self._keeper.accepted
        keys = await self._keyring.open(self._keyring.cell_id)
        numbers = await self._numbers()
        known = {shard_id: position.number for shard_id, position in self._opened.items()}
        changed = [shard_id for shard_id, number in numbers.items() if known.get(shard_id) != number]
        async with self._database.connection(NO_NAMESPACE) as connection:
            rows = await connection.fetch(_SQL["sums_of"], changed) if changed else []
        for row in rows:
            found = await opened(self._keyring, keys, row["shard_id"], row)
            if found.problems:
                continue  # verification names it, and the other shards are anchored
            name = f"{SHARD}{row['shard_id']}"
            self._opened[row["shard_id"]] = Position(name, row["number"], sha256(found.sums.pack()).digest())
        self._next, self._accepted = self._clock() + self._interval, accepted
        return list(self._opened.values())

    async def stored(self, names: Collection[str], /) -> Sequence[Position]:
        """Return the positions of the named shards that the database states, with 0 for a shard without sums.

        A position for each shard of a cell would take 20 ms of each process that starts.

        Raises:
            StorageError: The database can't be read.
        """
        named = {shard_id for shard_id in map(shard_of, names) if shard_id is not None}
        shards = [shard_id for shard_id in journal_shards(self._shard_count) if shard_id in named] if named else []
        numbers = await self._numbers() if shards else {}
        return [Position(f"{SHARD}{shard_id}", numbers.get(shard_id, 0), UNKNOWN) for shard_id in shards]

    async def _numbers(self) -> dict[int, int]:
        async with self._database.connection(NO_NAMESPACE) as connection:
            return {row["shard_id"]: row["number"] for row in await connection.fetch(_SQL["numbers"])}
