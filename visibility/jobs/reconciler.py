"""Hold the search index against the records, and make it right again (DESIGN.md, "Reconciler").

First the records, chunk by chunk in the order of their key, each against its document; then the documents, which must all have a
record. What looks wrong is looked at again, after a refresh and between two readings of the record: only what stayed the same
meanwhile, and did not wait in the outbox, is drift. No key is needed, and nothing is kept but a chunk.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import islice
from types import MappingProxyType
from typing import TYPE_CHECKING, Protocol, TypeAlias

from strongroom.storage import BEFORE_ALL, visibility_key

from .drift import NamespaceTally, Reconciliation

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Collection, Iterable, Mapping, Sequence
    from contextlib import AbstractAsyncContextManager
    from uuid import UUID

    from strongroom.storage import Row, RunKey, VisibilityTruth

    from .drift import Copy, Difference, Drift
    from .indexer import Indexer

CHUNK = 500
CHUNK_BYTES = 4 * 2**20
PATIENCE = 90.0
"""Seconds for which a document is written again and again that the cluster remembers a newer deletion of."""
_PAUSE = 0.5
_MOST_REMEMBERED = 100_000
"""Drifted documents that are not taken for orphans as well. Beyond that a look without repairs may count one twice."""

Progress: TypeAlias = Callable[[str, int], None]
"""Called with what is looked at, "records" or "documents", and how many were so far."""


class AuditedIndex(Protocol):
    """An index that says what it really holds."""

    async def refresh(self) -> None:
        """Make what was written visible to searches."""

    async def differences(self, rows: Sequence[Row]) -> dict[RunKey, Difference]:
        """Return what is wrong with the documents of records."""

    def copies(self, namespace_id: UUID | None, known: Iterable[UUID], *, chunk: int) -> AsyncIterator[list[Copy]]:
        """Yield all documents of a namespace; without one, those of none that is known."""

    async def still(self, copies: Sequence[Copy]) -> list[Copy]:
        """Return which documents are there as they were."""

    async def remove(self, copies: Sequence[Copy]) -> None:
        """Delete documents, each unless a newer version of it is there."""

    def forgetting_deletes(self) -> AbstractAsyncContextManager[None]:
        """Let documents be written in any version as soon as they are deleted."""


class Reconciler:
    """Compares and repairs, once for each `run`.

    Args:
        truth: the records.
        index: the documents.
        indexer: of that index; writes what is to be repaired.
        patience: see `PATIENCE`.
    """

    def __init__(
        self, truth: VisibilityTruth, index: AuditedIndex, indexer: Indexer, *, patience: float = PATIENCE
    ) -> None:
        self._truth = truth
        self._index = index
        self._indexer = indexer
        self._patience = patience

    async def run(
        self, *, repair: bool = True, rewrite: bool = False, chunk: int = CHUNK, progress: Progress | None = None
    ) -> Reconciliation:
        """Go through records and documents. What breaks off can be run again; services may go on writing meanwhile.

        Args:
            repair: whether to write, or to look only.
            rewrite: send every document anew: a token that somebody added to a document can't be seen.
            chunk: how many at a time.
            progress: see there.

        Raises:
            StorageError, VisibilityError: the database or the index does not answer.
        """
        tally = _Tally()
        if repair:
            await self._indexer.sweep()
        after = BEFORE_ALL
        while rows := await self._truth.page(after, runs=chunk, size=CHUNK_BYTES):
            after = visibility_key(rows[-1])
            if rewrite and repair:
                await self._write([visibility_key(row) for row in rows])
                tally.rewritten += len(rows)
            await self._records(rows, tally, repair=repair)
            if progress is not None:
                progress("records", tally.records.total())
        known = await self._truth.namespaces() | tally.records.keys()
        seen = 0
        for namespace_id in (*sorted(known), None):
            async for copies in self._index.copies(namespace_id, known, chunk=chunk):
                await self._documents(copies, [namespace_id] if namespace_id else None, tally, repair=repair)
                seen += len(copies)
                if progress is not None:
                    progress("documents", seen)
        return tally.report()

    async def _records(self, rows: Sequence[Row], tally: _Tally, *, repair: bool) -> None:
        """Compare a chunk of records with their documents."""
        settled = {visibility_key(row): row for row in rows if not row["waiting"]}
        suspects = await self._index.differences(list(settled.values()))
        judged: dict[RunKey, Difference | None] = {key: None for key in settled if key not in suspects}
        judged |= await self._judge(suspects)
        found = _wrong(judged)
        tally.found.update(difference.drift for difference in found.values())
        tally.remember(key[2] for key, difference in found.items() if difference.copies)
        if repair and found:
            for key in found:
                del judged[key]
            judged |= (repaired := await self._repair(found))
            left = _wrong(repaired)
            tally.repaired.update(difference.drift for key, difference in found.items() if key not in left)
        tally.add((visibility_key(row) for row in rows), judged)

    async def _judge(self, suspects: Collection[RunKey]) -> dict[RunKey, Difference | None]:
        """Look at suspects again; those that changed meanwhile, or wait, are left out."""
        if not suspects:
            return {}
        before = await self._truth.again(suspects)
        await self._index.refresh()
        differences = await self._index.differences(list(before.values()))
        after = await self._truth.again(suspects)
        gone = dict.fromkeys(key for key in suspects if key not in after)  # if its document stayed, that is an orphan
        still = (key for key, row in after.items() if before.get(key) == row and not row["waiting"])
        return gone | {key: differences.get(key) for key in still}

    async def _repair(self, found: Mapping[RunKey, Difference]) -> dict[RunKey, Difference | None]:
        """Write documents anew, and judge them again."""
        await self._write(list(found))
        judged = await self._judge(found)
        if not (left := _wrong(judged)):
            return judged
        # A newer version is there, or is remembered as deleted: the cluster takes no older one.
        async with self._index.forgetting_deletes():
            until = time.monotonic() + self._patience
            while left and time.monotonic() < until:
                await self._index.remove([copy for difference in left.values() for copy in difference.copies])
                await asyncio.sleep(_PAUSE)
                await self._write(list(left))
                for key in left:
                    del judged[key]
                judged |= await self._judge(left)
                left = _wrong(judged)
        return judged

    async def _documents(
        self, copies: Sequence[Copy], namespaces: Collection[UUID] | None, tally: _Tally, *, repair: bool
    ) -> None:
        """Find the documents of a chunk that have no record, in certain namespaces or in any."""
        if not (suspects := await self._unowned(copies, namespaces, tally)):
            return
        await self._index.refresh()
        orphans = await self._unowned(await self._index.still(suspects), namespaces, tally)
        tally.orphans += len(orphans)
        if repair and orphans:
            await self._index.remove(orphans)
            await self._index.refresh()
            tally.removed += len(orphans) - len(await self._index.still(orphans))

    async def _unowned(
        self, copies: Sequence[Copy], namespaces: Collection[UUID] | None, tally: _Tally
    ) -> Sequence[Copy]:
        if namespaces is None:
            namespaces = await self._truth.namespaces() | tally.records.keys()
        places = [(copy.id, copy.b1, copy.b2) for copy in copies if copy.id is not None]
        owned = await self._truth.owned(places, namespaces) | tally.differing
        return [copy for copy in copies if copy.routing is not None or copy.id not in owned]

    async def _write(self, keys: Sequence[RunKey]) -> None:
        await self._truth.add_to_outbox(keys)
        await self._indexer.sweep()


def _wrong(judged: Mapping[RunKey, Difference | None]) -> dict[RunKey, Difference]:
    return {key: difference for key, difference in judged.items() if difference is not None}


@dataclass(slots=True)
class _Tally:
    """A `Reconciliation` in the making."""

    records: Counter[UUID] = field(default_factory=Counter)
    equal: Counter[UUID] = field(default_factory=Counter)
    changing: int = 0
    found: Counter[Drift] = field(default_factory=Counter)
    repaired: Counter[Drift] = field(default_factory=Counter)
    rewritten: int = 0
    orphans: int = 0
    removed: int = 0
    differing: set[bytes] = field(default_factory=set)

    def add(self, keys: Iterable[RunKey], judged: Mapping[RunKey, Difference | None]) -> None:
        for key in keys:
            self.records[key[1]] += 1
            self.equal[key[1]] += key in judged and judged[key] is None
            self.changing += key not in judged

    def remember(self, ids: Iterable[bytes]) -> None:
        self.differing.update(islice(ids, _MOST_REMEMBERED - len(self.differing)))

    def report(self) -> Reconciliation:
        return Reconciliation(
            records=self.records.total(),
            equal=self.equal.total(),
            changing=self.changing,
            found=MappingProxyType(dict(self.found)),
            repaired=MappingProxyType(dict(self.repaired)),
            rewritten=self.rewritten,
            orphans=self.orphans,
            removed=self.removed,
            namespaces=tuple(NamespaceTally(one, self.records[one], self.equal[one]) for one in sorted(self.records)),
        )
