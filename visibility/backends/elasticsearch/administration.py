"""Create, change, describe and drop the search index, which is an Elasticsearch index behind an alias."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from .answers import acknowledged, alias, created, dropped, is_missing, items
from .changes import change, server_times, settings_of
from .client import own_alias
from .layout import health, made_by, refresh_setting, replicas_setting, stored_bytes
from .mapping import VERSION, definition

if TYPE_CHECKING:
    from collections.abc import Mapping

    from .client import ElasticsearchClient
    from .layout import ClusterHealth, IndexLayout

_BAD_REQUEST, _FORBIDDEN, _NOT_FOUND = 400, 403, 404
_MOST_SHARDS = 8
"""Maximum number of shards that a new index gets by itself."""
_DIGITS = 6


@dataclass(frozen=True, slots=True)
class IndexSettings:
    """The settings of a new index.

    Attributes:
        shards: Number of primary shards; None for one for each data node, up to 8.
        replicas: Number of replicas of each shard; None for one as soon as there is a second data node.
        refresh_interval: Time after which searches see a write, in seconds.
    """

    shards: int | None = None
    replicas: int | None = None
    refresh_interval: float = 1.0


async def create_index(client: ElasticsearchClient, settings: IndexSettings) -> bool:
    """See `ElasticsearchIndex.create`."""
    if await client.find() is not None:
        return False
    made = await new_index(client, settings, aliases={client.name: {"is_write_index": True}})
    await client.layout()  # another process may have created the index at the same time
    return made is not None


async def new_index(
    client: ElasticsearchClient, settings: IndexSettings, *, aliases: dict[str, dict[str, bool]]
) -> str | None:
    """Create an index with the next number; return its name, or None if another process created it meanwhile."""
    shards = settings.shards or await default_shards(client)
    own = uuid4().hex  # shows whether an index that exists already is this one, whose answer was lost
    body = definition(
        shards=shards,
        changeable={**replicas_setting(settings.replicas), **refresh_setting(settings.refresh_interval)},
        made=own,
    )
    last = max([0, *(int(name[-_DIGITS:]) for name in await all_indices(client))])
    name = f"{client.name}-v{VERSION}-{last + 1:0{_DIGITS}}"
    maker: str | None = None

    async def present_maker(deadline: float) -> str | None:
        nonlocal maker
        maker = await client.send(
            lambda api: api.options(ignore_status=_NOT_FOUND).indices.get_mapping(index=name),
            lambda body: made_by(body, name),
            deadline=deadline,
        )
        return maker

    await change(
        client,
        lambda api: api.options(ignore_status=_BAD_REQUEST).indices.create(
            index=name, aliases={**aliases, own_alias(name): {}}, **server_times(client), **body
        ),
        created,
        state=present_maker,
        is_done=lambda present: present is not None,
        what=f"the creation of the index {name}",
    )
    return name if maker == own else None


async def default_shards(client: ElasticsearchClient) -> int:
    """Return the number of shards that a new index gets by itself: one for each data node that the cluster has now."""
    found = await cluster_health(client)
    return 1 if found is None else max(1, min(found.data_nodes, _MOST_SHARDS))


async def cluster_health(client: ElasticsearchClient, index: str | None = None) -> ClusterHealth | None:
    """Return the health of an index, or of all; None if the API key lacks the right to read it."""
    return await client.send(
        lambda api: api.options(ignore_status=_FORBIDDEN).cluster.health(index=index, timeout="0s"), health
    )


async def index_bytes(client: ElasticsearchClient) -> int:
    """Return the size of the index with its replicas, in bytes."""
    return await client.send(lambda api: api.indices.stats(index=client.name, metric="store"), stored_bytes)


async def change_settings(
    client: ElasticsearchClient, index: str, *, replicas: int | None, refresh_interval: float | None
) -> None:
    """Change the replicas, the refresh interval (in seconds), or both, of an index. None does not change a setting."""
    changed: dict[str, Any] = {} if replicas is None else {**replicas_setting(replicas)}
    changed |= {} if refresh_interval is None else refresh_setting(refresh_interval)
    await set_settings(client, index, {f"index.{name}": str(value) for name, value in changed.items()})


async def set_settings(client: ElasticsearchClient, index: str, settings: Mapping[str, str | None]) -> None:
    """Change settings of an index, by their full names. None removes a setting."""
    await change(
        client,
        lambda api: api.indices.put_settings(index=index, settings=dict(settings), **server_times(client)),
        acknowledged,
        state=lambda deadline: settings_of(client, index, settings, deadline),
        is_done=lambda found: all(present == settings for present in found.values()),
        what=f"the change of the settings {', '.join(settings)}",
    )


async def all_indices(client: ElasticsearchClient) -> list[str]:
    """Return the indices that were created for the alias: the one behind it, and others of interrupted builds."""
    prefix = f"{client.name}-v{VERSION}-"
    found = await client.send(
        lambda api: api.indices.get_settings(
            index=f"{prefix}*", name="index.number_of_shards", expand_wildcards="all", allow_no_indices=True
        ),
        items,
    )
    return sorted(name for name in found if is_index_of(client, name))


def is_index_of(client: ElasticsearchClient, name: str) -> bool:
    """Return whether an index has a name that an index of the alias gets."""
    return re.fullmatch(rf"{re.escape(client.name)}-v{VERSION}-[0-9]{{{_DIGITS}}}", name, re.ASCII) is not None


async def move_alias(client: ElasticsearchClient, before: IndexLayout | None, after: str) -> None:
    """Move the alias from one index to another, in one step; `before` is None if there is no alias yet.

    Raises:
        SearchIndexMismatch: The alias was moved to another index meanwhile.
    """
    actions: list[dict[str, Any]] = [{"add": {"index": after, "alias": client.name, "is_write_index": True}}]
    if before is not None:
        actions.insert(0, {"remove": {"index": before.index, "alias": client.name, "must_exist": True}})
    await change(
        client,
        lambda api: api.indices.update_aliases(actions=actions, **server_times(client)),
        acknowledged,
        state=lambda deadline: _index_of(client, deadline),
        is_done=lambda index: index == after,
        what=f"the move of the alias {client.name} to {after}",
    )


async def leads_to(client: ElasticsearchClient, name: str) -> bool:
    """Return whether the alias leads to an index."""
    return await _index_of(client, None) == name


async def _index_of(client: ElasticsearchClient, deadline: float | None) -> str | None:
    present = await client.find(deadline=deadline)
    return None if present is None else present.index


async def drop_index(client: ElasticsearchClient) -> None:
    """See `ElasticsearchIndex.drop`."""
    of_alias = await client.send(
        lambda api: api.options(ignore_status=_NOT_FOUND).indices.get_alias(name=client.name), alias
    )
    for name in {*of_alias, *await all_indices(client)}:
        await delete_index(client, name)


async def delete_index(client: ElasticsearchClient, name: str) -> None:
    """Delete an index and its entry in the alias. It is not an error if it does not exist."""
    await change(
        client,
        lambda api: api.options(ignore_status=_NOT_FOUND).indices.delete(index=name, **server_times(client)),
        dropped,
        state=lambda deadline: _is_gone(client, name, deadline),
        is_done=bool,
        what=f"the deletion of the index {name}",
    )


async def _is_gone(client: ElasticsearchClient, name: str, deadline: float) -> bool:
    return await client.send(
        lambda api: api.options(ignore_status=_NOT_FOUND).indices.get_settings(index=name, name="index.uuid"),
        is_missing,
        deadline=deadline,
    )
