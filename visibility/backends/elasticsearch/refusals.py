"""Why an index refuses requests as a whole, and what an administrator does about it."""

from __future__ import annotations

INDEX_CLOSED, CLUSTER_BLOCK = "index_closed_exception", "cluster_block_exception"
"""Types of Elasticsearch's errors."""
CLOSED = (
    "the search index is closed; open it with Elasticsearch's request POST /INDEX/_open. "
    "Its documents are kept, so don't build it again"
)
BLOCKED = (
    "the search index is blocked by one of its settings index.blocks.read, write, metadata or read_only; "
    "set it to null with Elasticsearch's request PUT /INDEX/_settings"
)
DISK_FULL = (
    "the disk of an Elasticsearch node is nearly full, so the cluster made the search index read-only (flood-stage watermark). "
    "Free disk space or add a node; the cluster then lifts the block itself"
)
SEVERAL = (
    "the alias {name} has several indices ({indices}), so searches would count runs twice. It was rolled over, or another "
    "index was added. Remove all but the complete one from the alias with POST /_aliases, and run: strongroom index reconcile"
)
CHANGED = (
    "the alias {name} has a filter or a routing, which hides documents; set it again without them with POST /_aliases"
)
