"""Check the answers of a cluster. A proxy or another server may have answered instead, and a wrong answer must never look empty.

Each function takes the body of an answer and returns the part that the caller needs.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from strongroom.visibility.errors import SearchIndexAnswerError, SearchIndexMismatch, SearchIndexUnavailable

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

_NOT_FOUND, _UNAVAILABLE = 404, 503
_GROUP_KEYS = re.compile("(?:[0-9a-f]{16} )*", re.ASCII)
_GROUP_KEY_CHARACTERS = 17
"""The keys of groups, each with a space after it, and the characters of one."""
_SOME_SHARDS = "some shards of the search index did not answer; retry later"
_SEARCH_FAILED = "search_phase_execution_exception"
_ALREADY_EXISTS = "resource_already_exists_exception"


def error_type(body: Any) -> str | None:
    """Return the type of an error of Elasticsearch; None if the body is not such an error."""
    error = body.get("error") if isinstance(body, dict) else None
    kind = error.get("type") if isinstance(error, dict) else None
    return kind if isinstance(kind, str) else None


def snapshot_is_lost(status: int, body: Any) -> bool:
    """Return whether a failed search in a point in time will fail again, because the point in time or a part of it is gone.

    A cluster answers `search_phase_execution_exception`: with 404 if a node does not know the point in time, and with 503 if the
    node that had a part of it has ended.
    """
    kind = error_type(body)
    return kind is not None and (status == _NOT_FOUND or (status == _UNAVAILABLE and kind == _SEARCH_FAILED))


def acknowledged(body: Any) -> bool:
    """Return True for an acknowledged change of an index, a template or an alias."""
    if _object(body).get("acknowledged") is not True:
        raise SearchIndexUnavailable("the search index did not confirm a change of its settings in time; retry later")
    return True


def created(body: Any) -> bool:
    """Return whether an index was created; False if it exists already.

    Raises:
        SearchIndexMismatch: The cluster refused to create it.
    """
    if (kind := error_type(body)) is None:
        return acknowledged(body)
    if kind == _ALREADY_EXISTS:
        return False
    raise SearchIndexMismatch("the cluster refused to create the search index; its log has the reason")


def dropped(body: Any) -> bool:
    """Return whether an index or a template was deleted; False if there was none."""
    return False if is_missing(body) else acknowledged(body)


def alias(body: Any) -> list[str]:
    """Return the indices of an alias; an empty list if there is no such alias."""
    return [] if is_missing(body) else list(by_index(body, "aliases"))


def items(body: Any) -> Mapping[str, Any]:
    """Return an object."""
    return _object(body)


def nested(value: Any, name: str) -> Mapping[str, Any]:
    """Return a part of an object, which is an object too."""
    return _object(_object(value).get(name))


def by_index(body: Any, part: str) -> Mapping[str, Mapping[str, Any]]:
    """Return a part of the description of each index, for example its settings."""
    described = {name: _object(each).get(part) for name, each in _object(body).items()}
    if not described:
        raise SearchIndexAnswerError
    return {name: _object(each) for name, each in described.items()}


def refreshed(body: Any) -> None:
    """Check the answer to a refresh."""
    _check_shards(body)


def snapshot_id(body: Any) -> tuple[str, int | None]:
    """Return the id of a point in time, and its number of shards; None if the cluster is too old to say it."""
    found = _object(body).get("id")
    if not isinstance(found, str) or not found:
        raise SearchIndexAnswerError
    if "_shards" not in body:
        return found, None
    _check_shards(body)
    return found, shards_of(body)


def shards_of(body: Any) -> int:
    """Return the number of shards that a request asked."""
    return _count(_object(body["_shards"]).get("total"))


def searched(body: Any) -> Any:
    """Return the answer to a search if all shards answered and each hit has a name."""
    _check_shards(body)
    # A shard without a copy is not among the failed ones. A refresh has such shards too, because it counts replicas.
    if body["_shards"]["successful"] != body["_shards"]["total"]:
        raise SearchIndexUnavailable(_SOME_SHARDS)
    if body.get("timed_out") is not False:
        _fail_on_timeout(body)
    for hit in hits(body):
        if not isinstance(hit, dict) or not isinstance(hit.get("_id"), str):
            raise SearchIndexAnswerError
    return body


def hits(body: Any) -> Sequence[Any]:
    """Return the hits of a search."""
    return _list(_object(_object(body).get("hits")).get("hits"))


def hit_fields(hit: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the fields of a hit, each a list of its values. A document without the wanted fields has none."""
    return _object(hit.get("fields", {}))


def total(body: Any) -> int:
    """Return the exact number of documents that a search found."""
    found = _object(_object(body["hits"]).get("total"))
    if found.get("relation") != "eq":
        raise SearchIndexAnswerError
    return _count(found.get("value"))


def aggregation(body: Any, name: str) -> Mapping[str, Any]:
    """Return an aggregation of a search."""
    return _object(_object(body.get("aggregations")).get(name))


def documents(bucket: Any) -> int:
    """Return the number of documents of a bucket."""
    return _count(_object(bucket).get("doc_count"))


