"""Deliver documents, and find by halves the single ones that the cluster refuses.

A proxy or a circuit breaker can refuse a whole request because of one large document. The smallest possible request shows whether
the cluster executes writes at all. If it does, the request is sent again in halves, until each document at fault is alone.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from strongroom.kms import StrongroomError
from strongroom.visibility.backends.search_index import Refusal
from strongroom.visibility.errors import SearchIndexTimeout

from .bulk import BulkAction

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .client import ElasticsearchClient

_MOST_REFUSED = 16
"""Number of documents that are refused, without one that is accepted, after which no single document is at fault."""
_PROBE = BulkAction("delete", "probe", None)
"""The deletion of a document that does not exist."""


async def deliver(
    client: ElasticsearchClient, actions: Sequence[BulkAction], *, mark: BulkAction | None = None
) -> list[Refusal | None]:
    """Execute actions. If the cluster refuses them together, find the ones at fault by halves, and execute the others.

    Args:
        client: The connection to the cluster.
        actions: The actions.
        mark: An action that each request begins with; None for none. Its result comes first.

    Returns:
        For each action, why it was not executed; None if it was.

    Raises:
        StrongroomError: The cluster does not execute even the smallest request, or it refuses all actions.
    """
    marked = [] if mark is None else [mark]
    if not actions:
        return await client.bulk(marked)
    try:
        return await client.bulk([*marked, *actions])
    except StrongroomError as error:
        if not await accepts_writes(client):
            raise
        # The mark goes first and alone: it is small, and does not show that the cluster accepts documents.
        done = await client.bulk(marked)
        return [*done, *await _Halves(client, error).deliver(actions, error)]


async def accepts_writes(client: ElasticsearchClient) -> bool:
    """Return whether the cluster executes the smallest bulk request now."""
    try:
        return await client.bulk([_PROBE], deadline=0.0) == [None]
    except StrongroomError:
        return False


class _Halves:
    """Delivers actions that were refused together.

    Args:
        client: The connection to the cluster.
        error: The error of all actions together. It is raised if no single action is at fault.
    """

    def __init__(self, client: ElasticsearchClient, error: StrongroomError) -> None:
        self._client = client
        self._error = error
        self._accepted = self._refused = 0

    async def deliver(self, actions: Sequence[BulkAction], error: StrongroomError) -> list[Refusal | None]:
        """Return why each action was not executed, for actions that were refused with an error."""
        if len(actions) == 1:
            return [await self._refuse(error)]
        results: list[Refusal | None] = []
        middle = len(actions) // 2
        for half in (actions[:middle], actions[middle:]):
            try:
                done = await self._client.bulk(half, deadline=0.0)
                self._accepted += done.count(None)
                results += done
            except StrongroomError as half_error:
                results += await self.deliver(half, half_error)
        return results

    async def _refuse(self, error: StrongroomError) -> Refusal:
        self._refused += 1
        if (self._refused > _MOST_REFUSED and not self._accepted) or not await accepts_writes(self._client):
            raise self._error
        # A document whose shard is away times out, while others are accepted: the cluster is at fault, and not the document.
        return Refusal(str(error), passing=isinstance(error, SearchIndexTimeout))
