"""The connection to a cluster, for the documents under one alias."""

from __future__ import annotations

import asyncio
import math
import time
from contextlib import asynccontextmanager, suppress
from copy import copy
from typing import TYPE_CHECKING, Any, Self, TypeVar

from elastic_transport import ApiError, TransportError
from elasticsearch import AsyncElasticsearch, OrjsonSerializer

from strongroom.kms import TlsFiles, check_address, client_context
from strongroom.visibility.errors import SearchIndexMismatch, SearchIndexUnavailable, SearchSnapshotExpired

from .answers import bulk_items, items, searched, shards_of, snapshot_id, snapshot_is_lost
from .bulk import refusal
from .cluster import ask
from .layout import IndexLayout, layout
from .node import BoundedNode

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence

    from elastic_transport import ApiResponse

    from strongroom.visibility.backends.search_index import Refusal

    from .bulk import BulkAction

SYSTEM_CERTIFICATES = TlsFiles()
_SNAPSHOT_LIFETIME = "1m"
_NOT_FOUND = 404
SEEN_FOR = 10.0
"""Time after which a search asks again which index is behind the alias, in seconds."""

Answer = TypeVar("Answer")


def own_alias(index: str) -> str:
    """Return the alias that an index has for itself. Documents are written by it to an index that no other alias leads to."""
    return f"{index}-own"


async def _search(api: AsyncElasticsearch, body: dict[str, Any], snapshot: str | None) -> ApiResponse[Any]:
    """Send a search once.

    Raises:
        SearchSnapshotExpired: The snapshot no longer exists. The same search would fail until its deadline.
    """
    try:
        return await api.search(**body, allow_partial_search_results=False)
    except ApiError as error:
        if snapshot is None or not snapshot_is_lost(error.meta.status, error.body):
            raise
        raise SearchSnapshotExpired("the snapshot of a search no longer exists; retry the search") from None


class ElasticsearchClient:
    """Sends requests to a cluster.

    Args:
        urls: Addresses of the cluster, https. Each leads to any node, or to a gateway. A request that fails at one is sent to another.
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
        urls: Sequence[str],
        *,
        name: str,
        timeout: float,
        deadline: float,
        api_key: str | None,
        tls: TlsFiles,
        insecure: bool,
    ) -> None:
        for url in urls:
            check_address(url, insecure=insecure)
        secure: dict[str, Any] = {}
        if not insecure:
            secure["ssl_context"] = client_context(ca_certs=tls.ca_certs, certificate=tls.certificate, key=tls.key)
        self._api = AsyncElasticsearch(
            list(urls),
            api_key=api_key,
            request_timeout=timeout,
            max_retries=0,
            serializer=OrjsonSerializer(),
            node_class=BoundedNode,
            **secure,
        )
        self.urls = tuple(urls)
        self._options: dict[str, Any] = {"api_key": api_key, "tls": tls, "insecure": insecure}
        self.name = name
        self.timeout = timeout
        self.deadline = deadline
        self.seen_for = SEEN_FOR
        self._closing: set[asyncio.Task[None]] = set()
        self.seen: IndexLayout | None = None
        """The index behind the alias when it was last asked for."""
        self.is_alias = True
        self._asked = -math.inf

    def at(self, index: str) -> Self:
        """Return a client for one index, which no alias leads to. It has the connections of this client."""
        other = copy(self)
        other.name, other.is_alias, other.seen = index, False, None
        return other

    def each_address(self) -> list[Self]:
        """Return a client for each address, with connections of its own. The caller closes them."""
        common: dict[str, Any] = {
            "name": self.name,
            "timeout": self.timeout,
            "deadline": self.deadline,
            **self._options,
        }
        return [type(self)([url], **common) for url in self.urls]

    async def aclose(self) -> None:
        """Close all connections."""
        while self._closing:  # a search that ends meanwhile adds one
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

        Raises:
            SearchSnapshotExpired: The snapshot no longer exists.
        """
        if snapshot is not None:
            body = {**body, "pit": {"id": snapshot, "keep_alive": _SNAPSHOT_LIFETIME}}
        else:
            body = {**body, "index": self.name}
        # The cluster stops then. A closed connection stops it earlier.
        body["timeout"] = f"{int(self.timeout * 1000)}ms"
        for _ in range(2):  # the index may be replaced meanwhile
            answer: dict[str, Any] = await self.send(lambda api: _search(api, body, snapshot), searched)
            # A snapshot was checked when it was opened.
            if snapshot is not None or await self._is_of_one_index(shards_of(answer)):
                return answer
        raise SearchIndexUnavailable("the search index was replaced during a search; retry the search")

    async def layout(self) -> IndexLayout:
        """Return the only index of the alias.

        Raises:
            SearchIndexMismatch: The alias does not exist, has several indices, or hides documents; or its index has another version.
        """
        found = await self.find()
        if found is None:
            raise SearchIndexMismatch("the search index does not exist; create it with: strongroom index build")
        return found

    async def find(self, *, deadline: float | None = None) -> IndexLayout | None:
        """Return the only index of the alias; None if there is no alias. See `layout`, and `send` for the deadline."""
        described = await self.send(
            lambda api: api.options(ignore_status=_NOT_FOUND).indices.get(index=self.name, flat_settings=False),
            items,
            deadline=deadline,
        )
        self.seen, self._asked = layout(described, self.name, is_alias=self.is_alias), time.monotonic()
        return self.seen

    async def _is_of_one_index(self, shards: int | None) -> bool:
        """Return whether a search asked the shards of the only index of the alias; False if it was replaced meanwhile.

        An alias with several indices would count a run twice. This costs a request only when the number of shards is another one
        than before, and every ten seconds, because a filter of the alias hides runs and changes no number.

        Args:
            shards: The number of shards that were asked; None if it is unknown.

        Raises:
            SearchIndexMismatch: See `layout`.
        """
        known = self.seen is not None and self.seen.shards == shards and time.monotonic() < self._asked + self.seen_for
        if not self.is_alias or known:
            return True
        return (await self.layout()).shards == shards or shards is None

    @asynccontextmanager
    async def snapshot(self) -> AsyncIterator[str]:
        """Open a point in time, whose searches all see the same documents; yield its id."""
        opened, shards = await self.send(
            lambda api: api.open_point_in_time(index=self.name, keep_alive=_SNAPSHOT_LIFETIME), snapshot_id
        )
        try:
            if not await self._is_of_one_index(shards):
                raise SearchSnapshotExpired("the search index was replaced when a search began; retry the search")
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
        results = await self.send(
            lambda api: api.bulk(
                index=self.name if self.is_alias else own_alias(self.name),
                operations=operations,
                require_alias=True,  # Elasticsearch makes an index that does not exist
                timeout=f"{int(self.timeout * 1000)}ms",  # for a shard that is on no node
            ),
            lambda body: bulk_items(body, sent),
            deadline=deadline,
        )
        await self._check_written(results)
        return [refusal(action.kind, item) for action, item in zip(actions, results, strict=True)]

    async def _check_written(self, results: Sequence[Mapping[str, Any]]) -> None:
        """Check that documents were written to the only index of the alias. It is asked for only when the index is another one.

        Args:
            results: The result of each action.

        Raises:
            SearchIndexUnavailable: The documents are in another index.
        """
        if not self.is_alias or (
            self.seen is not None and {item.get("_index") for item in results} == {self.seen.index}
        ):
            return
        used = (await self.layout()).index
        # The result of a failed action has the name of the alias.
        if any(item.get("_index", used) != used for item in results if "error" not in item):
            raise SearchIndexUnavailable("the search index was replaced during a write; write again")
