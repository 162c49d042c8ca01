"""Temporal's index of visibility records, in version 14 of its template, and the content of its documents."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from . import doubles

if TYPE_CHECKING:
    from collections.abc import Mapping

    from .attributes import Attributes

_TYPES: Mapping[str, Mapping[str, Any]] = {
    "Keyword": {"type": "keyword"},
    "KeywordList": {"type": "keyword"},
    "Text": {"type": "text"},
    "Int": {"type": "long"},
    "Double": {"type": "scaled_float", "scaling_factor": doubles.SCALE},
    "Bool": {"type": "boolean"},
    "Datetime": {"type": "date_nanos"},
}
SORTABLE = "Sortable"
"""Suffix of the field that a Double is sorted by if the node has no scaled_float."""


def index_body(attributes: Attributes, *, scaled_float: bool) -> dict[str, Any]:
    """Return the body to create the index with.

    Args:
        attributes: The attributes, with the custom fields to allocate.
        scaled_float: Whether the node has this type, which is in a module. If not, a `long` and a `double` replace it.
    """
    properties: dict[str, Any] = {"NamespaceId": {"type": "keyword"}}
    for attribute in attributes:
        properties[attribute.field] = dict(_TYPES[attribute.kind])
        if attribute.kind == "Double" and not scaled_float:
            properties[attribute.field] = {"type": "long"}
            properties[attribute.field + SORTABLE] = {"type": "double", "index": False}
    return {
        "settings": {
            "index": {
                "number_of_shards": 1,
                "auto_expand_replicas": "0-2",
                "search.idle.after": "365d",
                "sort.field": ["CloseTime", "StartTime", "RunId"],
                "sort.order": ["desc", "desc", "desc"],
                "sort.missing": ["_first", "_first", "_first"],
            }
        },
        "mappings": {"dynamic": False, "properties": properties},
    }


def source_of(
    document: Mapping[str, Any], attributes: Attributes, *, namespace_id: str, scaled_float: bool
) -> dict[str, Any]:
    """Return a document as Temporal writes it."""
    source: dict[str, Any] = {"NamespaceId": namespace_id}
    for name, value in document.items():
        attribute = attributes[name]
        match attribute.kind:
            case "Datetime":
                source[attribute.field] = rfc3339(value)
            case "Double" if not scaled_float:
                source[attribute.field] = doubles.stored(value)
                source[attribute.field + SORTABLE] = doubles.sort_key(value)
            case "KeywordList":
                source[attribute.field] = list(value)
            case _:
                source[attribute.field] = value
    return source


def document_id(document: Mapping[str, Any]) -> str:
    """Return Temporal's id of a document, for ids within its limit of 512 bytes."""
    return f"{document['WorkflowId']}~{document['RunId']}"


def rfc3339(nanoseconds: int, *, digits: bool = False) -> str:
    """Return a time as Go writes it: without zeros at the end of the fraction, or any fraction if it is zero.

    Args:
        nanoseconds: The time in nanoseconds since 1970.
        digits: Whether to write all nine digits.
    """
    seconds, rest = divmod(nanoseconds, 10**9)
    whole = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(seconds=seconds)
    fraction = f".{rest:09}" if digits else f".{rest:09}".rstrip("0").rstrip(".")
    return f"{whole:%Y-%m-%dT%H:%M:%S}{fraction}Z"
