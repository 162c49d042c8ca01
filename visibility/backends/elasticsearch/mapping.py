"""Fields and settings of the index. No field is named after an attribute, so a new attribute changes no mapping.

| field | content | what a thief learns |
|---|---|---|
| `_id` | keyed token of workflow id and run id | that two documents are of the same run |
| n | namespace id | which documents share a namespace; the id is random |
| k | epoch of the index key | when the key was rotated |
| b1, b2 | bucket of the close time (a maximum for open runs) and of the start time | see `visibility/fields.py`; which runs are open |
| d | first eight bytes of the id, which order documents of the same seconds | nothing that `_id` does not show |
| t | tokens, sorted | the leakage of each attribute in `visibility/fields.py` |
| g | group tokens, once more, where there are any | which of the tokens in `t` belong to which attribute of GROUP BY |
| s | shard id, version, and the sealed record | shard id and version; the class of the record's length |

Documents are sorted on disk in the order of a list. Tokens are one text. The record is a stored field, without `_source`. This was
the best of several measured mappings (DESIGN.md, "Elasticsearch").
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

VERSION = 1
"""Version of this mapping. An index of another version is not searched; build a new one."""

MADE = "made"
"""The name of the id of the creation in the metadata of an index."""
SORT = ("b1", "b2", "d")
PROPERTIES: dict[str, Any] = {
    "n": {"type": "keyword", "doc_values": False, "norms": False},
    "k": {"type": "integer"},
    "b1": {"type": "long"},
    "b2": {"type": "long"},
    "d": {"type": "long", "index": False},
    "t": {"type": "text", "analyzer": "whitespace", "norms": False, "index_options": "docs"},
    "g": {"type": "keyword", "index": False},
    "s": {"type": "binary", "store": True},
}


def definition(*, shards: int, changeable: Mapping[str, Any], made: str) -> dict[str, Any]:
    """Return settings and mapping of a new index.

    Args:
        shards: Number of primary shards.
        changeable: The settings that can be changed later, see `layout.py`.
        made: A random id of the creation.
    """
    return {
        "settings": {
            "index": {
                "number_of_shards": shards,
                **changeable,
                "sort.field": list(SORT),
                "sort.order": ["desc"] * len(SORT),
                "search.idle.after": "365d",  # otherwise the first list after a quiet time waits for a refresh
            }
        },
        "mappings": {
            "dynamic": "strict",
            "_source": {"enabled": False},
            "_meta": {"strongroom_version": VERSION, MADE: made},
            "properties": PROPERTIES,
        },
    }
