"""The documents of a search index as users of data keys: each holds a copy of a sealed record (storage/DESIGN.md, "Resealing").

When a record is sealed anew its run is put into the outbox, and an indexer writes the document anew. What is left after that was
written by an indexer that was late; those runs are put there again.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from strongroom.visibility.errors import SearchIndexMismatch

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
    from uuid import UUID

    from strongroom.storage import ResealProgress, RunKey, VisibilityTruth

CHUNK = 500
_ATTEMPTS = 10
_PAUSE = 0.5


@dataclass(frozen=True, slots=True)
class SealedCopy:
    """A document by the data key that it needs.

    Attributes:
        key: of the record that it is a copy of; None where it does not say one.
        version: of the data key; 0 where what it holds is not of the sealed format.
    """

    key: RunKey | None
    version: int


class CopyingIndex(Protocol):
    """An index that says what its documents are sealed with."""

    async def refresh(self) -> None:
        """Make what was written visible to searches."""

    def sealed_copies(self, namespace_id: UUID, *, chunk: int) -> AsyncIterator[Sequence[SealedCopy]]:
        """Yield all documents of a namespace as they were at one moment."""


class IndexCopies:
    """See `strongroom.storage.SealedCopies`.

    Args:
        index: the documents.
        truth: the records.
        tell: writes to the index what waits for it.
    """

    def __init__(self, index: CopyingIndex, truth: VisibilityTruth, tell: Callable[[], Awaitable[object]]) -> None:
        self._index = index
        self._truth = truth
        self._tell = tell

    async def renew(self, namespace_id: UUID, version: int, progress: ResealProgress) -> int:
        """Write documents of older versions anew, until there are none; return how many were found.

        Raises:
            SearchIndexMismatch: some stay: they have no record, or a record that does not open.
            StorageError, VisibilityError: the database or the index does not answer; run it again.
        """
        found, fewest, patience = 0, None, _ATTEMPTS
        while True:
            await self._tell()
            left = 0
            async for copies in self._older(namespace_id, version):
                left += len(copies)
                await self._add_to_outbox([copy.key for copy in copies if copy.key is not None])
                progress("index", left)
            if not left:
                return found
            found = max(found, left)
            patience = _ATTEMPTS if fewest is None or left < fewest else patience - 1
            fewest = left if fewest is None else min(left, fewest)
            if not patience:
                break
            await asyncio.sleep(_PAUSE)
        msg = (
            f"the search index keeps {fewest} documents of an older data key that no record accounts for; "
            "repair it, then go on: strongroom index reconcile"
        )
        raise SearchIndexMismatch(msg)

    async def uses(self, namespace_id: UUID, version: int) -> int:
        """Return how many documents of a namespace name a version, or hold nothing of the sealed format."""
        await self._tell()
        await self._index.refresh()
        uses = 0
        async for copies in self._index.sealed_copies(namespace_id, chunk=CHUNK):
            uses += sum(copy.version in (0, version) for copy in copies)
        return uses

    async def _older(self, namespace_id: UUID, version: int) -> AsyncIterator[list[SealedCopy]]:
        await self._index.refresh()
        async for copies in self._index.sealed_copies(namespace_id, chunk=CHUNK):
            if older := [copy for copy in copies if copy.version < version]:
                yield older

    async def _add_to_outbox(self, keys: Sequence[RunKey]) -> None:
        """Put runs into the outbox, but for those without a record: a document that says another place than its own stays."""
        there = await self._truth.again(keys) if keys else {}
        if there:
            await self._truth.add_to_outbox(list(there))