def filter_counts(body: Any, name: str, filters: Sequence[str]) -> list[int]:
    """Return the number of documents of each filter of a `filters` aggregation."""
    buckets = _object(aggregation(body, name).get("buckets"))
    return [documents(buckets.get(each)) for each in filters]


def term_counts(body: Any, name: str) -> Mapping[int, int]:
    """Return the number of documents of each integer of a `terms` aggregation."""
    found = aggregation(body, name)
    if found.get("sum_other_doc_count", 0) != 0:
        raise SearchIndexAnswerError
    return {_count(_object(each).get("key")): documents(each) for each in _list(found.get("buckets"))}


def group_buckets(body: Any, name: str, *, most: int) -> dict[int, Mapping[str, Any]]:
    """Return the bucket of each token of a `terms` aggregation over group tokens.

    Args:
        body: The body of the answer.
        name: The name of the aggregation.
        most: Maximum number of buckets of a complete answer.
    """
    found = aggregation(body, name)
    buckets = _list(found.get("buckets"))
    if len(buckets) <= most and (
        found.get("sum_other_doc_count") != 0 or found.get("doc_count_error_upper_bound") != 0
    ):
        raise SearchIndexAnswerError
    keys = [_object(bucket).get("key", "") for bucket in buckets]
    if not all(type(key) is str for key in keys):
        raise SearchIndexAnswerError
    # There can be thousands, so all are checked at once. The length shows a key with a space in it.
    together = " ".join([*keys, ""])
    if _GROUP_KEYS.fullmatch(together) is None or len(together) != len(keys) * _GROUP_KEY_CHARACTERS:
        raise SearchIndexAnswerError
    groups = dict(zip([int(key, 16) for key in keys], buckets, strict=True))
    if len(groups) < len(buckets):
        raise SearchIndexAnswerError
    return groups


def group_counts(body: Any, name: str, *, most: int) -> dict[int, int]:
    """Return the number of documents of each token of a `terms` aggregation over group tokens. See `group_buckets`."""
    return {token: _count(bucket.get("doc_count")) for token, bucket in group_buckets(body, name, most=most).items()}


def bucket_hits(bucket: Mapping[str, Any], name: str, *, limit: int) -> Sequence[Mapping[str, Any]]:
    """Return the hits of a `top_hits` aggregation of a bucket: all documents of the bucket, or `limit` of them if there are more."""
    found = hits(bucket.get(name))
    if len(found) != min(documents(bucket), limit):
        raise SearchIndexAnswerError
    return [_object(hit) for hit in found]


def found_documents(body: Any, names: Sequence[str]) -> dict[str, int]:
    """Return the versions of the documents that a multi-get found, by name."""
    answered = _list(_object(body).get("docs"))
    if [_object(each).get("_id") for each in answered] != list(names):
        raise SearchIndexAnswerError
    versions = {}
    for each in answered:
        if "error" in each or not isinstance(each.get("found"), bool):
            raise SearchIndexAnswerError
        if each["found"]:
            versions[each["_id"]] = _count(each.get("_version"))
    return versions


def bulk_items(body: Any, actions: Sequence[tuple[str, str]]) -> list[Mapping[str, Any]]:
    """Return the result of each action of a bulk request, in order.

    Args:
        body: The body of the answer.
        actions: The kind and the document name of each action.
    """
    results = _list(_object(body).get("items"))
    if len(results) != len(actions) or not isinstance(body.get("errors"), bool):
        raise SearchIndexAnswerError
    items = []
    for result, (kind, name) in zip(results, actions, strict=True):
        item = _object(_object(result).get(kind))
        status = item.get("status")
        is_error = "error" in item
        if len(result) != 1 or item.get("_id") != name or type(status) is not int or (is_error and not body["errors"]):
            raise SearchIndexAnswerError
        items.append(item)
    return items


def is_missing(body: Any) -> bool:
    """Return whether an answer says that an index or an alias does not exist."""
    return isinstance(body, dict) and "error" in body and body.get("status") == _NOT_FOUND


def _check_shards(body: Any) -> None:
    """Check that no shard failed. A partial answer would be wrong."""
    shards = _object(_object(body).get("_shards"))
    numbers = [shards.get(name) for name in ("total", "successful", "failed")]
    if not all(type(number) is int for number in numbers):
        raise SearchIndexAnswerError
    if numbers[2]:
        raise SearchIndexUnavailable(_SOME_SHARDS)


def _fail_on_timeout(body: Any) -> None:
    if body.get("timed_out") is True:
        raise SearchIndexUnavailable("the search index ended a search before it was complete; retry later")
    raise SearchIndexAnswerError


def _object(value: Any) -> Mapping[str, Any]:
    if not isinstance(value, dict):
        raise SearchIndexAnswerError
    return value


def _list(value: Any) -> Sequence[Any]:
    if not isinstance(value, list):
        raise SearchIndexAnswerError
    return value


def _count(value: Any) -> int:
    if type(value) is not int or value < 0:
        raise SearchIndexAnswerError
    return value
