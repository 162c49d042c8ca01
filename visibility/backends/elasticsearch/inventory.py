"""All documents of the index, and their comparison with the records."""

from __future__ import annotations

import asyncio
from collections import Counter
from contextlib import aclosing, suppress
from typing import TYPE_CHECKING, Any

from strongroom.kms import IntegrityError
from strongroom.storage import visibility_key
from strongroom.storage.visibility_rows.records import all_tokens
from strongroom.visibility.backends.drift import Difference, DocumentCopy, Drift
from strongroom.visibility.errors import SearchIndexAnswerError

from .answers import hit_fields, hits
from .documents import (
    WRITER_TEXT,
    deleted_namespace_text,
    document_name,
    namespace_text,
    record_id,
    sealed_copy,
    to_document,
    token_texts,
    writer_of,
)
from .query import MAX_TERMS

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator, Iterable, Mapping, Sequence
    from uuid import UUID

    from strongroom.storage import Row, RunKey
    from strongroom.visibility.backends.drift import SealedCopy

    from .client import ElasticsearchClient

_TOKENS_PER_CLAUSE = 500
"""Maximum number of tokens of one document that one search asks for."""
_CLAUSES_PER_SEARCH = 1000
"""Maximum number of clauses of one search. The smallest clusters allow 1,024."""
_CONCURRENT_SEARCHES = 4
_MARKS = 1000
"""Number of marks that are read at a time."""
_COMPARED_FIELDS: dict[str, Any] = {
    "stored_fields": ["s"],
    "docvalue_fields": ["k", "b1", "b2", "d", "g"],
    "version": True,
    "track_total_hits": False,
}
_COPY_FIELDS: dict[str, Any] = {
    "stored_fields": [],
    "docvalue_fields": ["b1", "b2"],
    "version": True,
    "track_total_hits": False,
}


class ElasticsearchInventory:
    """Lists and compares documents.

    The tokens of a document can't be read back. So each document is searched for by its id and all of its tokens. A search finds
    no document that lost a token. It does find a document that has an added token.

    Args:
        client: The connection to the cluster.
    """

    def __init__(self, client: ElasticsearchClient) -> None:
        self._client = client
        self._searches = asyncio.Semaphore(_CONCURRENT_SEARCHES)

    async def differences(self, rows: Sequence[Row]) -> dict[RunKey, Difference]:
        """See `SearchIndex.differences`."""
        found: dict[bytes, list[Mapping[str, Any]]] = {row["id"]: [] for row in rows}
        for hit in await self._by_name(list(map(document_name, found)), _COMPARED_FIELDS):
            found[record_id(hit["_id"])].append(hit)
        drifts = {row["id"]: _field_drift(row, found[row["id"]]) for row in rows}
        alike = [row for row in rows if drifts[row["id"]] is None]
        complete = await self._with_tokens(
            [(row["namespace_id"], row["id"], token_texts(all_tokens(row))) for row in alike]
        )
        incomplete = [row for row in alike if row["id"] not in complete]
        in_namespace = await self._with_tokens([(row["namespace_id"], row["id"], []) for row in incomplete])
        for row in incomplete:
            drifts[row["id"]] = Drift.TOKENS if row["id"] in in_namespace else Drift.NAMESPACE
        return {
            visibility_key(row): Difference(drift, tuple(map(_copy, found[row["id"]])))
            for row in rows
            if (drift := drifts[row["id"]]) is not None
        }

    async def copies(
        self, namespace_id: UUID | None, known: Iterable[UUID], *, chunk: int
    ) -> AsyncIterator[list[DocumentCopy]]:
        """See `SearchIndex.copies`."""
        if namespace_id is not None:
            query: dict[str, Any] = {"term": {"n": namespace_text(namespace_id)}}
        else:
            texts = [text for each in known for text in (namespace_text(each), deleted_namespace_text(each))]
            texts.append(WRITER_TEXT)
            pieces = [texts[start : start + MAX_TERMS] for start in range(0, len(texts), MAX_TERMS)]
            query = {"bool": {"must_not": [{"terms": {"n": piece}} for piece in pieces]}}
        async with aclosing(self._all_hits(query, _COPY_FIELDS, chunk)) as pages:
            async for found in pages:
                yield [_copy(hit) for hit in found]

    async def sealed_copies(self, namespace_id: UUID, *, chunk: int) -> AsyncIterator[list[SealedCopy]]:
        """See `SearchIndex.sealed_copies`."""
        query = {"term": {"n": namespace_text(namespace_id)}}
        async with aclosing(self._all_hits(query, {"stored_fields": ["s"], "track_total_hits": False}, chunk)) as pages:
            async for found in pages:
                yield [sealed_copy(namespace_id, hit) for hit in found]

    async def marks(self) -> dict[UUID, int]:
        """Return the mark of each writer. Each process that ever wrote to the index is one, so they can be many."""
        fields = {"stored_fields": [], "version": True, "track_total_hits": False}
        async with aclosing(self._all_hits({"term": {"n": WRITER_TEXT}}, fields, _MARKS)) as pages:
            return {
                writer: _version(hit)
                async for found in pages
                for hit in found
                if (writer := writer_of(hit["_id"])) is not None
            }

    async def unchanged(self, copies: Sequence[DocumentCopy]) -> list[DocumentCopy]:
        """See `SearchIndex.unchanged`."""
        now = {_copy(hit) for hit in await self._by_name([copy.name for copy in copies], _COPY_FIELDS)}
        return [copy for copy in copies if copy in now]

    async def _all_hits(
        self, query: dict[str, Any], fields: Mapping[str, Any], chunk: int
    ) -> AsyncGenerator[Sequence[Mapping[str, Any]]]:
        """Yield all hits of a query at one moment. The order on disk is the fastest, and is unique for each document."""
        body = {**fields, "query": {"constant_score": {"filter": query}}, "size": chunk, "sort": ["_shard_doc"]}
        async with self._client.snapshot() as snapshot:
            while found := hits(await self._client.search(body, snapshot=snapshot)):
                yield found
                last = found[-1].get("sort")
                if last is None or last == body.get("search_after"):
                    raise SearchIndexAnswerError
                body["search_after"] = last

    async def _by_name(self, names: Sequence[str], fields: Mapping[str, Any]) -> Sequence[Mapping[str, Any]]:
        if not names:
            return []
        # Twice as many, because a document with a foreign routing can have the same name as another one.
        query = {"constant_score": {"filter": {"ids": {"values": names}}}}
        answer = await self._client.search({**fields, "query": query, "size": 2 * len(names)}, snapshot=None)
        found = hits(answer)
        if not {hit["_id"] for hit in found} <= set(names):
            raise SearchIndexAnswerError
        return found

    async def _with_tokens(self, documents: Iterable[tuple[UUID, bytes, list[str]]]) -> set[bytes]:
        """Return the ids of the documents that are in their namespace and have all of their tokens.

        Args:
            documents: Namespace id, record id and tokens of each document.
        """
        clauses = _TokenClauses()
        for namespace_id, identifier, tokens in documents:
            clauses.add(namespace_id, document_name(identifier), tokens)
        found: Counter[str] = Counter()
        for names in await asyncio.gather(*map(self._any, clauses.searches)):
            found.update(names)
        return {record_id(name) for name, count in clauses.counts.items() if found[name] == count}

    async def _any(self, clauses: list[dict[str, Any]]) -> list[str]:
        """Return the names of the documents that satisfy any of some clauses."""
        query = {"constant_score": {"filter": {"bool": {"should": clauses, "minimum_should_match": 1}}}}
        body = {"query": query, "size": 2 * len(clauses), "stored_fields": [], "track_total_hits": False}
        async with self._searches:
            answer = await self._client.search(body, snapshot=None)
        return [hit["_id"] for hit in hits(answer) if "_routing" not in hit]


