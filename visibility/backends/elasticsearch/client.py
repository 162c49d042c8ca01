"""The connection to a cluster, for the documents under one alias."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING, Any, TypeVar

from elastic_transport import ApiError, TransportError
from elasticsearch import AsyncElasticsearch, OrjsonSerializer

from strongroom.kms import TlsFiles, check_address, client_context

from .answers import bulk_items, searched, snapshot_id
from .bulk import refusal
from .cluster import ask
from .node import BoundedNode

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Sequence

    from elastic_transport import ApiResponse

    from strongroom.visibility.backends.search_index import Refusal

    from .bulk import BulkAction

SYSTEM_CERTIFICATES = TlsFiles()
_SNAPSHOT_LIFETIME = "1m"

Answer = TypeVar("Answer")


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
            url,
            api_key=api_key,
            request_timeout=timeout,
            max_retries=0,
            serializer=OrjsonSerializer(),
            node_class=BoundedNode,
            **secure,
        )
        self.name = name
        self.timeout = timeout
        self.deadline = deadline
        self._closing: set[asyncio.Task[None]] = set()

    async def aclose(self) -> None:
        """Close all connections."""
        if self._closing:
            await asyncio.wait(self._closing)
        await self._api.close()

    async def send(
        self,
        request: Callable[[AsyncElasticsearch], Awaitable[ApiResponse[Any]]],
        read: Callable[[Any], Answer],
        *,
        deadline: float | None = None,
    ) -> Answer:
        """Send a request until it is answered; return what `read` makes of the answer. See `ask`.

        Args:
            request: Function that sends the request once.
            read: Function of `answers.py` that checks the answer.
            deadline: Time during which a failed request is sent again, in seconds; None for the client's.
        """
        return await ask(lambda: request(self._api), read, deadline=self.deadline if deadline is None else deadline)

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
        body["timeout"] = (
            f"{int(self.timeout * 1000)}ms"  # the cluster stops then; a closed connection stops it earlier
        )
        answer: dict[str, Any] = await self.send(
            lambda api: api.search(**body, allow_partial_search_results=False), searched
        )
        return answer

    @asynccontextmanager
    async def snapshot(self) -> AsyncIterator[str]:
        """Open a point in time, whose searches all see the same documents; yield its id."""
        opened = await self.send(
            lambda api: api.open_point_in_time(index=self.name, keep_alive=_SNAPSHOT_LIFETIME), snapshot_id
        )
        try:
            yield opened
        finally:
            # In a task of its own, so that a cancelled search need not wait and still ends its snapshot.
            closing = asyncio.create_task(self._close_snapshot(opened))
            self._closing.add(closing)
            closing.add_done_callback(self._closing.discard)

    async def _close_snapshot(self, opened: str) -> None:
        """Close a point in time. Without this it ends after its lifetime."""
        with suppress(ApiError, TransportError):
            await self._api.close_point_in_time(id=opened)

    async def bulk(self, actions: Sequence[BulkAction], *, deadline: float | None = None) -> list[Refusal | None]:
        """Send a bulk request.

        Args:
            actions: The actions.
            deadline: As for `send`.

        Returns:
            For each action, in order, why it was not executed; None if it was.

        Raises:
            SearchIndexMismatch: The cluster refuses all actions permanently.
        """
        if not actions:
            return []
        operations = [line for action in actions for line in action.lines()]
        sent = [(action.kind, action.name) for action in actions]
        items = await self.send(
            lambda api: api.bulk(index=self.name, operations=operations, require_alias=True),
            lambda body: bulk_items(body, sent),
            deadline=deadline,
        )
        return [refusal(action.kind, item) for action, item in zip(actions, items, strict=True)]
