"""Fold and verify the shards of a cell in the database."""

from __future__ import annotations

import asyncio
import logging
import secrets
import time
from functools import partial
from typing import TYPE_CHECKING, NoReturn

from strongroom.kms import Background
from strongroom.kms.sealing.record_kinds import JOURNAL_SUMS
from strongroom.storage.engine.connection import is_distributed
from strongroom.storage.engine.queries import load_queries
from strongroom.storage.engine.row_level_security import EVERY_NAMESPACE, NO_NAMESPACE
from strongroom.storage.errors import ConditionFailed
from strongroom.storage.schema.table import NAMESPACE
from strongroom.storage.schema.tables import TABLES

from .elements import ElementHash
from .gaps import Gaps
from .images import CELL, NAMES, NUMBERS, in_random_order
from .reading import ShardVerification, opened
from .scanning import scan
from .several_nodes import agreed, snapshots_of_one_moment
from .shard_folder import ENTRIES, TOGETHER, ShardFolder
from .sums import ACCEPTANCE, differing, digest_of

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from uuid import UUID

    from strongroom.kms import Keyring
    from strongroom.storage.engine.database import Database

    from .writer import Journal

_log = logging.getLogger("strongroom.journal")
_SQL = load_queries("journal/journal")
PAUSE = 10.0
"""Seconds between two rounds of folding."""
ALL_AFTER = 60.0
"""Seconds between two rounds over all shards with entries."""


