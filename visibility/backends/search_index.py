"""What every search index offers: documents that satisfy a token query, in the order of their buckets, and how many there are."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence
    from contextlib import AbstractAsyncContextManager
    from uuid import UUID

    from strongroom.storage import Row

    from .token_query import TokenQuery


CHUNK = 200
"""Documents fetched at a time, unless it is known how many are wanted."""


@dataclass(frozen=True, slots=True)
class Place:
    """A place in the order of an index: before it stand greater (b1, b2)."""

    b1: int
    b2: int


class IndexReader(Protocol):
    """Answers the token queries of one call about a namespace."""

    async def count(self, query: TokenQuery) -> int:
        """Return how many documents satisfy a token query."""

    async def counts(self, within: TokenQuery, parts: Sequence[TokenQuery]) -> list[int]:
        """Return how many of the documents that satisfy a token query satisfy each of some others, all seen at one moment."""

    async def count_and_first(
        self, counted: TokenQuery, listed: TokenQuery, *, limit: int
    ) -> tuple[int, Sequence[Row]]:
        """Return how many documents satisfy a token query, and the first that satisfy another, all seen at one moment.

        For the rows see `pages`.
        """

    def pages(
        self, query: TokenQuery, *, start: Place | None = None, chunk: int = CHUNK
    ) -> AsyncIterator[Sequence[Row]]:
        """Yield sealed documents, in descending order of (b1, b2), from a place on: so many at first, then `CHUNK` at a time.

        A row has `shard_id`, `id`, `version`, `k`, `b1`, `b2` and `s`. One that changes meanwhile may come twice.
        """


class VisibilityIndex(Protocol):
    """A search index."""

    def reading(self, namespace_id: UUID, *, snapshot: bool) -> AbstractAsyncContextManager[IndexReader]:
        """Begin a call.

        Args:
            namespace_id: that it is about.
            snapshot: whether all of its reads must see the same documents, as those that are added up must.
        """
