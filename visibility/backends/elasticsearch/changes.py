"""Change an index, its settings or the alias, and read the change back.

The master of a cluster carries changes out one after the other. By default it waits 30 s for its turn, and then 30 s for the other
nodes. So a request whose client gave up could be carried out later, for example after a newer one. Here the server gives up before the
client does, and what counts is not the answer but the state of the cluster afterwards.
"""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Any

from strongroom.kms import StrongroomError
from strongroom.visibility.errors import SearchIndexUnavailable

from .answers import by_index

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from elastic_transport import ApiResponse
    from elasticsearch import AsyncElasticsearch

    from .client import ElasticsearchClient

_SHARE = 0.8
"""Share of the client's timeout after which the server gives up."""
_FIRST_PAUSE, _LONGEST_PAUSE = 0.05, 1.0


def server_times(client: ElasticsearchClient) -> dict[str, Any]:
    """Return the parameters of a change: the time that the master waits for its turn, and the time for the other nodes."""
    time_ = f"{max(1, int(client.timeout * 1000 * _SHARE))}ms"
    return {"master_timeout": time_, "timeout": time_}


async def change(
    client: ElasticsearchClient,
    request: Callable[[AsyncElasticsearch], Awaitable[ApiResponse[Any]]],
    read: Callable[[Any], object],
    *,
    is_done: Callable[[], Awaitable[bool]],
    what: str,
) -> None:
    """Send a change until it is carried out, within the client's deadline, which is longer than one timeout.

    An answer can be lost. The same change is then refused when it is sent again, or it is carried out late. So an error counts only if
    the state of the cluster shows that nothing was changed.

    Args:
        client: The connection to the cluster.
        request: Function that sends the change once, with `server_times`. It must be safe to send the change twice.
        read: Function of `answers.py` that checks the answer.
        is_done: Function that reads the state of the cluster, and returns whether it is as wanted.
        what: The change, for an error, for example "the new settings of the search index".

    Raises:
        SearchIndexUnavailable: The change is not in effect. The cluster may still carry it out.
        SearchIndexMismatch: The cluster refused the change.
    """
    until = time.monotonic() + client.deadline
    failure: StrongroomError | None = None
    try:
        await client.send(request, read)
    except StrongroomError as error:
        failure = error
    pause = _FIRST_PAUSE
    while True:
        try:
            if await is_done():
                return
        except StrongroomError as error:
            failure = failure or error
        if failure is not None and not failure.retryable:
            raise failure
        if time.monotonic() >= until:
            break
        await asyncio.sleep(pause)
        pause = min(2 * pause, _LONGEST_PAUSE)
    reason = "the cluster confirmed the change, but does not show it" if failure is None else str(failure)
    raise SearchIndexUnavailable(
        f"{what} did not take effect within {client.deadline:g} s, and the cluster may still carry it out: {reason}. "
        "Look at `strongroom index status`, and run the command again"
    )


async def has_settings(client: ElasticsearchClient, index: str, wanted: Mapping[str, str | None]) -> bool:
    """Return whether an index has these settings, by their full names. None stands for a setting that is not set."""
    found = await client.send(
        lambda api: api.indices.get_settings(index=index, flat_settings=True), lambda body: by_index(body, "settings")
    )
    return all(settings.get(name) == value for settings in found.values() for name, value in wanted.items())
