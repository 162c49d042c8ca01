"""The search index in an Elasticsearch cluster."""

from __future__ import annotations

from contextlib import asynccontextmanager
from copy import copy
from typing import TYPE_CHECKING, Any, Self

from strongroom.visibility.backends.search_index import with_new_snapshots

from .addresses import check_addresses
from .administration import (
    IndexSettings,
    all_indices,
    change_settings,
    cluster_health,
    create_index,
    drop_index,
    index_bytes,
    is_index_of,
)
from .answers import refreshed, term_counts, total
from .bulk import BulkAction, require_all
from .client import SYSTEM_CERTIFICATES, ElasticsearchClient
from .deletion import delete_documents
from .documents import NO_EPOCH, document_name, mark_version, namespace_text, writer_name
from .forgetting import forgetting_deletions
from .inventory import ElasticsearchInventory
from .reader import ElasticsearchReader
from .writing import write_documents

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
    from contextlib import AbstractAsyncContextManager
    from types import TracebackType
    from uuid import UUID

    from strongroom.kms import TlsFiles
    from strongroom.storage import Row, RunKey
    from strongroom.visibility.backends.drift import Difference, DocumentCopy, SealedCopy
    from strongroom.visibility.backends.search_index import Refusal

    from .layout import ClusterHealth, IndexLayout

_TIMEOUTS = 3
"""Number of timeouts for which a failed request is sent again. A node that does not answer takes one of them."""
_DEFAULTS = IndexSettings()


