"""Search, count and write documents."""

from __future__ import annotations

from contextlib import asynccontextmanager, suppress
from functools import partial
from typing import TYPE_CHECKING, Any, Self

from elastic_transport import ApiError, TransportError
from elasticsearch import AsyncElasticsearch, OrjsonSerializer

from strongroom.kms import TlsFiles, check_address, client_context
from strongroom.storage import ResourceExhausted
from strongroom.visibility.backends.search_index import CHUNK
from strongroom.visibility.errors import SearchIndexMismatch

from .cluster import ask
from .documents import document_name, namespace_text, to_document
from .mapping import VERSION, template
from .reader import ElasticsearchReader

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
    from types import TracebackType
    from uuid import UUID

    from elastic_transport import ApiResponse

    from strongroom.storage import Row

_SYSTEM = TlsFiles()
_SNAPSHOT_KEPT = "1m"
_CONFLICT, _NOT_FOUND, _TOO_MANY = 409, 404, 429


class ElasticsearchIndex:
    """An index of all namespaces' documents, under an alias.

    Args:
        url: of the cluster, https.
        name: the alias; indices are named after it.
        timeout: seconds for one answer.
        deadline: seconds in which a request is tried again.
        api_key: credentials; None for none.
        tls: certificates to trust, and this client's own; changed files count for the next connection.
        insecure: accepts http, for this machine only.

    Raises:
        InvalidRequest: the URL is not https, nor what `insecure` accepts; or a file can't be used.
    """

    def __init__(
        self,
        url: str,
        *,
        name: str = "strongroom-visibility",
        timeout: float = 10.0,
        deadline: float = 10.0,
        api_key: str | None = None,
        tls: TlsFiles = _SYSTEM,
        insecure: bool = False,
    ) -> None:
        self.name = name
        self._deadline = deadline
        check_address(url, insecure=insecure)
        secure: dict[str, Any] = {}
        if not insecure:
            secure["ssl_context"] = client_context(ca_certs=tls.ca_certs, certificate=tls.certificate, key=tls.key)
        self._client = AsyncElasticsearch(
            url, api_key=api_key, request_timeout=timeout, max_retries=0, serializer=OrjsonSerializer(), **secure
        )

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Close all connections."""
        await self._client.close()

    async def create(self, *, shards: int = 1, replicas: int | None = None) -> bool:
        """Make the index with its template and alias, unless it is there; return whether it was made.

        Raises:
            SearchIndexMismatch: the alias is there, on an index of another version.
        """
        client = self._client
        if await self._ask(lambda: client.indices.exists_alias(name=self.name)):
            await self.check()
            return False
        await self._ask(
            lambda: client.indices.put_index_template(
                name=f"{self.name}-v{VERSION}", **template(self.name, shards=shards, replicas=replicas)
            )
        )
        await self._ask(
            lambda: client.options(ignore_status=400).indices.create(
                index=f"{self.name}-v{VERSION}-000001", aliases={self.name: {"is_write_index": True}}
            )
        )
        await self.check()  # somebody else may have made one at the same time
        return True

    async def check(self) -> None:
        """Refuse an index that is not there, or of another version.

        Raises:
            SearchIndexMismatch: see there.
        """
        found = await self._ask(lambda: self._client.indices.get_mapping(index=self.name))
        for index in found.values():
            if index["mappings"].get("_meta", {}).get("strongroom_version") != VERSION:
                msg = f"the search index is not of version {VERSION}; build one under another name: strongroom index build"
                raise SearchIndexMismatch(msg)

    async def drop(self) -> None:
        """Delete the index, its alias and its template; one that is not there is as good."""
        client = self._client.options(ignore_status=_NOT_FOUND)
        if await self._ask(lambda: client.indices.exists_alias(name=self.name)):
            indices = ",".join(await self._ask(lambda: client.indices.get_alias(name=self.name)))
            await self._ask(lambda: client.indices.delete(index=indices))
        await self._ask(lambda: client.indices.delete_index_template(name=f"{self.name}-v{VERSION}"))

    async def refresh(self) -> None:
        """Make what was written visible to searches now; by itself it is within a second."""
        await self._ask(lambda: self._client.indices.refresh(index=self.name))

    async def count(self, query: dict[str, Any] | None = None) -> int:
        """Return how many documents a search sees; without a query those of all namespaces."""
        answer = await self._ask(lambda: self._client.count(index=self.name, query=query))
        return int(answer["count"])

    async def epochs(self, namespace_id: UUID) -> dict[int, int]:
        """Return how many documents of a namespace each epoch of its index key has, as of now."""
        await self.refresh()
        body = {
            "query": {"bool": {"filter": [{"term": {"n": namespace_text(namespace_id)}}]}},
            "size": 0,
            "aggs": {"epochs": {"terms": {"field": "k", "size": 1000}}},
        }
        answer = await self.search(body, snapshot=None)
        return {bucket["key"]: bucket["doc_count"] for bucket in answer["aggregations"]["epochs"]["buckets"]}

    async def write(
        self, rows: Sequence[tuple[UUID, Row]], deleted: Sequence[tuple[bytes, int | None]] = ()
    ) -> list[bytes]:
        """Write documents, each unless a newer version is there, and delete those of runs that are gone.

        Args:
            rows: namespace, and the row of `visibility_records` with its tokens.
            deleted: ids, and the version with which they went; None for whatever version.

        Returns:
            Ids that the cluster had no time for; they are to be written again.

        Raises:
            SearchIndexUnavailable, ResourceExhausted: nobody knows what was written; to write it again is safe.
            SearchIndexMismatch: a document was refused for good.
        """
        lines: list[dict[str, Any]] = []
        order: list[bytes] = []
        for namespace_id, row in rows:
            lines.append(_action("index", document_name(row["id"]), row["version"]))
            lines.append(to_document(namespace_id, row))
            order.append(row["id"])
        for identifier, version in deleted:
            lines.append(_action("delete", document_name(identifier), version))
            order.append(identifier)
        if not lines:
            return []
        answer = await self._ask(lambda: self._client.bulk(index=self.name, operations=lines, require_alias=True))
        return [
            identifier
            for identifier, item in zip(order, answer["items"], strict=True)
            if not _is_done(*next(iter(item.items())))
        ]

    async def remove(self, documents: Sequence[tuple[str, int, str | None]]) -> None:
        """Delete documents by name, version and routing, each unless a newer version is there.

        Raises:
            ResourceExhausted: the cluster had no time for some of them.
        """
        lines = [_action("delete", *document) for document in documents]
        if not lines:
            return
        answer = await self._ask(lambda: self._client.bulk(index=self.name, operations=lines, require_alias=True))
        if not all(_is_done(*next(iter(item.items()))) for item in answer["items"]):
            msg = "the search index has too much to do"
            raise ResourceExhausted(msg)

    @asynccontextmanager
    async def forgetting_deletes(self) -> AsyncIterator[None]:
        """Let documents be written in any version as soon as they are deleted; else deletions are remembered for a minute.

        Needs the right to change settings of the index. Where this breaks off, the next one puts the setting back.
        """
        setting, soon = "index.gc_deletes", "1ms"
        found = await self._ask(lambda: self._client.indices.get_settings(index=self.name, flat_settings=True))
        before = {index: values["settings"].get(setting) for index, values in found.items()}
        await self._ask(lambda: self._client.indices.put_settings(index=self.name, settings={setting: soon}))
        try:
            yield
        finally:
            for index, value in before.items():
                kept = None if value == soon else value
                await self._ask(partial(self._client.indices.put_settings, index=index, settings={setting: kept}))

    async def delete_namespace(self, namespace_id: UUID) -> int:
        """Delete all documents of a namespace, found one page after another; return how many."""
        gone = 0
        while True:
            await self.refresh()
            found = await self._ask(
                lambda: self._client.search(
                    index=self.name,
                    query={"term": {"n": namespace_text(namespace_id)}},
                    size=5 * CHUNK,
                    sort=[{"d": "asc"}],
                )
            )
            names = [hit["_id"] for hit in found["hits"]["hits"]]
            if not names:
                return gone
            lines = [_action("delete", name, None) for name in names]
            await self._ask(partial(self._client.bulk, index=self.name, operations=lines, require_alias=True))
            gone += len(names)

    @asynccontextmanager
    async def reading(self, namespace_id: UUID, *, snapshot: bool) -> AsyncIterator[ElasticsearchReader]:
        """See `VisibilityIndex.reading`."""
        if not snapshot:
            yield ElasticsearchReader(self, namespace_id, None)
            return
        async with self.snapshot() as opened:
            yield ElasticsearchReader(self, namespace_id, opened)

    @asynccontextmanager
    async def snapshot(self) -> AsyncIterator[str]:
        """Open a point in time, whose searches all see the same documents; yield its id."""
        opened = await self._ask(lambda: self._client.open_point_in_time(index=self.name, keep_alive=_SNAPSHOT_KEPT))
        try:
            yield opened["id"]
        finally:
            with suppress(ApiError, TransportError):  # it ends by itself after a minute
                await self._client.close_point_in_time(id=opened["id"])

    async def search(self, body: dict[str, Any], *, snapshot: str | None) -> dict[str, Any]:
        """Run a search that all shards must answer."""
        if snapshot is not None:
            body = {**body, "pit": {"id": snapshot, "keep_alive": _SNAPSHOT_KEPT}}
        else:
            body = {**body, "index": self.name}
        answer: dict[str, Any] = await self._ask(
            lambda: self._client.search(**body, allow_partial_search_results=False)
        )
        return answer

    async def _ask(self, request: Callable[[], Awaitable[ApiResponse[Any]]]) -> Any:
        return await ask(request, deadline=self._deadline)


def _action(kind: str, name: str, version: int | None, routing: str | None = None) -> dict[str, Any]:
    action: dict[str, Any] = {"_id": name}
    if version is not None:
        # external_gte: the same version again, of another epoch perhaps, replaces; an older one never does.
        action |= {"version": version, "version_type": "external_gte"}
    if routing is not None:
        action["routing"] = routing
    return {kind: action}


def _is_done(kind: str, item: dict[str, Any]) -> bool:
    """Whether an item of a bulk is as it should be.

    Raises:
        SearchIndexMismatch: the cluster will never take it.
    """
    status = item["status"]
    if status < 300 or status == _CONFLICT or (kind == "delete" and status == _NOT_FOUND):  # noqa: PLR2004
        return True  # a conflict: something newer is there
    if status == _TOO_MANY or status >= 500:  # noqa: PLR2004
        return False
    msg = f"the search index refused a document (status {status}); is it one of this version?"
    raise SearchIndexMismatch(msg)
