"""Fold the entries of shards into their sums, in the database.

A folding is a transaction of five statements, which costs more than a few entries. So the shards of a round are folded together: at
most `TOGETHER` in a transaction. A shard with more entries than a shared page has is then folded by itself, page by page.
"""

from __future__ import annotations

import asyncio
import logging
from collections import Counter, defaultdict
from typing import TYPE_CHECKING

from strongroom.kms import StrongroomError
from strongroom.kms.sealing.record_kinds import JOURNAL_SUMS
from strongroom.storage.engine.connection import is_distributed
from strongroom.storage.engine.queries import load_queries
from strongroom.storage.engine.row_level_security import NO_NAMESPACE

from .elements import ElementHash
from .folding import fold
from .reading import opened

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from strongroom.kms import Keyring
    from strongroom.storage.engine.connection import Connection, Row
    from strongroom.storage.engine.database import Database

    from .entry import Entry
    from .folding import Awaited, Folded
    from .gaps import Gaps
    from .writer import Journal

_log = logging.getLogger("strongroom.journal")
_SQL = load_queries("journal/journal")
ENTRIES = 5000
"""Entries of a process in a shard that one folding reads."""
TOGETHER = 32
"""The most shards that one transaction folds."""
ENTRIES_TOGETHER = 128
"""Entries of a process in a shard that a folding of several shards reads. The rows of the sums are locked meanwhile."""


