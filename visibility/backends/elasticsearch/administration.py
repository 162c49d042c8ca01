"""Create, check and drop the search index, which is an Elasticsearch index behind an alias."""

from __future__ import annotations

from typing import TYPE_CHECKING

from strongroom.visibility.errors import SearchIndexMismatch

from .mapping import VERSION, template

if TYPE_CHECKING:
    from .client import ElasticsearchClient

_ALREADY_EXISTS, _NOT_FOUND = 400, 404


async def create_index(client: ElasticsearchClient, *, shards: int, replicas: int | None) -> bool:
    """See `ElasticsearchIndex.create`."""
    name = client.name
    if await client.send(lambda api: api.indices.exists_alias(name=name)):
        await check_index(client)
        return False
    await client.send(
        lambda api: api.indices.put_index_template(
            name=f"{name}-v{VERSION}", **template(name, shards=shards, replicas=replicas)
        )
    )
    await client.send(
        lambda api: api.options(ignore_status=_ALREADY_EXISTS).indices.create(
            index=f"{name}-v{VERSION}-000001", aliases={name: {"is_write_index": True}}
        )
    )
    await check_index(client)  # another process may have created the index at the same time
    return True


async def check_index(client: ElasticsearchClient) -> None:
    """See `ElasticsearchIndex.check`."""
    mappings = await client.send(lambda api: api.indices.get_mapping(index=client.name))
    for index in mappings.values():
        if index["mappings"].get("_meta", {}).get("strongroom_version") != VERSION:
            msg = f"the search index does not have version {VERSION}; set another index name, then run 'strongroom index build'"
            raise SearchIndexMismatch(msg)


async def drop_index(client: ElasticsearchClient) -> None:
    """See `ElasticsearchIndex.drop`."""
    name = client.name
    if await client.send(lambda api: api.indices.exists_alias(name=name)):
        indices = ",".join(await client.send(lambda api: api.indices.get_alias(name=name)))
        await client.send(lambda api: api.options(ignore_status=_NOT_FOUND).indices.delete(index=indices))
    await client.send(
        lambda api: api.options(ignore_status=_NOT_FOUND).indices.delete_index_template(name=f"{name}-v{VERSION}")
    )