class JournalKeeper:
    """Folds and verifies. It remembers the newest sums of each shard, and refuses older ones.

    Attributes:
        background: The state of folding in the background.
        verifying: The state of verification in the background.
        accepted: The number of acceptances by this process; see `accept`.
        altered: The shards in which a verification of this process found a change, with the last result.

    Args:
        database: The connections.
        keyring: The unwrapped keys.
        journal: The journal of this process.
        clock: Returns the time in seconds; it never goes backwards.
    """

    def __init__(
        self, database: Database, keyring: Keyring, journal: Journal, *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._database = database
        self._keyring = keyring
        self.journal = journal
        self._clock = clock
        self.background = Background("folding of the journal")
        self.verifying = Background("verification of rows")
        self.accepted = 0
        self.altered: dict[int, ShardVerification] = {}
        self._folder = ShardFolder(database, keyring, journal, Gaps(clock))

    async def keep_folding(self, *, pause: float = PAUSE, all_after: float = ALL_AFTER) -> NoReturn:
        """Fold the shards that this process wrote to, and now and then those that a process that ended left behind.

        Args:
            pause: Time between two rounds, in seconds.
            all_after: Time between two rounds over all shards with entries, in seconds.
        """
        next_all = self._clock() + all_after * (0.5 + secrets.randbelow(1000) / 1000)
        while True:
            await asyncio.sleep(pause)
            if self._clock() >= next_all:
                next_all = self._clock() + all_after
                await self.background.once(self._note_entries)
            await self.background.once(self.fold_dirty)

    async def keep_verifying(self, shards: Sequence[int], *, pause: float) -> NoReturn:
        """Verify one shard after the other, without end. A shard that was changed is logged, and stays in `altered`.

        Args:
            shards: All shards of the journal.
            pause: Time between two shards, in seconds.
        """
        while True:
            for shard_id in in_random_order(shards):
                await asyncio.sleep(pause)
                await self.verifying.once(partial(self._verify_and_note, shard_id))

    async def _verify_and_note(self, shard_id: int) -> None:
        found = await self.verify(shard_id)
        if found.ok:
            self.altered.pop(shard_id, None)
        else:
            self._note(found)

    def _note(self, found: ShardVerification) -> None:
        if found.shard_id not in self.altered:
            _log.error("shard %d was changed in the database; run: strongroom verify --shard %d", *[found.shard_id] * 2)
        self.altered[found.shard_id] = found

    async def _note_entries(self) -> None:
        async with self._database.connection(NO_NAMESPACE) as connection:
            self.journal.dirty.update(row["shard_id"] for row in await connection.fetch(_SQL["with_entries"]))

    async def fold_dirty(self) -> None:
        """Fold the shards that this process wrote to. A shard that fails does not stop the others.

        Raises:
            StrongroomError: A shard could not be folded; the error is the last one.
        """
        failure: Exception | None = None
        shards = sorted(self.journal.dirty)
        for first in range(0, len(shards), TOGETHER):
            left = set(shards[first : first + TOGETHER])
            self.journal.dirty -= left
            try:
                left -= await self._folder.fold_together(sorted(left))
                for shard_id in sorted(left):
                    try:
                        problems = await self.fold(shard_id)
                    except Exception as error:  # noqa: BLE001 - it is raised at the end
                        failure = error
                        continue
                    left.discard(shard_id)
                    if problems:
                        # The next round states the outcomes again if they were deleted.
                        self.journal.dirty.add(shard_id)
                        self._note(ShardVerification(shard_id, rows=0, number=0, pending=0, problems=problems))
            finally:
                self.journal.dirty |= left  # those that failed, or were not reached
        if failure is not None:
            raise failure

    async def shards_of(self, namespace_id: UUID) -> list[int]:
        """Return the shards in which a namespace has rows of tables of the journal, in ascending order.

        Raises:
            StorageError: The database does not answer.
        """
        named = [each for each in TABLES if each.name in NUMBERS and each.partition_column == "shard_id"]
        tables = [each for each in named if each.namespaced]
        parts = (f"SELECT DISTINCT shard_id FROM {table.name} WHERE {NAMESPACE} = $1" for table in tables)  # noqa: S608 - our own names
        async with self._database.connection(namespace_id) as connection:
            rows = await connection.fetch(" UNION ".join(parts), namespace_id)
        return sorted(row["shard_id"] for row in rows)

    async def fold(self, shard_id: int, *, limit: int = ENTRIES) -> list[str]:
        """Fold the entries of a shard into its sums; see `ShardFolder.fold`."""
        return await self._folder.fold(shard_id, limit=limit)

    async def verify(self, shard_id: int) -> ShardVerification:
        """Compare the rows of a shard with its sums and entries; raise what `fold` raises."""
        return await agreed(partial(self._verified, shard_id))

    async def _verified(self, shard_id: int, *, stopping: bool) -> tuple[ShardVerification, bool]:
        keys = await self._keyring.open(self._keyring.cell_id)
        elements = ElementHash(keys, shard_id)
        known = self._folder.known(shard_id)
        async with self._database.transaction(EVERY_NAMESPACE, read_only=True, unlimited=True) as connection:
            if stopping:
                await snapshots_of_one_moment(self._database, connection)
            stored_sums = await connection.fetchrow(_SQL["sums"], shard_id)
            waited = await self._folder.gaps.waited(connection, shard_id)
            rows = await connection.fetch(_SQL["entries"], shard_id, None)
            result = await self._folder.result(elements, shard_id, stored_sums, rows, known, waited, limit=None)
            live, count = await scan(connection, shard_id, elements)
            is_one_snapshot = not is_distributed(connection) or shard_id > CELL
        tables = [NAMES[each] for each in differing(result.total(elements), live)]
        number = 0 if stored_sums is None else stored_sums["number"]
        pending, digest = len(result.pending), digest_of(live)
        return ShardVerification(shard_id, count, number, pending, tables, result.problems, digest), is_one_snapshot

    async def waiting(self) -> int:
        """Return the number of entries that are not in the sums yet, in all shards.

        Raises:
            StorageError: The database does not answer.
        """
        async with self._database.connection(NO_NAMESPACE) as connection:
            row = await connection.fetchrow(_SQL["waiting"])
        return int(row["count"]) if row is not None else 0

    async def accept(self, shard_id: int, *, digest: bytes, above: int = 0) -> int:
        """Make the sums of a shard those of the rows that it has now, after a restore on purpose. Writes wait meanwhile.

        Args:
            shard_id: The shard in the journal.
            digest: The digest of its rows that a verification returned.
            above: A number below the new one.

        Returns:
            The new number of the sums.

        Raises:
            ConditionFailed: The shard has other rows than those of the digest. Its sums are unchanged.
            KmsError: The cell's keys are not available.
            StorageError: The database does not answer.
        """
        keys = await self._keyring.open(self._keyring.cell_id)
        async with self._database.transaction(EVERY_NAMESPACE, unlimited=True) as connection:
            stored_sums = await connection.fetchrow(_SQL["lock_sums"], shard_id)  # first, as a folding does
            await connection.execute(_SQL["stop_writes"])
            sums = (await opened(self._keyring, keys, shard_id, stored_sums)).sums
            entries = await connection.fetch(_SQL["entries"], shard_id, None)
            for row in entries:
                sums.writers[row["writer"]] = max(row["number"], sums.writers.get(row["writer"], 0))
            sums.sums, _ = await scan(connection, shard_id, ElementHash(keys, shard_id))
            if digest != digest_of(sums.sums):
                msg = f"the rows of shard {shard_id} changed after they were shown; they were not accepted"
                raise ConditionFailed(msg)
            number = (max(sums.number, self.journal.newest.get(shard_id, 0), above) // ACCEPTANCE + 1) * ACCEPTANCE
            sealed = keys.seal(JOURNAL_SUMS, (shard_id, number), sums.pack())
            await connection.execute(_SQL["replace_sums"], shard_id, number, sealed)
            await connection.execute(_SQL["delete_all_entries"], shard_id)
        self.journal.newest[shard_id] = number
        self.journal.rows.forget()
        self.accepted += 1
        self.altered.pop(shard_id, None)
        return number
