"""Answer token queries in one namespace, from the cluster."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from strongroom.visibility.backends.search_index import CHUNK
from strongroom.visibility.backends.token_query import any_of

from .answers import aggregation, documents, filter_counts, hits, total
from .documents import to_row
from .mapping import SORT
from .query import to_clause, to_query

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence
    from uuid import UUID

    from strongroom.storage import Row
    from strongroom.visibility.backends.search_index import BucketPosition
    from strongroom.visibility.backends.token_query import TokenQuery

    from .client import ElasticsearchClient

_ORDER = [{field: "desc"} for field in SORT]
_LOWEST = -(2**63)


class ElasticsearchReader:
    """See `IndexReader`.

    Args:
        client: The connection to the cluster.
        namespace_id: The namespace to search.
        snapshot: The id of a point in time; None to search what is visible at each request.
    """

    def __init__(self, client: ElasticsearchClient, namespace_id: UUID, snapshot: str | None) -> None:
        self._client = client
        self._namespace_id = namespace_id
        self._snapshot = snapshot

    async def count(self, query: TokenQuery) -> int:
        """See `IndexReader.count`."""
        body = {"query": to_query(self._namespace_id, query), "size": 0, "track_total_hits": True}
        return total(await self._search(body))

    async def counts(self, within: TokenQuery, parts: Sequence[TokenQuery]) -> list[int]:
        """See `IndexReader.counts`."""
        filters = {str(number): to_clause(part) for number, part in enumerate(parts)}
        body = {
            "query": to_query(self._namespace_id, within),
            "size": 0,
            "track_total_hits": False,
            "aggs": {"parts": {"filters": {"filters": filters}}},
        }
        return filter_counts(await self._search(body), "parts", list(filters))

    async def count_and_first(
        self, counted: TokenQuery, listed: TokenQuery, *, limit: int
    ) -> tuple[int, Sequence[Row]]:
        """See `IndexReader.count_and_first`. One request sees one moment."""
        body = _page(to_query(self._namespace_id, any_of(counted, listed)), limit) | {
            "aggs": {"counted": {"filter": to_clause(counted)}},
            "post_filter": to_clause(listed),
        }
        answer = await self._search(body)
        return documents(aggregation(answer, "counted")), list(map(to_row, hits(answer)))

    async def pages(
        self, query: TokenQuery, *, start: BucketPosition | None = None, chunk: int = CHUNK
    ) -> AsyncIterator[Sequence[Row]]:
        """See `IndexReader.pages`."""
        body = _page(to_query(self._namespace_id, query), chunk)
        if start is not None:
            # The next higher second, so that all documents of the start's second come.
            body["search_after"] = [start.close_bucket, start.start_bucket + 1, _LOWEST]
        while True:
            found = hits(await self._search(body))
            yield list(map(to_row, found))
            if len(found) < body["size"]:
                return
            body["size"] = CHUNK
            body["search_after"] = found[-1]["sort"]

    async def _search(self, body: dict[str, Any]) -> dict[str, Any]:
        return await self._client.search(body, snapshot=self._snapshot)


def _page(query: dict[str, Any], size: int) -> dict[str, Any]:
    return {
        "query": query,
        "sort": _ORDER,
        "size": size,
        "track_total_hits": False,
        "stored_fields": ["s"],
        "docvalue_fields": ["k"],
    }
