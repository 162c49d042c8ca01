"""Token queries answered by the cluster, for one namespace."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from strongroom.visibility.backends.search_index import CHUNK
from strongroom.visibility.backends.token_query import any_of

from .documents import to_row
from .mapping import SORT
from .query import to_clause, to_query

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence
    from uuid import UUID

    from strongroom.storage import Row
    from strongroom.visibility.backends.search_index import Place
    from strongroom.visibility.backends.token_query import TokenQuery

    from .index import ElasticsearchIndex

_ORDER = [{field: "desc"} for field in SORT]
_LOWEST = -(2**63)


class ElasticsearchReader:
    """See `IndexReader`.

    Args:
        index: where to search.
        namespace_id: whose documents.
        snapshot: id of a point in time; None for what is visible at each request.
    """

    def __init__(self, index: ElasticsearchIndex, namespace_id: UUID, snapshot: str | None) -> None:
        self._index = index
        self._namespace_id = namespace_id
        self._snapshot = snapshot

    async def count(self, query: TokenQuery) -> int:
        """See `IndexReader.count`."""
        wanted = to_query(self._namespace_id, query)
        if self._snapshot is None:
            return await self._index.count(wanted)
        body = {"query": wanted, "size": 0, "track_total_hits": True}
        answer = await self._index.search(body, snapshot=self._snapshot)
        return int(answer["hits"]["total"]["value"])

    async def counts(self, within: TokenQuery, parts: Sequence[TokenQuery]) -> list[int]:
        """See `IndexReader.counts`."""
        named = {str(place): to_clause(part) for place, part in enumerate(parts)}
        body = {
            "query": to_query(self._namespace_id, within),
            "size": 0,
            "track_total_hits": False,
            "aggs": {"parts": {"filters": {"filters": named}}},
        }
        buckets = (await self._index.search(body, snapshot=self._snapshot))["aggregations"]["parts"]["buckets"]
        return [int(buckets[name]["doc_count"]) for name in named]

    async def count_and_first(
        self, counted: TokenQuery, listed: TokenQuery, *, limit: int
    ) -> tuple[int, Sequence[Row]]:
        """See `IndexReader.count_and_first`: one request."""
        body = _page(to_query(self._namespace_id, any_of(counted, listed)), limit) | {
            "aggs": {"counted": {"filter": to_clause(counted)}},
            "post_filter": to_clause(listed),
        }
        answer = await self._index.search(body, snapshot=self._snapshot)
        return int(answer["aggregations"]["counted"]["doc_count"]), list(map(to_row, answer["hits"]["hits"]))

    async def pages(
        self, query: TokenQuery, *, start: Place | None = None, chunk: int = CHUNK
    ) -> AsyncIterator[Sequence[Row]]:
        """See `IndexReader.pages`."""
        body = _page(to_query(self._namespace_id, query), chunk)
        if start is not None:
            body["search_after"] = [start.b1, start.b2 + 1, _LOWEST]  # so that all of this second come
        while True:
            hits = (await self._index.search(body, snapshot=self._snapshot))["hits"]["hits"]
            yield list(map(to_row, hits))
            if len(hits) < body["size"]:
                return
            body["size"] = CHUNK
            body["search_after"] = hits[-1]["sort"]


def _page(query: dict[str, Any], size: int) -> dict[str, Any]:
    return {
        "query": query,
        "sort": _ORDER,
        "size": size,
        "track_total_hits": False,
        "stored_fields": ["s"],
        "docvalue_fields": ["k"],
    }
