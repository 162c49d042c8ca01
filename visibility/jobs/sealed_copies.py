"""Renew the sealed records in a search index when the data key changes (storage/DESIGN.md, "Resealing").

When a record is resealed, its run is added to the outbox, and an indexer writes the document. A slow indexer can still write a
document with the older sealed record. This module finds such documents and adds their runs to the outbox again.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from strongroom.visibility.errors import SearchIndexMismatch

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence
    from uuid import UUID

    from strongroom.storage import ResealProgress, RunKey, VisibilityTruth
    from strongroom.visibility.backends.drift import SealedCopy
    from strongroom.visibility.backends.search_index import SearchIndex

    from .indexer import Indexer

CHUNK = 500
_ATTEMPTS = 10


class IndexCopies:
    """The sealed records in a search index; see `strongroom.storage.SealedCopies`.

    Args:
        index: The search index.
        truth: The records.
        indexer: The indexer of the search index.
        pause: Time between two attempts, in seconds.
    """

    def __init__(self, index: SearchIndex, truth: VisibilityTruth, indexer: Indexer, *, pause: float = 0.5) -> None:
        self._index = index
        self._truth = truth
        self._indexer = indexer
        self._pause = pause

    async def renew(self, namespace_id: UUID, version: int, progress: ResealProgress) -> int:
        """Write the documents that are sealed with older data keys again, until there are none.

        Args:
            namespace_id: The namespace.
            version: The oldest version of the data key that documents may keep.
            progress: Called with "index" and the number of documents left.

        Returns:
            The largest number of such documents in one pass.

        Raises:
            SearchIndexMismatch: Some documents can't be renewed, because they have no record, or because the record does not open.
            StorageError, VisibilityError: The database or the search index failed. Run the step again.
        """
        most, fewest, attempts = 0, None, _ATTEMPTS
        while True:
            left = await self._renew_once(namespace_id, version, progress)
            if not left:
                return most
            most = max(most, left)
            attempts = _ATTEMPTS if fewest is None or left < fewest else attempts - 1
            fewest = left if fewest is None else min(left, fewest)
            if not attempts:
                break
            await asyncio.sleep(self._pause)
        msg = (
            f"the search index keeps {fewest} documents of an older data key, and no record replaces them; "
            "run 'strongroom index reconcile' to repair it, then continue"
        )
        raise SearchIndexMismatch(msg)

    async def uses(self, namespace_id: UUID, version: int) -> int:
        """Return the number of documents that are sealed with a data key, plus those that have no sealed record in a known format.

        Args:
            namespace_id: The namespace.
            version: The version of the data key.

        Raises:
            StorageError, VisibilityError: The database or the search index failed.
        """
        await self._indexer.sweep()
        await self._index.refresh()
        uses = 0
        async for copies in self._index.sealed_copies(namespace_id, chunk=CHUNK):
            uses += sum(copy.version in (0, version) for copy in copies)
        return uses

    async def _renew_once(self, namespace_id: UUID, version: int, progress: ResealProgress) -> int:
        """Add the runs of older documents to the outbox. Return the number of these documents."""
        await self._indexer.sweep()
        left = 0
        async for copies in self._older(namespace_id, version):
            left += len(copies)
            await self._add_to_outbox([copy.key for copy in copies if copy.key is not None])
            progress("index", left)
        return left

    async def _older(self, namespace_id: UUID, version: int) -> AsyncIterator[list[SealedCopy]]:
        await self._index.refresh()
        async for copies in self._index.sealed_copies(namespace_id, chunk=CHUNK):
            if older := [copy for copy in copies if copy.version < version]:
                yield older

    async def _add_to_outbox(self, keys: Sequence[RunKey]) -> None:
        """Add runs to the outbox, except those without a record: a document can have a key that no record has."""
        records = await self._truth.again(keys) if keys else {}
        if records:
            await self._truth.add_to_outbox(list(records))
