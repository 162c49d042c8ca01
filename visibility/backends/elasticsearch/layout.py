"""The index behind an alias: found, checked, and described."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from strongroom.visibility.errors import SearchIndexAnswerError, SearchIndexMismatch

from .answers import error_type, is_missing, items, nested
from .mapping import MADE, VERSION
from .refusals import CHANGED, SEVERAL

if TYPE_CHECKING:
    from collections.abc import Mapping

_FORBIDDEN = 403
_DEFAULT_REFRESH = "1s"
_HIDING = ("filter", "index_routing", "search_routing")


@dataclass(frozen=True, slots=True)
class IndexLayout:
    """The index behind an alias.

    Attributes:
        index: Its name.
        shards: Number of primary shards.
        replicas: Number of replicas of each shard now.
        refresh_interval: Time after which searches see a write, as Elasticsearch writes it, for example "1s".
    """

    index: str
    shards: int
    replicas: int
    refresh_interval: str


@dataclass(frozen=True, slots=True)
class ClusterHealth:
    """The health of an index.

    Attributes:
        status: "green" if all shards and replicas are up, "yellow" if a replica is missing, "red" if a shard is.
        data_nodes: Number of nodes of the cluster that hold shards.
        unassigned: Number of shards and replicas that are on no node.
    """

    status: str
    data_nodes: int
    unassigned: int


def layout(body: Any, name: str, *, is_alias: bool = True) -> IndexLayout | None:
    """Return the only index of an alias, from its description; None if there is no such alias.

    Args:
        body: The body of the answer to a request for the index.
        name: The alias.
        is_alias: Whether it is an alias. Otherwise it is the index itself.

    Raises:
        SearchIndexMismatch: It has several indices, or hides documents, or its index has another version.
    """
    if is_missing(body):
        return None
    found = items(body)
    if not found:
        raise SearchIndexAnswerError
    if len(found) > 1:
        raise SearchIndexMismatch(SEVERAL.format(name=name, indices=", ".join(sorted(found))))
    ((index, described),) = found.items()
    meta = nested(described, "mappings").get("_meta")
    if not isinstance(meta, dict) or meta.get("strongroom_version") != VERSION:
        msg = f"the search index does not have version {VERSION}; set another index name, then run 'strongroom index build'"
        raise SearchIndexMismatch(msg)
    if is_alias:
        _check_alias(nested(described, "aliases"), name)
    settings = nested(nested(described, "settings"), "index")
    return IndexLayout(
        index,
        _number(settings.get("number_of_shards")),
        _number(settings.get("number_of_replicas")),
        str(settings.get("refresh_interval", _DEFAULT_REFRESH)),
    )


def made_by(body: Any, index: str) -> str | None:
    """Return the id of the creation of an index, from its mapping; "" if it has none, and None if there is no such index."""
    if is_missing(body):
        return None
    meta = nested(nested(body, index), "mappings").get("_meta")
    return str(meta.get(MADE, "")) if isinstance(meta, dict) else ""


def _check_alias(aliases: Mapping[str, Any], name: str) -> None:
    if name not in aliases:
        raise SearchIndexMismatch(f"{name} is an index, and must be an alias; set another elasticsearch.index")
    if any(each in nested(aliases, name) for each in _HIDING):
        raise SearchIndexMismatch(CHANGED.format(name=name))


def health(body: Any) -> ClusterHealth | None:
    """Return the health of an index; None if the API key lacks the right to read it."""
    if error_type(body) is not None and body.get("status") == _FORBIDDEN:
        return None
    found = items(body)
    return ClusterHealth(
        str(found.get("status")), _number(found.get("number_of_data_nodes")), _number(found.get("unassigned_shards"))
    )


def stored_bytes(body: Any) -> int:
    """Return the size of all shards and replicas of an index, in bytes."""
    return _number(nested(nested(nested(body, "_all"), "total"), "store").get("size_in_bytes"))


def _number(value: Any) -> int:
    # Settings are texts; statistics are numbers.
    try:
        number = int(value)
    except (TypeError, ValueError):
        raise SearchIndexAnswerError from None
    return number


def replicas_setting(replicas: int | None) -> Mapping[str, Any]:
    """Return the settings for a number of replicas of each shard; None for one as soon as there is a second node."""
    if replicas is None:
        return {"auto_expand_replicas": "0-1"}
    return {"auto_expand_replicas": "false", "number_of_replicas": replicas}


def refresh_setting(seconds: float) -> Mapping[str, Any]:
    """Return the setting for the time after which searches see a write."""
    return {"refresh_interval": f"{round(seconds * 1000)}ms"}
