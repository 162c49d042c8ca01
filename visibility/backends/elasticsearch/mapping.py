"""Fields and settings of the index. Nothing in it names an attribute, so a new one changes no mapping.

| field | what it is | a thief reads |
|---|---|---|
| `_id` | keyed token of workflow and run | that it is the same run |
| n | namespace id | which namespace; it is random |
| k | epoch of the index key | when keys were rotated |
| b1, b2 | second of close (a maximum while open) and of start | these times, and which runs are open |
| d | eight bytes of `_id`, to tell equal seconds apart | nothing that `_id` does not say |
| t | tokens, sorted | what `visibility/fields.py` says of each attribute |
| s | shard, version, and the sealed record | shard and version; how long the record is, in steps |

The layout is the best of those measured (DESIGN.md, "Elasticsearch"): sorted on disk as it is listed, tokens as one string, the
record in a stored field and no `_source`.
"""

from __future__ import annotations

from typing import Any

VERSION = 1
"""Of this mapping. An index of another version is not searched; it is built anew under the next name."""

SORT = ("b1", "b2", "d")
PROPERTIES: dict[str, Any] = {
    "n": {"type": "keyword", "doc_values": False, "norms": False},
    "k": {"type": "integer"},
    "b1": {"type": "long"},
    "b2": {"type": "long"},
    "d": {"type": "long", "index": False},
    "t": {"type": "text", "analyzer": "whitespace", "norms": False, "index_options": "docs"},
    "s": {"type": "binary", "store": True},
}


def template(name: str, *, shards: int = 1, replicas: int | None = None) -> dict[str, Any]:
    """Return the index template for all indices of an alias.

    Args:
        name: the alias.
        shards: primaries of an index.
        replicas: copies of each; None for as many as there are nodes for, up to two.
    """
    copies = {"auto_expand_replicas": "0-2"} if replicas is None else {"number_of_replicas": replicas}
    return {
        "index_patterns": [f"{name}-v{VERSION}-*"],
        "version": VERSION,
        "template": {
            "settings": {
                "index": {
                    "number_of_shards": shards,
                    **copies,
                    "sort.field": list(SORT),
                    "sort.order": ["desc"] * len(SORT),
                    "search.idle.after": "365d",  # or a list after a quiet time waits for a refresh
                }
            },
            "mappings": {
                "dynamic": "strict",
                "_source": {"enabled": False},
                "_meta": {"strongroom_version": VERSION},
                "properties": PROPERTIES,
            },
        },
    }
