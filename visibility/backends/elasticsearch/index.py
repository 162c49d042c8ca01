"""The search index in an Elasticsearch cluster."""

from __future__ import annotations

import struct
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, Self

from strongroom.visibility.backends.search_index import CHUNK, Refusal

from .administration import check_index, create_index, drop_index
from .answers import acknowledged, by_index, found_documents, hits, refreshed, term_counts, total
from .bulk import BulkAction, require_all
from .client import SYSTEM_CERTIFICATES, ElasticsearchClient
from .delivery import deliver
from .documents import (
    NO_EPOCH,
    WRITER_TEXT,
    deleted_namespace_text,
    deletion_mark,
    document_name,
    mark_version,
    namespace_text,
    record_id,
    to_document,
    writer_name,
)
from .inventory import ElasticsearchInventory
from .reader import ElasticsearchReader

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
    from types import TracebackType
    from uuid import UUID

    from strongroom.kms import TlsFiles
    from strongroom.storage import Row, RunKey
    from strongroom.visibility.backends.drift import Difference, DocumentCopy, SealedCopy

_NOT_ENCODABLE = (struct.error, TypeError, ValueError, OverflowError)
_GC_DELETES, _AT_ONCE = "index.gc_deletes", "1ms"


class ElasticsearchIndex:
    """See `SearchIndex`. An index of the documents of all namespaces, under an alias.

    Args:
        url: Address of the cluster, https.
        name: The alias. The names of indices are derived from it.
        timeout: Timeout for one answer, in seconds.
        deadline: Time during which a failed request is sent again, in seconds.
        api_key: Credentials; None for none.
        tls: Trusted certificates, and the certificate of this client. Changed files are used for the next connection.
        insecure: Whether to accept http. This is for clusters on the same machine only.

    Raises:
        InvalidRequest: The URL is neither https nor allowed by `insecure`; or a TLS file can't be used.
    """

    is_copy = True
    concurrent_searches = 8  # of the client's ten connections to a node; the others are for the indexer

    def __init__(
        self,
        url: str,
        *,
        name: str = "strongroom-visibility",
        timeout: float = 10.0,
        deadline: float = 10.0,
        api_key: str | None = None,
        tls: TlsFiles = SYSTEM_CERTIFICATES,
        insecure: bool = False,
    ) -> None:
        self.client = ElasticsearchClient(
            url, name=name, timeout=timeout, deadline=deadline, api_key=api_key, tls=tls, insecure=insecure
        )
        self._inventory = ElasticsearchInventory(self.client)

    @property
    def name(self) -> str:
        """The alias."""
        return self.client.name

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Close all connections."""
        await self.client.aclose()

    async def create(self, *, shards: int = 1, replicas: int | None = None) -> bool:
        """Create the index, its template and its alias if the alias does not exist.

        Args:
            shards: Number of primary shards.
            replicas: Number of replicas of each shard; None for one per further node, up to two.

        Returns:
            Whether the index was created.

        Raises:
            SearchIndexMismatch: The alias exists, and its index has another version.
        """
        return await create_index(self.client, shards=shards, replicas=replicas)

    async def check(self) -> None:
        """Check that the index exists and is of this version.

        Raises:
            SearchIndexMismatch: The index does not exist, or has another version.
        """
        await check_index(self.client)

    async def drop(self) -> None:
        """Delete the index, its alias and its template. It is not an error if they do not exist."""
        await drop_index(self.client)

    async def count(self, query: dict[str, Any] | None = None) -> int:
        """Return the number of documents of runs that a search sees.

        Args:
            query: A query in Elasticsearch's language; None for the documents of all namespaces.
        """
        of_runs = {"filter": [query or {"match_all": {}}], "must_not": [{"term": {"k": NO_EPOCH}}]}
        body = {"query": {"bool": of_runs}, "size": 0, "track_total_hits": True}
        return total(await self.client.search(body, snapshot=None))

    @asynccontextmanager
    async def reading(self, namespace_id: UUID, *, snapshot: bool) -> AsyncIterator[ElasticsearchReader]:
        """See `SearchIndex.reading`."""
        if not snapshot:
            yield ElasticsearchReader(self.client, namespace_id, None)
            return
        async with self.client.snapshot() as snapshot_id:
            yield ElasticsearchReader(self.client, namespace_id, snapshot_id)

    async def refresh(self) -> None:
        """See `SearchIndex.refresh`."""
        await self.client.send(lambda api: api.indices.refresh(index=self.name), refreshed)

    async def write(
        self,
        rows: Sequence[tuple[UUID, Row]],
        deleted: Sequence[tuple[RunKey, int | None]] = (),
        *,
        mark: tuple[UUID, int] | None = None,
    ) -> dict[bytes, Refusal]:
        """See `SearchIndex.write`."""
        refused: dict[bytes, Refusal] = {}
        actions: dict[bytes, BulkAction] = {}
        for namespace_id, row in rows:
            try:
                document = to_document(namespace_id, row)
            except _NOT_ENCODABLE as error:
                refused[row["id"]] = Refusal(f"its row can't be encoded ({type(error).__name__})", passing=False)
            else:
                actions[row["id"]] = BulkAction("index", document_name(row["id"]), row["version"], document)
        for key, version in deleted:
            if version is not None:
                deletion = deletion_mark(key, version)
                actions[key[2]] = BulkAction("index", document_name(key[2]), mark_version(version), deletion)
        actions |= await self._deletions([key[2] for key, version in deleted if version is None])
        marked = None if mark is None else _mark(*mark)
        results = await deliver(self.client, list(actions.values()), mark=marked)
        if marked is not None:
            require_all([results.pop(0)])
        pairs = zip(actions, results, strict=True)
        return refused | {identifier: result for identifier, result in pairs if result is not None}

    async def _deletions(self, identifiers: Sequence[bytes]) -> dict[bytes, BulkAction]:
        """Return deletions of documents at their present versions, so that a late deletion does not remove a newer document."""
        if not identifiers:
            return {}
        names = [document_name(identifier) for identifier in identifiers]
        versions = await self.client.send(
            lambda api: api.mget(index=self.name, ids=names, source=False), lambda body: found_documents(body, names)
        )
        return {record_id(name): BulkAction("delete", name, version) for name, version in versions.items()}

    async def forget(self, deleted: Sequence[tuple[RunKey, int]]) -> None:
        """See `SearchIndex.forget`."""
        actions = [BulkAction("delete", document_name(key[2]), mark_version(version)) for key, version in deleted]
        require_all(await self.client.bulk(actions))

    async def marks(self) -> dict[UUID, int]:
        """Return the mark of each writer: the value of its counter that came with the newest documents."""
        await self.refresh()
        return await self._inventory.marks()

    async def forget_marks(self, marks: Sequence[tuple[UUID, int]]) -> None:
        """Remove marks that have not changed."""
        require_all(await self.client.bulk([BulkAction("delete", writer_name(each), number) for each, number in marks]))

    async def delete_namespace(self, namespace_id: UUID) -> int:
        """See `SearchIndex.delete_namespace`."""
        deleted = 0
        while True:
            await self.refresh()
            body = {
                "query": {"terms": {"n": [namespace_text(namespace_id), deleted_namespace_text(namespace_id)]}},
                "size": 5 * CHUNK,
                "sort": ["_doc"],
            }
            found = hits(await self.client.search(body, snapshot=None))
            if not found:
                return deleted
            actions = [BulkAction("delete", hit["_id"], None, routing=hit.get("_routing")) for hit in found]
            require_all(await self.client.bulk(actions))
            deleted += len(actions)

    async def epochs(self, namespace_id: UUID) -> Mapping[int, int]:
        """See `SearchIndex.epochs`."""
        await self.refresh()
        body = {
            "query": {"bool": {"filter": [{"term": {"n": namespace_text(namespace_id)}}]}},
            "size": 0,
            "aggs": {"epochs": {"terms": {"field": "k", "size": 1000}}},
        }
        return term_counts(await self.client.search(body, snapshot=None), "epochs")

    async def differences(self, rows: Sequence[Row]) -> dict[RunKey, Difference]:
        """See `SearchIndex.differences`. A missing token is found; an added one is not, see `ElasticsearchInventory`."""
        return await self._inventory.differences(rows)

    def copies(
        self, namespace_id: UUID | None, known: Iterable[UUID], *, chunk: int
    ) -> AsyncIterator[list[DocumentCopy]]:
        """See `SearchIndex.copies`."""
        return self._inventory.copies(namespace_id, known, chunk=chunk)

    def sealed_copies(self, namespace_id: UUID, *, chunk: int) -> AsyncIterator[list[SealedCopy]]:
        """See `SearchIndex.sealed_copies`."""
        return self._inventory.sealed_copies(namespace_id, chunk=chunk)

    async def unchanged(self, copies: Sequence[DocumentCopy]) -> list[DocumentCopy]:
        """See `SearchIndex.unchanged`."""
        return await self._inventory.unchanged(copies)

    async def remove(self, copies: Sequence[DocumentCopy]) -> None:
        """See `SearchIndex.remove`."""
        require_all(
            await self.client.bulk(
                [BulkAction("delete", copy.name, copy.version, routing=copy.routing) for copy in copies]
            )
        )

    @asynccontextmanager
    async def accepting_older_versions(self) -> AsyncIterator[None]:
        """See `SearchIndex.accepting_older_versions`.

        This changes the setting `index.gc_deletes`, and needs the right to do so. If it is interrupted, the next call restores the
        setting.
        """
        settings = await self.client.send(
            lambda api: api.indices.get_settings(index=self.name, flat_settings=True),
            lambda body: by_index(body, "settings"),
        )
        before = {index: values.get(_GC_DELETES) for index, values in settings.items()}
        await self._set_gc_deletes(self.name, _AT_ONCE)
        try:
            yield
        finally:
            for index, value in before.items():
                await self._set_gc_deletes(index, None if value == _AT_ONCE else value)

    async def _set_gc_deletes(self, index: str, value: str | None) -> None:
        await self.client.send(
            lambda api: api.indices.put_settings(index=index, settings={_GC_DELETES: value}), acknowledged
        )


def _mark(writer: UUID, number: int) -> BulkAction:
    return BulkAction("index", writer_name(writer), number, {"n": WRITER_TEXT, "k": NO_EPOCH})
