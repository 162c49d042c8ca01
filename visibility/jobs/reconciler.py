"""Compare the documents of a search index with their records, and repair them (DESIGN.md, "Reconciler").

First, the records are read in the order of their keys, and each is compared with its document. Then the documents are read, and
each must have a record. A suspect is checked again, after a refresh and between two readings of its record. It is drift only if the
record did not change between the readings and is not in the outbox. No key is needed. Only one chunk is in memory at a time.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Callable
from contextlib import aclosing
from dataclasses import dataclass, field
from itertools import islice
from types import MappingProxyType
from typing import TYPE_CHECKING, TypeAlias

from strongroom.kms import commits_several_times
from strongroom.storage import BEFORE_ALL, visibility_key
from strongroom.visibility.backends.search_index import with_new_snapshots

from .reconciliation import NamespaceTally, Reconciliation
from .restored import compare_marks, forget_seen

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Collection, Iterable, Mapping, Sequence
    from uuid import UUID

    from strongroom.storage import Row, RunKey, VisibilityTruth
    from strongroom.storage.visibility_rows.marks import IndexMarks
    from strongroom.visibility.backends.drift import Difference, DocumentCopy, Drift
    from strongroom.visibility.backends.search_index import SearchIndex

    from .indexer import Indexer
    from .restored import MarkedIndex

CHUNK = 500
"""Number of records or documents that are read at a time."""
CHUNK_BYTES = 4 * 2**20
"""Size of the sealed records that are read at a time, in bytes."""
RETRY_TIME = 90.0
_MOST_REMEMBERED = 100_000
"""Maximum number of wrong documents that are remembered, so that they are not counted as orphans too.