class ElasticsearchIndex:
    """See `SearchIndex`. An index of the documents of all namespaces, under an alias.

    Args:
        url: Address of the cluster, https; or several, each of any node or gateway.
        name: The alias. The names of indices are derived from it.
        timeout: Timeout for one answer, in seconds.
        deadline: Time during which a failed request is sent again, in seconds; None for three timeouts.
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
        url: str | Sequence[str],
        *,
        name: str = "strongroom-visibility",
        timeout: float = 10.0,
        deadline: float | None = None,
        api_key: str | None = None,
        tls: TlsFiles = SYSTEM_CERTIFICATES,
        insecure: bool = False,
    ) -> None:
        self.client = ElasticsearchClient(
            [url] if isinstance(url, str) else url,
            name=name,
            timeout=timeout,
            deadline=_TIMEOUTS * timeout if deadline is None else deadline,
            api_key=api_key,
            tls=tls,
            insecure=insecure,
        )
        self.inventory = ElasticsearchInventory(self.client)

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

    def at(self, index: str) -> ElasticsearchIndex:
        """Return one index that no alias leads to, for a build. It has the connections of this one."""
        other = copy(self)
        other.client = self.client.at(index)
        other.inventory = ElasticsearchInventory(other.client)
        return other

    async def create(self, settings: IndexSettings = _DEFAULTS) -> bool:
        """Create the index and its alias if the alias does not exist. Searches are answered at once, so the cell must have no runs.

        Args:
            settings: The settings of a new index.

        Returns:
            Whether the index was created.

        Raises:
            SearchIndexMismatch: The alias exists, and its index can't be used, see `check`.
        """
        return await create_index(self.client, settings)

    async def check(self) -> IndexLayout:
        """Check that the alias has one index, which is of this version; return its layout.

        Raises:
            SearchIndexMismatch: The index does not exist, has another version, or is one of several; or the alias hides documents.
        """
        return await self.client.layout()

    async def check_addresses(self) -> None:
        """Check that all addresses lead to the same index. One that does not answer is left out.

        Raises:
            SearchIndexMismatch: Two addresses have different indices, or one has none.
        """
        await check_addresses(self.client)

    async def change(self, *, replicas: int | None = None, refresh_interval: float | None = None) -> None:
        """Change the replicas, the refresh interval (in seconds), or both, of the index. None does not change a setting."""
        index = (await self.check()).index
        await change_settings(self.client, index, replicas=replicas, refresh_interval=refresh_interval)

    async def health(self) -> ClusterHealth | None:
        """Return the health of the index; None if the API key lacks the right to read it."""
        return await cluster_health(self.client, self.name)

    async def stored_bytes(self) -> int:
        """Return the size of the index with its replicas, in bytes."""
        return await index_bytes(self.client)

    async def drop(self) -> None:
        """Delete the index and its alias, and what interrupted builds left. It is not an error if they do not exist."""
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
        also: str | None = None,
    ) -> dict[bytes, Refusal]:
        """See `SearchIndex.write`."""
        clients = [self.client, *([] if also is None or not self.owns(also) else [self.client.at(also)])]
        return await write_documents(clients, rows, deleted, mark)

    def owns(self, index: str) -> bool:
        """Return whether an index was made for this alias, by its name. A restored database can name an index of another cell."""
        return is_index_of(self.client, index)

    async def lacks(self, index: str) -> bool:
        """See `SearchIndex.lacks`."""
        return self.owns(index) and await self.client.at(index).find() is None

    async def forget(self, deleted: Sequence[tuple[RunKey, int]]) -> None:
        """See `SearchIndex.forget`."""
        await self._delete(
            [BulkAction("delete", document_name(key[2]), mark_version(version)) for key, version in deleted]
        )

    async def marks(self) -> dict[UUID, int]:
        """Return the mark of each writer: the value of its counter that came with the newest documents."""
        await self.refresh()
        return await with_new_snapshots(self.inventory.marks)

    async def forget_marks(self, marks: Sequence[tuple[UUID, int]]) -> None:
        """Remove marks that have not changed."""
        await self._delete([BulkAction("delete", writer_name(each), number) for each, number in marks])

    async def _delete(self, actions: Sequence[BulkAction]) -> None:
        """Execute deletions, also in an index that is being built."""
        index = (await self.check()).index
        for other in await all_indices(self.client):
            if other != index:
                require_all(await self.client.at(other).bulk(actions))
        require_all(await self.client.bulk(actions))

    async def delete_namespace(self, namespace_id: UUID) -> int:
        """See `SearchIndex.delete_namespace`. An index that is being built, or that an interrupted build left, is not counted."""
        index = (await self.check()).index
        for other in await all_indices(self.client):
            if other != index:
                await delete_documents(self.client.at(other), namespace_id)
        return await delete_documents(self.client, namespace_id)

    async def epochs(self, namespace_id: UUID) -> Mapping[int, int]:
        """See `SearchIndex.epochs`."""
        await self.refresh()
        return await self._epochs({"filter": [{"term": {"n": namespace_text(namespace_id)}}]})

    async def all_epochs(self) -> Mapping[int, int]:
        """Return the number of documents of each epoch, over all namespaces, that a search sees."""
        return await self._epochs({"must_not": [{"term": {"k": NO_EPOCH}}]})

    async def _epochs(self, clauses: dict[str, Any]) -> Mapping[int, int]:
        aggregated = {"epochs": {"terms": {"field": "k", "size": 1000}}}
        body = {"query": {"bool": clauses}, "size": 0, "track_total_hits": False, "aggs": aggregated}
        return term_counts(await self.client.search(body, snapshot=None), "epochs")

    async def differences(self, rows: Sequence[Row]) -> dict[RunKey, Difference]:
        """See `SearchIndex.differences`. A missing token is found; an added one is not, see `ElasticsearchInventory`."""
        return await self.inventory.differences(rows)

    def copies(
        self, namespace_id: UUID | None, known: Iterable[UUID], *, chunk: int
    ) -> AsyncIterator[list[DocumentCopy]]:
        """See `SearchIndex.copies`."""
        return self.inventory.copies(namespace_id, known, chunk=chunk)

    def sealed_copies(self, namespace_id: UUID, *, chunk: int) -> AsyncIterator[list[SealedCopy]]:
        """See `SearchIndex.sealed_copies`."""
        return self.inventory.sealed_copies(namespace_id, chunk=chunk)

    async def unchanged(self, copies: Sequence[DocumentCopy]) -> list[DocumentCopy]:
        """See `SearchIndex.unchanged`."""
        return await self.inventory.unchanged(copies)

    async def remove(self, copies: Sequence[DocumentCopy]) -> None:
        """See `SearchIndex.remove`."""
        require_all(
            await self.client.bulk(
                [BulkAction("delete", copy.name, copy.version, routing=copy.routing) for copy in copies]
            )
        )

    def accepting_older_versions(self) -> AbstractAsyncContextManager[None]:
        """See `SearchIndex.accepting_older_versions`. This changes the setting `index.gc_deletes`, and needs the right to do so."""
        return forgetting_deletions(self.client)
