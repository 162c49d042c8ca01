"""The connection to a cluster, for the documents under one alias."""

from __future__ import annotations

from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING, Any

from elastic_transport import ApiError, TransportError
from elasticsearch import AsyncElasticsearch, OrjsonSerializer

from strongroom.kms import TlsFiles, check_address, client_context
from strongroom.visibility.errors import SearchIndexMismatch

from .cluster import ask

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Sequence

    from elastic_transport import ApiResponse

SYSTEM_CERTIFICATES = TlsFiles()
_SNAPSHOT_LIFETIME = "1m"
_OK_BELOW = 300
_CONFLICT, _NOT_FOUND, _TOO_MANY, _SERVER_ERROR = 409, 404, 429, 500


class ElasticsearchClient:
    """Sends requests to a cluster.

    Args:
        url: Address of the cluster, https.
        name: The alias.
        timeout: Timeout for one answer, in seconds.
        deadline: Time during which a failed request is sent again, in seconds.
        api_key: Credentials; None for none.
        tls: Trusted certificates, and the certificate of this client. Changed files are used for the next connection.
        insecure: Whether to accept http. This is for clusters on the same machine only.

    Raises:
        InvalidRequest: The URL is neither https nor allowed by `insecure`; or a TLS file can't be used.
    """

    def __init__(
        self,
        url: str,
        *,
        name: str,
        timeout: float,
        deadline: float,
        api_key: str | None,
        tls: TlsFiles,
        insecure: bool,
    ) -> None:
        check_address(url, insecure=insecure)
        secure: dict[str, Any] = {}
        if not insecure:
            secure["ssl_context"] = client_context(ca_certs=tls.ca_certs, certificate=tls.certificate, key=tls.key)
        self._api = AsyncElasticsearch(
            url, api_key=api_key, request_timeout=timeout, max_retries=0, serializer=OrjsonSerializer(), **secure
        )
        self.name = name
        self.deadline = deadline

    async def aclose(self) -> None:
        """Close all connections."""
        await self._api.close()

    async def send(self, request: Callable[[AsyncElasticsearch], Awaitable[ApiResponse[Any]]]) -> Any:
        """Send a request until it is answered; return the body of the answer. See `ask`."""
        return await ask(lambda: request(self._api), deadline=self.deadline)

    async def search(self, body: dict[str, Any], *, snapshot: str | None) -> dict[str, Any]:
        """Run a search; return the answer of all shards.

        Args:
            body: The search request.
            snapshot: The id of a snapshot; None to search what is visible now.
        """
        if snapshot is not None:
            body = {**body, "pit": {"id": snapshot, "keep_alive": _SNAPSHOT_LIFETIME}}
        else:
            body = {**body, "index": self.name}
        answer: dict[str, Any] = await self.send(lambda api: api.search(**body, allow_partial_search_results=False))
        return answer

    @asynccontextmanager
    async def snapshot(self) -> AsyncIterator[str]:
        """Open a point in time, whose searches all see the same documents; yield its id."""
        opened = await self.send(lambda api: api.open_point_in_time(index=self.name, keep_alive=_SNAPSHOT_LIFETIME))
        try:
            yield opened["id"]
        finally:
            with suppress(ApiError, TransportError):  # without this it ends after its lifetime
                await self._api.close_point_in_time(id=opened["id"])

    async def bulk(self, operations: Sequence[dict[str, Any]]) -> list[bool]:
        """Send a bulk request.

        Args:
            operations: The lines of the request.

        Returns:
            For each action, in order, whether it was executed. The others were rejected because the cluster is overloaded.

        Raises:
            SearchIndexMismatch: The cluster refused an action permanently.
        """
        if not operations:
            return []
        answer = await self.send(lambda api: api.bulk(index=self.name, operations=operations, require_alias=True))
        return [_was_executed(*next(iter(item.items()))) for item in answer["items"]]


def bulk_action(kind: str, name: str, version: int | None, routing: str | None = None) -> dict[str, Any]:
    """Return the line of a bulk request that indexes or deletes a document.

    Args:
        kind: "index" or "delete".
        name: The document's id in the index.
        version: The version of the document; None for a deletion of any version.
        routing: The routing of the document; None for the default.
    """
    action: dict[str, Any] = {"_id": name}
    if version is not None:
        # external_gte: an equal version replaces the document, because it can be of another epoch. An older one does not.
        action |= {"version": version, "version_type": "external_gte"}
    if routing is not None:
        action["routing"] = routing
    return {kind: action}


def _was_executed(kind: str, item: dict[str, Any]) -> bool:
    """Return whether an action of a bulk request was executed, or is obsolete because a newer version exists.

    Raises:
        SearchIndexMismatch: The cluster refused it permanently.
    """
    status = item["status"]
    if status < _OK_BELOW or status == _CONFLICT or (kind == "delete" and status == _NOT_FOUND):
        return True
    if status == _TOO_MANY or status >= _SERVER_ERROR:
        return False
    msg = f"the search index refused a document (status {status}); check that this version of strongroom created the index"
    raise SearchIndexMismatch(msg)
