"""Answer token queries in one namespace, from the cluster."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from strongroom.visibility.backends.search_index import CHUNK, FEW, LARGE_CHUNK, LIST_ORDER, GroupCounts
from strongroom.visibility.backends.token_query import any_of
from strongroom.visibility.index.tokens import GROUP_TAG_BITS

from .answers import aggregation, bucket_hits, documents, filter_counts, group_buckets, group_counts, hits, total
from .documents import document_name, group_texts, namespace_text, tie_break, to_row, unsorted_row
from .mapping import SORT
from .query import to_clause, to_query

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Collection, Mapping, Sequence
    from uuid import UUID

    from strongroom.storage import Row
    from strongroom.visibility.backends.search_index import IndexOrder, IndexPosition
    from strongroom.visibility.backends.token_query import TokenQuery

    from .client import ElasticsearchClient

_LOWEST, _HIGHEST = -(2**63), 2**63 - 1
_UNSORTED_FIELDS: dict[str, Any] = {"stored_fields": ["s"], "docvalue_fields": ["k", "b1", "b2"]}
"""The fields that `unsorted_row` reads."""
_SORTED_FIELDS: dict[str, Any] = {"stored_fields": ["s"], "docvalue_fields": ["k"]}
"""The fields that `to_row` reads, besides the sort values."""


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
        answer = await self._search(self._aggregated(within, {"parts": {"filters": {"filters": filters}}}))
        return filter_counts(answer, "parts", list(filters))

    async def groups(self, query: TokenQuery, first: int, *, having: TokenQuery, most: int) -> GroupCounts:
        """See `IndexReader.groups`. More than 10,000 groups are below Elasticsearch's default `search.max_buckets`."""
        del having  # the aggregation reads nothing of a document without a group token
        tag = f"{first:016x}"[: GROUP_TAG_BITS // 4]
        terms = {"field": "g", "include": f"{tag}.*", "size": most + 1}
        body = self._aggregated(query, {"groups": {"terms": terms}}) | {"track_total_hits": True}
        answer = await self._search(body)
        return GroupCounts(total(answer), group_counts(answer, "groups", most=most))

    async def of_groups(self, query: TokenQuery, first: int, tokens: Collection[int]) -> Mapping[int, Row]:
        """See `IndexReader.of_groups`."""
        del first
        terms = {"field": "g", "include": group_texts(sorted(tokens)), "size": len(tokens)}
        one = {"one": {"top_hits": {"size": 1, **_UNSORTED_FIELDS}}}
        answer = await self._search(self._aggregated(query, {"groups": {"terms": terms, "aggs": one}}))
        found = group_buckets(answer, "groups", most=len(tokens))
        return {token: unsorted_row(*bucket_hits(bucket, "one", limit=1)) for token, bucket in found.items()}

    def _aggregated(self, query: TokenQuery, aggregations: dict[str, Any]) -> dict[str, Any]:
        """Return a search that returns aggregations of the documents of a query, and no documents."""
        return {
            "query": to_query(self._namespace_id, query),
            "size": 0,
            "track_total_hits": False,
            "aggs": aggregations,
        }

    async def rows(self, keys: Sequence[tuple[int, bytes]]) -> Sequence[Row]:
        """See `IndexReader.rows`."""
        rows: list[Row] = []
        for start in range(0, len(keys), LARGE_CHUNK):
            names = [document_name(identifier) for _, identifier in keys[start : start + LARGE_CHUNK]]
            body = {
                "query": {
                    "bool": {
                        "filter": [{"term": {"n": namespace_text(self._namespace_id)}}, {"ids": {"values": names}}]
                    }
                },
                "size": len(names),
                "track_total_hits": False,
                **_UNSORTED_FIELDS,
            }
            rows += [unsorted_row(hit) for hit in hits(await self._search(body))]
        return rows

    async def count_and_first(
        self, counted: TokenQuery, listed: TokenQuery, *, limit: int
    ) -> tuple[int, Sequence[Row]]:
        """See `IndexReader.count_and_first`. One request sees one moment.

        A few documents are hits of an aggregation: then the cluster does not sort those that are counted, and repeats the answer from
        its cache if no document has changed.
        """
        if limit <= FEW:
            first = {"top_hits": {"size": limit, **_SORTED_FIELDS, "sort": _sort(LIST_ORDER)}}
            parts = {
                "counted": {"filter": to_clause(counted)},
                "listed": {"filter": to_clause(listed), "aggs": {"first": first}},
            }
            answer = await self._search(self._aggregated(any_of(counted, listed), parts))
            found = bucket_hits(aggregation(answer, "listed"), "first", limit=limit)
        else:
            body = _page(to_query(self._namespace_id, any_of(counted, listed)), limit) | {
                "aggs": {"counted": {"filter": to_clause(counted)}},
                "post_filter": to_clause(listed),
            }
            answer = await self._search(body)
            found = hits(answer)
        return documents(aggregation(answer, "counted")), [to_row(hit, LIST_ORDER) for hit in found]

    async def pages(
        self,
        query: TokenQuery,
        *,
        order: IndexOrder = LIST_ORDER,
        start: IndexPosition | None = None,
        chunk: int = CHUNK,
    ) -> AsyncIterator[Sequence[Row]]:
        """See `IndexReader.pages`."""
        body = _page(to_query(self._namespace_id, query), chunk, order)
        if start is not None:
            body["search_after"] = _search_after(order, start)
        following = max(chunk, CHUNK)
        while True:
            found = hits(await self._search(body))
            yield [to_row(hit, order) for hit in found]
            if len(found) < body["size"]:
                return
            body["size"], following = following, LARGE_CHUNK
            body["search_after"] = found[-1]["sort"]

    async def _search(self, body: dict[str, Any]) -> dict[str, Any]:
        return await self._client.search(body, snapshot=self._snapshot)


def _page(query: dict[str, Any], size: int, order: IndexOrder = LIST_ORDER) -> dict[str, Any]:
    return {"query": query, "sort": _sort(order), "size": size, "track_total_hits": False, **_SORTED_FIELDS}


def _sort(order: IndexOrder) -> list[dict[str, str]]:
    direction = "desc" if order.descending else "asc"
    return [{field: direction} for field in (*order.columns, SORT[-1])]


def _search_after(order: IndexOrder, position: IndexPosition) -> list[int]:
    """Return the sort values after which the documents of a position come."""
    if position.after is not None:
        return [*position.buckets, tie_break(position.after)]
    # The neighbour of the last bucket, with the last values there: all documents of the position's buckets come after it.
    *before, last = position.buckets
    neighbour, end = (last + 1, _LOWEST) if order.descending else (last - 1, _HIGHEST)
    return [*before, neighbour, *[end] * (len(SORT) - len(position.buckets))]