If there are more, a run without repairs can count some documents twice.
"""

Progress: TypeAlias = Callable[[str, int], None]
"""Called with "records" or "documents", and the number of them that were read so far."""


class Reconciler:
    """Compares and repairs all namespaces, once per `run`.

    Args:
        truth: The records.
        index: The search index.
        indexer: The indexer of that index, which writes the repairs.
        retry_time: Time for which a document is written repeatedly if the index still remembers a newer deletion, in seconds.
        pause: Time between two of these attempts, in seconds.
        marks: The marks in the database, and the index with its copies of them; None for none. A complete repair forgets them.
    """

    def __init__(
        self,
        truth: VisibilityTruth,
        index: SearchIndex,
        indexer: Indexer,
        *,
        retry_time: float = RETRY_TIME,
        pause: float = 0.5,
        marks: tuple[IndexMarks, MarkedIndex] | None = None,
    ) -> None:
        self._truth = truth
        self._index = index
        self._indexer = indexer
        self._retry_time = retry_time
        self._pause = pause
        self._marks = marks

    @commits_several_times
    async def run(
        self, *, repair: bool = True, rewrite: bool = False, chunk: int = CHUNK, progress: Progress | None = None
    ) -> Reconciliation:
        """Compare all records and documents. Services may write at the same time. An interrupted run can be started again.

        Args:
            repair: Whether to repair.
            rewrite: Whether to write every document again. This removes added tokens, which no comparison finds.
            chunk: Maximum number of records or documents that are read at a time.
            progress: Called after each chunk.

        Raises:
            StorageError, VisibilityError: The database or the index failed.
        """
        tally = _Tally()
        seen = None if self._marks is None else await compare_marks(*self._marks)
        if repair:
            await self._indexer.sweep()
        async with aclosing(self._records(chunk)) as chunks:
            async for rows in chunks:
                if rewrite and repair:
                    await self._write([visibility_key(row) for row in rows])
                    tally.rewritten += len(rows)
                await self._compare_records(rows, tally, repair=repair)
                if progress is not None:
                    progress("records", tally.records.total())
        known = await self._truth.namespaces() | tally.records.keys()
        for namespace_id in (*sorted(known), None):
            await self._read_documents(namespace_id, known, tally, chunk=chunk, repair=repair, progress=progress)
        report = tally.report()
        if self._marks is not None and seen is not None and repair and not report.left:
            await forget_seen(*self._marks, seen)
        return report

    async def _records(self, chunk: int) -> AsyncGenerator[Sequence[Row], None]:
        """Yield all records. The next chunk is read while one is compared.

        So a record can be older than its document; see `_judge`.
        """

        def page(after: RunKey) -> asyncio.Task[Sequence[Row]]:
            return asyncio.create_task(self._truth.page(after, runs=chunk, size=CHUNK_BYTES))

        reading = page(BEFORE_ALL)
        try:
            while rows := await reading:
                reading = page(visibility_key(rows[-1]))
                yield rows
        finally:
            reading.cancel()
            await asyncio.gather(reading, return_exceptions=True)  # until it has given its connection back

    async def _compare_records(self, rows: Sequence[Row], tally: _Tally, *, repair: bool) -> None:
        """Compare a chunk of records with their documents, and repair these."""
        settled = {visibility_key(row): row for row in rows if not row["waiting"]}
        suspects = await self._index.differences(list(settled.values()))
        judged: dict[RunKey, Difference | None] = {key: None for key in settled if key not in suspects}
        judged |= await self._judge(suspects)
        wrong = _wrong(judged)
        refused = [visibility_key(row) for row in rows if row["refused"]]
        if repair and refused:
            await self._write(refused)  # at once, because the reason of the refusal may be gone
            refused = list(await self._refused(refused))
        tally.refused += len(refused)
        tally.found.update(difference.drift for difference in wrong.values())
        tally.remember(key[2] for key, difference in wrong.items() if difference.copies)
        if repair and wrong:
            for key in wrong:
                del judged[key]
            judged |= (repaired := await self._repair(wrong))
            left = _wrong(repaired).keys() | await self._refused(wrong)
            tally.refused += len(left - repaired.keys())
            tally.repaired.update(difference.drift for key, difference in wrong.items() if key not in left)
        tally.add((visibility_key(row) for row in rows), judged)

    async def _refused(self, keys: Collection[RunKey]) -> set[RunKey]:
        """Return the runs whose documents the index refuses."""
        return {key for key, row in (await self._truth.again(keys)).items() if row["refused"]}

    async def _judge(self, suspects: Collection[RunKey]) -> dict[RunKey, Difference | None]:
        """Compare suspects again; leave out those that have changed or are waiting in the outbox."""
        if not suspects:
            return {}
        before = await self._truth.again(suspects)
        await self._index.refresh()
        differences = await self._index.differences(list(before.values()))
        after = await self._truth.again(suspects)
        deleted = dict.fromkeys(key for key in suspects if key not in after)  # a document that is left is an orphan
        unchanged = (key for key, row in after.items() if before.get(key) == row and not row["waiting"])
        return deleted | {key: differences.get(key) for key in unchanged}

    async def _repair(self, wrong: Mapping[RunKey, Difference]) -> dict[RunKey, Difference | None]:
        """Write documents again, and compare them again."""
        await self._write(list(wrong))
        judged = await self._judge(wrong)
        if not (left := _wrong(judged)):
            return judged
        # The index has a newer version, or remembers the deletion of one, and accepts no older version.
        async with self._index.accepting_older_versions():
            until = time.monotonic() + self._retry_time
            while left and time.monotonic() < until:
                await self._index.remove([copy for difference in left.values() for copy in difference.copies])
                await asyncio.sleep(self._pause)
                await self._write(list(left))
                for key in left:
                    del judged[key]
                judged |= await self._judge(left)
                left = _wrong(judged)
        return judged

    async def _read_documents(
        self,
        namespace_id: UUID | None,
        known: Collection[UUID],
        tally: _Tally,
        *,
        chunk: int,
        repair: bool,
        progress: Progress | None,
    ) -> None:
        """Find the orphans of a namespace. Its documents are read again if the snapshot that they are read from is lost."""
        namespaces = None if namespace_id is None else [namespace_id]
        orphans, removed, documents = tally.orphans, tally.removed, tally.documents

        async def read() -> None:
            # Of the orphans that a lost snapshot had, those that were not removed are found again.
            tally.orphans, tally.documents = orphans + tally.removed - removed, documents
            async for copies in self._index.copies(namespace_id, known, chunk=chunk):
                await self._find_orphans(copies, namespaces, tally, repair=repair)
                tally.documents += len(copies)
                if progress is not None:
                    progress("documents", tally.documents)

        await with_new_snapshots(read)

    async def _find_orphans(
        self, copies: Sequence[DocumentCopy], namespaces: Collection[UUID] | None, tally: _Tally, *, repair: bool
    ) -> None:
        """Find the documents of a chunk that have no record in some namespaces (None: in any), and delete them."""
        if not (suspects := await self._without_record(copies, namespaces, tally)):
            return
        await self._index.refresh()
        orphans = await self._without_record(await self._index.unchanged(suspects), namespaces, tally)
        tally.orphans += len(orphans)
        if repair and orphans:
            await self._index.remove(orphans)
            await self._index.refresh()
            tally.removed += len(orphans) - len(await self._index.unchanged(orphans))

    async def _without_record(
        self, copies: Sequence[DocumentCopy], namespaces: Collection[UUID] | None, tally: _Tally
    ) -> Sequence[DocumentCopy]:
        if namespaces is None:
            namespaces = await self._truth.namespaces() | tally.records.keys()
        positions = [(copy.id, copy.close_bucket, copy.start_bucket) for copy in copies if copy.id is not None]
        owned = await self._truth.owned(positions, namespaces) | tally.wrong_ids
        return [copy for copy in copies if copy.routing is not None or copy.id not in owned]

    async def _write(self, keys: Sequence[RunKey]) -> None:
        """Write the documents of runs, by way of the outbox."""
        await self._truth.add_to_outbox(keys)
        await self._indexer.sweep()


def _wrong(judged: Mapping[RunKey, Difference | None]) -> dict[RunKey, Difference]:
    return {key: difference for key, difference in judged.items() if difference is not None}


@dataclass(slots=True)
class _Tally:
    """Counts for a `Reconciliation`. `documents` were read, and `wrong_ids` are the records whose documents were wrong."""

    records: Counter[UUID] = field(default_factory=Counter)
    equal: Counter[UUID] = field(default_factory=Counter)
    changing: int = 0
    refused: int = 0
    found: Counter[Drift] = field(default_factory=Counter)
    repaired: Counter[Drift] = field(default_factory=Counter)
    rewritten: int = 0
    orphans: int = 0
    removed: int = 0
    documents: int = 0
    wrong_ids: set[bytes] = field(default_factory=set)

    def add(self, keys: Iterable[RunKey], judged: Mapping[RunKey, Difference | None]) -> None:
        """Count records. One that is not in `judged` is changing."""
        for key in keys:
            self.records[key[1]] += 1
            self.equal[key[1]] += key in judged and judged[key] is None
            self.changing += key not in judged

    def remember(self, ids: Iterable[bytes]) -> None:
        """Remember wrong documents, up to a limit."""
        self.wrong_ids.update(islice(ids, _MOST_REMEMBERED - len(self.wrong_ids)))

    def report(self) -> Reconciliation:
        """Return the result."""
        return Reconciliation(
            records=self.records.total(),
            equal=self.equal.total(),
            changing=self.changing,
            refused=self.refused,
            found=MappingProxyType(dict(self.found)),
            repaired=MappingProxyType(dict(self.repaired)),
            rewritten=self.rewritten,
            orphans=self.orphans,
            removed=self.removed,
            namespaces=tuple(NamespaceTally(one, self.records[one], self.equal[one]) for one in sorted(self.records)),
        )