class ShardFolder:
    """Folds entries into sums.

    Attributes:
        gaps: The entries that this process waits for.

    Args:
        database: The connections.
        keyring: The unwrapped keys.
        journal: The journal of this process.
        gaps: The entries that this process waits for.
    """

    def __init__(self, database: Database, keyring: Keyring, journal: Journal, gaps: Gaps) -> None:
        self._database = database
        self._keyring = keyring
        self._journal = journal
        self.gaps = gaps

    async def fold(self, shard_id: int, *, limit: int = ENTRIES) -> list[str]:
        """Fold the entries of a shard into its sums.

        Args:
            shard_id: The shard in the journal.
            limit: The most entries of each process in one transaction.

        Returns:
            What was changed in the database. The sums are not replaced then, so that every verification finds it again.

        Raises:
            KmsError: The cell's keys are not available.
            StorageError: The database does not answer.
        """
        keys = await self._keyring.open(self._keyring.cell_id)
        known = self.known(shard_id)
        async with self._database.transaction(NO_NAMESPACE) as connection:
            stored_sums = await connection.fetchrow(_SQL["lock_sums"], shard_id)
            waited = await self.gaps.waited(connection, shard_id)
            rows = await connection.fetch(_SQL["entries"], shard_id, limit)
            elements = ElementHash(keys, shard_id)
            result = await self.result(elements, shard_id, stored_sums, rows, known, waited, limit=limit)
            number = result.sums.number
            if result.has_progress:
                sealed = keys.seal(JOURNAL_SUMS, (shard_id, number), result.sums.pack())
                if not await connection.fetch(_SQL["put_sums"], shard_id, number, sealed):
                    return []  # another process made the first sums of the shard; the entries stay for the next folding
                folded = ([writer for writer, _ in result.entries], [entry for _, entry in result.entries])
                await connection.execute(_SQL["delete_entries"], shard_id, *folded)
        self._note_committed(shard_id, result)
        if result.has_progress and result.has_more:
            return await self.fold(shard_id, limit=limit)  # a busy shard has more than one page
        if result.problems:  # other processes find them too, and don't fold the entries meanwhile
            async with self._database.connection(NO_NAMESPACE) as connection:
                await self._journal.state_outcomes(connection, shard_id)
        return result.problems

    async def fold_together(self, shards: Sequence[int]) -> set[int]:
        """Fold the entries of several shards in one transaction.

        Args:
            shards: The shards in the journal, in ascending order, so that two processes lock the sums in the same order.

        Returns:
            The shards that are done. The others must be folded one by one: one with more entries, one that was changed in the
            database, all of them if the transaction failed, and all of them on a Citus cluster, where a statement has one shard.
        """
        if len(shards) < 2:  # noqa: PLR2004 - one shard has nothing to share
            return set()
        try:
            results = await self._folded_together(shards)
        except StrongroomError as error:  # each shard then has its own error, if it fails again
            _log.debug("%d shards could not be folded together: %s", len(shards), type(error).__name__)
            return set()
        for shard_id, result in results.items():
            self._note_committed(shard_id, result)
        return {shard_id for shard_id, result in results.items() if not (result.problems or result.has_more)}

    async def _folded_together(self, shards: Sequence[int]) -> dict[int, Folded]:
        keys = await self._keyring.open(self._keyring.cell_id)
        known = {shard_id: self.known(shard_id) for shard_id in shards}
        async with self._database.transaction(NO_NAMESPACE) as connection:
            if is_distributed(connection):
                return {}
            sums = {row["shard_id"]: row for row in await connection.fetch(_SQL["lock_sums_of"], shards)}
            waited = {shard_id: await self.gaps.waited(connection, shard_id) for shard_id in shards}
            rows: defaultdict[int, list[Row]] = defaultdict(list)
            for row in await connection.fetch(_SQL["entries_of"], shards, ENTRIES_TOGETHER):
                rows[row["shard_id"]].append(row)
            results: dict[int, Folded] = {}
            for each in shards:
                place = (ElementHash(keys, each), each, sums.get(each), rows[each], known[each], waited[each])
                results[each] = await self.result(*place, limit=ENTRIES_TOGETHER)
                await asyncio.sleep(0)  # lets callers run between two shards
            advanced = {each: result for each, result in results.items() if result.has_progress}
            if advanced:
                numbers = [result.sums.number for result in advanced.values()]
                packed = [((each, result.sums.number), result.sums.pack()) for each, result in advanced.items()]
                sealed = keys.seal_many(JOURNAL_SUMS, packed)
                put = {
                    row["shard_id"]
                    for row in await connection.fetch(_SQL["put_sums_of"], list(advanced), numbers, sealed)
                }
                # Another process made the first sums of the other shards; their entries stay for the next folding.
                results = {each: result for each, result in results.items() if each in put or each not in advanced}
                await _delete_folded(connection, {each: advanced[each] for each in put})
        return results

    def _note_committed(self, shard_id: int, result: Folded) -> None:
        if result.has_progress:
            self._journal.has_seen(shard_id, result.sums.number)
        if not result.problems:
            self._journal.folded(shard_id, result.sums.writers.get(self._journal.writer, 0))

    def known(self, shard_id: int) -> tuple[Entry, int]:
        """Return what this process knows of a shard: the outcomes of its entries, and the newest number of the sums.

        Read it before the transaction that reads the entries, which then has every entry that was settled.
        """
        return self._journal.outcomes(shard_id), self._journal.newest.get(shard_id, 0)

    async def result(
        self,
        elements: ElementHash,
        shard_id: int,
        stored_sums: Row | None,
        rows: Sequence[Row],
        known: tuple[Entry, int],
        waited: Mapping[Awaited, float],
        *,
        limit: int | None,
    ) -> Folded:
        """Return what folding all entries that the database has would give.

        Args:
            elements: Hashes the images of the shard.
            shard_id: The shard in the journal.
            stored_sums: The row of the sums; None for a shard that was never folded.
            rows: The rows of the entries.
            known: What this process knew of the shard before the transaction; see `known`.
            waited: What `gaps` returned before the entries were read.
            limit: The most entries of each process that were read; None for all.

        Raises:
            KmsError: The keys are not available.
        """
        outcomes, newest = known
        counts = Counter(row["writer"] for row in rows)
        # The rows of a writer are in ascending order, so its last one counts.
        below = {row["writer"]: row["number"] + 1 for row in rows if counts[row["writer"]] == limit}
        sums, stored, problems = await opened(self._keyring, elements.keys, shard_id, stored_sums, rows)
        if sums.number < newest:
            problems.append(f"the sums have number {sums.number}, and this process has seen number {newest}")
        result = fold(sums, stored, elements, outcomes={self._journal.writer: outcomes}, waited=waited, below=below)
        result.problems[:0] = problems
        self.gaps.note(shard_id, result.gaps)
        return result


async def _delete_folded(connection: Connection, results: Mapping[int, Folded]) -> None:
    """Delete the entries that are in the sums now, of several shards."""
    folded = [(shard_id, *entry) for shard_id, result in results.items() for entry in result.entries]
    if folded:
        await connection.execute(_SQL["delete_entries_of"], *map(list, zip(*folded, strict=True)))
