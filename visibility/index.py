"""What every search index offers: documents that satisfy a token query, in the order of their buckets, and how many there are."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from contextlib import AbstractAsyncContextManager
    from uuid import UUID

    from strongroom.storage import Row

    from .token_query import TokenQuery


@dataclass(frozen=True, slots=True)
class Place:
    """A place in the order of an index: before it stand greater (b1, b2)."""

    b1: int
    b2: int


class IndexReader(Protocol):
    """Answers the token queries of one call."""

    async def count(self, namespace_id: UUID, query: TokenQuery) -> int:
        """Return how many documents of a namespace satisfy a token query."""

    def documents(self, namespace_id: UUID, query: TokenQuery, *, start: Place | None = None) -> AsyncIterator[Row]:
        """Yield sealed documents, in descending order of (b1, b2), from a place on.

        A row has `shard_id`, `id`, `version`, `k`, `b1`, `b2` and `s`. One that changes meanwhile may come twice.
        """


class VisibilityIndex(Protocol):
    """A search index."""

    def reading(self, *, snapshot: bool) -> AbstractAsyncContextManager[IndexReader]:
        """Begin a call.

        Args:
            snapshot: whether all of its reads must see the same documents, as those that are added up must.
        """