class _TokenClauses:
    """Clauses that ask for documents by their tokens, divided into searches of a limited size.

    A document has at most one clause in each search, so the number of searches that find it is the number of its clauses that it
    satisfies.

    Attributes:
        searches: The clauses of each search.
        counts: The number of clauses of each document, by its name.
    """

    def __init__(self) -> None:
        self.searches: list[list[dict[str, Any]]] = []
        self.counts: Counter[str] = Counter()
        self._size = _CLAUSES_PER_SEARCH
        self._names: set[str] = set()

    def add(self, namespace_id: UUID, name: str, tokens: Sequence[str]) -> None:
        """Add the clauses of a document."""
        for start in range(0, max(len(tokens), 1), _TOKENS_PER_CLAUSE):
            piece = tokens[start : start + _TOKENS_PER_CLAUSE]
            self._size += len(piece) + 2
            if self._size > _CLAUSES_PER_SEARCH or name in self._names:
                self.searches.append([])
                self._size, self._names = len(piece) + 2, set()
            self._names.add(name)
            self.counts[name] += 1
            terms = [{"n": namespace_text(namespace_id)}, *({"t": token} for token in piece)]
            filters: list[dict[str, Any]] = [{"ids": {"values": [name]}}, *({"term": term} for term in terms)]
            self.searches[-1].append({"bool": {"filter": filters}})


def _field_drift(row: Row, hits: Iterable[Mapping[str, Any]]) -> Drift | None:
    """Return how the readable fields of a document differ from its record, or None if they do not."""
    hit = next((hit for hit in hits if "_routing" not in hit), None)
    if hit is None:
        return Drift.MISSING
    fields, expected = hit_fields(hit), to_document(row["namespace_id"], row)
    if hit.get("_version") != row["version"]:
        return Drift.VERSION
    if any(fields.get(name) != [expected[name]] for name in ("k", "b1", "b2", "d")):
        return Drift.BUCKET
    if fields.get("g", []) != expected["g"]:
        return Drift.TOKENS
    return Drift.RECORD if fields.get("s") != [expected["s"]] else None


def _copy(hit: Mapping[str, Any]) -> DocumentCopy:
    identifier = None
    with suppress(IntegrityError):  # no record has such a name
        identifier = record_id(hit["_id"])
    fields = hit_fields(hit)
    return DocumentCopy(
        name=hit["_id"],
        id=identifier,
        version=_version(hit),
        routing=hit.get("_routing"),
        close_bucket=_only(fields.get("b1")),
        start_bucket=_only(fields.get("b2")),
    )


def _only(values: Any) -> int | None:
    """Return the only value of a field; None if it has none or several, or something else than a number."""
    return values[0] if isinstance(values, list) and len(values) == 1 and type(values[0]) is int else None


def _version(hit: Mapping[str, Any]) -> int:
    """Return the version of the document of a hit."""
    version = hit.get("_version")
    if type(version) is not int:
        raise SearchIndexAnswerError
    return version
