"""Change an index, its settings or the alias, and read the change back.

The master of a cluster carries changes out one after the other. By default it waits 30 s for its turn, and then 30 s for the other
nodes. So a request whose client gave up could be carried out later, for example after a newer one. Here the server gives up before the
client does, and what counts is not the answer but the state of the cluster afterwards.
"""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Any, TypeVar

from strongroom.kms import StrongroomError
from strongroom.visibility.errors import SearchIndexUnavailable

from .answers import by_index

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable, Mapping

    from elastic_transport import ApiResponse
    from elasticsearch import AsyncElasticsearch

    from .client import ElasticsearchClient

_SHARE = 0.8
"""Share of the client's timeout after which the server gives up."""
_FIRST_PAUSE, _LONGEST_PAUSE = 0.05, 1.0
_NOT_SHOWN = (
    "the cluster confirmed the change and shows the former state; another process or a proxy may have undone it"
)

State = TypeVar("State")


def server_times(client: ElasticsearchClient) -> dict[str, Any]:
    """Return the parameters of a change: the time that the master waits for its turn, and the time for the other nodes."""
    time_ = f"{max(1, int(client.timeout * 1000 * _SHARE))}ms"
    return {"master_timeout": time_, "timeout": time_}


async def change(
    client: ElasticsearchClient,
    request: Callable[[AsyncElasticsearch], Awaitable[ApiResponse[Any]]],
    read: Callable[[Any], object],
    *,
    state: Callable[[float], Awaitable[State]],
    is_done: Callable[[State], bool],
    what: str,
) -> None:
    """Send a change, and read the state of the cluster until it shows the change, both within the client's deadline.

    An answer can be lost. The same change is then refused when it is sent again, or it is carried out late. So an error counts only if
    the cluster does not show the change. If the cluster confirmed the change and shows a third state, another process has changed it
    since, and this call returns.

    Args:
        client: The connection to the cluster.
        request: Function that sends the change once, with `server_times`. It must be safe to send the change twice.
        read: Function of `answers.py` that checks the answer.
        state: Function that reads the state of the cluster. Its argument is the time that is left, in seconds.
        is_done: Function that returns whether a state is the wanted one.
        what: The change, for an error, for example "the new settings of the search index".

    Raises:
        SearchIndexUnavailable: The change is not in effect. The cluster may still carry it out.
        SearchIndexMismatch: The cluster refused the change.
    """
    until = time.monotonic() + client.deadline
    before = await state(client.deadline)
    failure = await _failure(client.send(request, read, deadline=_left(until)))
    confirmed = failure is None
    pause = _FIRST_PAUSE
    while True:
        try:
            found = await state(_left(until))
            if is_done(found) or (confirmed and found != before):
                return
        except StrongroomError as error:
            failure = failure or error
        if failure is not None and not failure.retryable:
            raise failure
        if time.monotonic() >= until:
            break
        await asyncio.sleep(pause)
        pause = min(2 * pause, _LONGEST_PAUSE)
    raise SearchIndexUnavailable(
        f"{what} did not take effect within {client.deadline:g} s, and the cluster may still carry it out: {failure or _NOT_SHOWN}. "
        "Look at `strongroom index status`, and run the command again"
    )


async def _failure(sent: Awaitable[object]) -> StrongroomError | None:
    """Return the error of a request; None if it was answered."""
    try:
        await sent
    except StrongroomError as error:
        return error
    return None


def _left(until: float) -> float:
    return max(0.0, until - time.monotonic())


async def settings_of(
    client: ElasticsearchClient, index: str, names: Iterable[str], deadline: float
) -> Mapping[str, Mapping[str, str | None]]:
    """Return settings of each index that a name stands for, by their full names. None stands for a setting that is not set."""
    wanted = tuple(names)
    found = await client.send(
        lambda api: api.indices.get_settings(index=index, flat_settings=True),
        lambda body: by_index(body, "settings"),
        deadline=deadline,
    )
    return {each: {name: settings.get(name) for name in wanted} for each, settings in found.items()}
