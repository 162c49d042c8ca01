"""Create, check and drop the search index, which is an Elasticsearch index behind an alias."""

from __future__ import annotations

from typing import TYPE_CHECKING

from strongroom.visibility.errors import SearchIndexMismatch

from .answers import acknowledged, alias, by_index, created, dropped
from .mapping import VERSION, template

if TYPE_CHECKING:
    from .client import ElasticsearchClient

_BAD_REQUEST, _NOT_FOUND = 400, 404


async def create_index(client: ElasticsearchClient, *, shards: int, replicas: int | None) -> bool:
    """See `ElasticsearchIndex.create`."""
    name = client.name
    if await _indices(client):
        await check_index(client)
        return False
    await client.send(
        lambda api: api.indices.put_index_template(
            name=f"{name}-v{VERSION}", **template(name, shards=shards, replicas=replicas)
        ),
        acknowledged,
    )
    await client.send(
        lambda api: api.options(ignore_status=_BAD_REQUEST).indices.create(
            index=f"{name}-v{VERSION}-000001", aliases={name: {"is_write_index": True}}
        ),
        created,
    )
    await check_index(client)  # another process may have created the index at the same time
    return True


async def check_index(client: ElasticsearchClient) -> None:
    """See `ElasticsearchIndex.check`."""
    mappings = await client.send(
        lambda api: api.indices.get_mapping(index=client.name), lambda body: by_index(body, "mappings")
    )
    for mapping in mappings.values():
        meta = mapping.get("_meta")
        if not isinstance(meta, dict) or meta.get("strongroom_version") != VERSION:
            msg = f"the search index does not have version {VERSION}; set another index name, then run 'strongroom index build'"
            raise SearchIndexMismatch(msg)


async def drop_index(client: ElasticsearchClient) -> None:
    """See `ElasticsearchIndex.drop`."""
    if found := await _indices(client):
        indices = ",".join(found)
        await client.send(
            lambda api: api.options(ignore_status=_NOT_FOUND).indices.delete(index=indices),
            dropped,
        )
    await client.send(
        lambda api: api.options(ignore_status=_NOT_FOUND).indices.delete_index_template(
            name=f"{client.name}-v{VERSION}"
        ),
        dropped,
    )


async def _indices(client: ElasticsearchClient) -> list[str]:
    """Return the indices of the alias; an empty list if there is no alias."""
    return await client.send(
        lambda api: api.options(ignore_status=_NOT_FOUND).indices.get_alias(name=client.name), alias
    )
