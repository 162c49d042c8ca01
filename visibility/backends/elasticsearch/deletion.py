"""Delete all documents of a namespace from one index."""

from __future__ import annotations

from typing import TYPE_CHECKING

from strongroom.visibility.backends.search_index import LARGE_CHUNK

from .answers import hits, refreshed
from .bulk import BulkAction, require_all
from .documents import deleted_namespace_text, namespace_text

if TYPE_CHECKING:
    from uuid import UUID

    from .client import ElasticsearchClient


async def delete_documents(client: ElasticsearchClient, namespace_id: UUID) -> int:
    """Delete the documents of a namespace, also the marks of deleted ones; return how many there were."""
    deleted = 0
    body = {
        "query": {"terms": {"n": [namespace_text(namespace_id), deleted_namespace_text(namespace_id)]}},
        "size": LARGE_CHUNK,
        "sort": ["_doc"],
    }
    while True:
        await client.send(lambda api: api.indices.refresh(index=client.name), refreshed)
        found = hits(await client.search(body, snapshot=None))
        if not found:
            return deleted
        require_all(
            await client.bulk([BulkAction("delete", hit["_id"], None, routing=hit.get("_routing")) for hit in found])
        )
        deleted += len(found)
