"""What the index really holds, held against the records: document by document, tokens included."""

from __future__ import annotations

import asyncio
from collections import Counter
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from strongroom.kms import IntegrityError
from strongroom.storage import all_tokens, visibility_key
from strongroom.visibility.jobs.drift import Copy, Difference, Drift

from .documents import document_name, namespace_text, record_id, sealed_copy, to_document, token_texts
from .query import MAX_TERMS

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
    from contextlib import AbstractAsyncContextManager
    from uuid import UUID

    from strongroom.storage import Row, RunKey
    from strongroom.visibility.jobs.sealed_copies import SealedCopy

    from .index import ElasticsearchIndex

_PIECE = 500
"""Tokens of one document that one search asks for at most."""
_MOST_CLAUSES = 1000
"""Of one search; the smallest clusters allow 1,024."""
_AT_ONCE = 4
_DOCUMENT: dict[str, Any] = {
    "stored_fields": ["s"],
    "docvalue_fields": ["k", "b1", "b2", "d"],
    "version": True,
    "track_total_hits": False,
}
_PLACE: dict[str, Any] = {
    "stored_fields": [],
    "docvalue_fields": ["b1", "b2"],
    "version": True,
    "track_total_hits": False,
}


class ElasticsearchAudit:
    """See `AuditedIndex`.

    The tokens are in no field that can be read back. So a document is asked for by its id and all of its tokens: one that was taken
    out shows, one that was added does not.

    Args:
        index: to look into.
    """

    def __init__(self, index: ElasticsearchIndex) -> None:
        self._index = index
        self._places = asyncio.Semaphore(_AT_ONCE)

    async def refresh(self) -> None:
        """See `ElasticsearchIndex.refresh`."""
        await self._index.refresh()

    async def differences(self, rows: Sequence[Row]) -> dict[RunKey, Difference]:
        """Return what is wrong with the documents of records; those without a difference are left out.

        Args:
            rows: of `visibility_records`, tokens included.
        """
        hits: dict[bytes, list[Mapping[str, Any]]] = {row["id"]: [] for row in rows}
        for hit in await self._named(list(map(document_name, hits)), _DOCUMENT):
            hits[record_id(hit["_id"])].append(hit)
        drifts = {row["id"]: _drift(row, hits[row["id"]]) for row in rows}
        alike = [row for row in rows if drifts[row["id"]] is None]
        whole = await self._holding([(row["namespace_id"], row["id"], token_texts(all_tokens(row))) for row in alike])
        rest = [row for row in alike if row["id"] not in whole]
        there = await self._holding([(row["namespace_id"], row["id"], []) for row in rest])
        for row in rest:
            drifts[row["id"]] = Drift.TOKENS if row["id"] in there else Drift.NAMESPACE
        return {
            visibility_key(row): Difference(drift, tuple(map(_copy, hits[row["id"]])))
            for row in rows
            if (drift := drifts[row["id"]]) is not None
        }

    async def copies(
        self, namespace_id: UUID | None, known: Iterable[UUID], *, chunk: int
    ) -> AsyncIterator[list[Copy]]:
        """Yield all documents of a namespace as they were at one moment.

        Args:
            namespace_id: whose; None for documents that belong to none of those that are `known`.
            known: see there.
            chunk: how many at a time.
        """
        if namespace_id is not None:
            query: dict[str, Any] = {"term": {"n": namespace_text(namespace_id)}}
        else:
            texts = [namespace_text(one) for one in known]
            pieces = [texts[start : start + MAX_TERMS] for start in range(0, len(texts), MAX_TERMS)]
            query = {"bool": {"must_not": [{"terms": {"n": piece}} for piece in pieces]}}
        # In the order in which they lie in the index: that is the fastest, and no two documents are in the same place.
        body = {**_PLACE, "query": {"constant_score": {"filter": query}}, "size": chunk, "sort": ["_shard_doc"]}
        async with self._index.snapshot() as snapshot:
            while hits := (await self._index.search(body, snapshot=snapshot))["hits"]["hits"]:
                yield [_copy(hit) for hit in hits]
                body["search_after"] = hits[-1]["sort"]

    async def sealed_copies(self, namespace_id: UUID, *, chunk: int) -> AsyncIterator[list[SealedCopy]]:
        """Yield all documents of a namespace, by what they are sealed with, as they were at one moment."""
        query = {"constant_score": {"filter": {"term": {"n": namespace_text(namespace_id)}}}}
        body = {
            "query": query,
            "stored_fields": ["s"],
            "track_total_hits": False,
            "size": chunk,
            "sort": ["_shard_doc"],
        }
        async with self._index.snapshot() as snapshot:
            while hits := (await self._index.search(body, snapshot=snapshot))["hits"]["hits"]:
                yield [sealed_copy(namespace_id, hit) for hit in hits]
                body["search_after"] = hits[-1]["sort"]

    async def still(self, copies: Sequence[Copy]) -> list[Copy]:
        """Return which of these documents are there as they were."""
        now = {_copy(hit) for hit in await self._named([copy.name for copy in copies], _PLACE)}
        return [copy for copy in copies if copy in now]

    async def remove(self, copies: Sequence[Copy]) -> None:
        """Delete documents, each unless a newer version of it is there."""
        await self._index.remove([(copy.name, copy.version, copy.routing) for copy in copies])

    def forgetting_deletes(self) -> AbstractAsyncContextManager[None]:
        """See `ElasticsearchIndex.forgetting_deletes`."""
        return self._index.forgetting_deletes()

    async def _named(self, names: Sequence[str], fields: Mapping[str, Any]) -> list[Mapping[str, Any]]:
        if not names:
            return []
        # Twice as many: a document that was sent elsewhere by a routing may have the name of another one.
        query = {"constant_score": {"filter": {"ids": {"values": names}}}}
        answer = await self._index.search({**fields, "query": query, "size": 2 * len(names)}, snapshot=None)
        hits: list[Mapping[str, Any]] = answer["hits"]["hits"]
        return hits

    async def _holding(self, wanted: Iterable[tuple[UUID, bytes, list[str]]]) -> set[bytes]:
        """Return the ids of those documents that are in their namespace and hold all of their tokens."""
        searches: list[list[dict[str, Any]]] = []
        clauses, names = _MOST_CLAUSES, set[str]()
        pieces: Counter[str] = Counter()
        for namespace_id, identifier, tokens in wanted:
            name = document_name(identifier)
            for start in range(0, max(len(tokens), 1), _PIECE):
                piece = tokens[start : start + _PIECE]
                clauses += len(piece) + 2
                if clauses > _MOST_CLAUSES or name in names:
                    searches.append([])
                    clauses, names = len(piece) + 2, set()
                names.add(name)
                pieces[name] += 1
                one = [{"n": namespace_text(namespace_id)}, *({"t": token} for token in piece)]
                filters: list[dict[str, Any]] = [{"ids": {"values": [name]}}, *({"term": term} for term in one)]
                searches[-1].append({"bool": {"filter": filters}})
        found: Counter[str] = Counter()
        for hits in await asyncio.gather(*map(self._any, searches)):
            found.update(hits)
        return {record_id(name) for name, count in pieces.items() if found[name] == count}

    async def _any(self, clauses: list[dict[str, Any]]) -> list[str]:
        query = {"constant_score": {"filter": {"bool": {"should": clauses, "minimum_should_match": 1}}}}
        body = {"query": query, "size": 2 * len(clauses), "stored_fields": [], "track_total_hits": False}
        async with self._places:
            answer = await self._index.search(body, snapshot=None)
        return [hit["_id"] for hit in answer["hits"]["hits"] if "_routing" not in hit]


def _drift(row: Row, hits: Iterable[Mapping[str, Any]]) -> Drift | None:
    """Return what of a document is not as in its record, as far as it can be read back."""
    own = next((hit for hit in hits if "_routing" not in hit), None)
    if own is None:
        return Drift.MISSING
    fields, expected = own.get("fields", {}), to_document(row["namespace_id"], row)
    if own["_version"] != row["version"]:
        return Drift.VERSION
    if any(fields.get(name) != [expected[name]] for name in ("k", "b1", "b2", "d")):
        return Drift.BUCKET
    return Drift.RECORD if fields.get("s") != [expected["s"]] else None


def _copy(hit: Mapping[str, Any]) -> Copy:
    identifier = None
    with suppress(IntegrityError):  # a name that no record has
        identifier = record_id(hit["_id"])
    b1, b2 = (hit.get("fields", {}).get(name, ()) for name in ("b1", "b2"))
    return Copy(
        name=hit["_id"],
        id=identifier,
        version=hit["_version"],
        routing=hit.get("_routing"),
        b1=b1[0] if len(b1) == 1 else None,
        b2=b2[0] if len(b2) == 1 else None,
    )
