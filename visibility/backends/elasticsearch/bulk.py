"""The actions of a bulk request, and the result of each."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from strongroom.storage import ResourceExhausted
from strongroom.visibility.backends.search_index import Refusal
from strongroom.visibility.errors import SearchIndexMismatch

from .refusals import BLOCKED, CLOSED, CLUSTER_BLOCK, DISK_FULL, INDEX_CLOSED

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

_OK_BELOW, _SERVER_ERROR = 300, 500
_UNAUTHORIZED, _FORBIDDEN, _NOT_FOUND, _CONFLICT, _TOO_MANY = 401, 403, 404, 409, 429
_NEWER_EXISTS = "version_conflict_engine_exception"
_OF_THE_INDEX = {
    "index_not_found_exception": "the search index or its alias does not exist; create it with: strongroom index build",
    INDEX_CLOSED: CLOSED,
}
_ERROR_TYPE = re.compile(r"[a-z_]{1,64}", re.ASCII)


@dataclass(frozen=True, slots=True)
class BulkAction:
    """One action of a bulk request.

    Attributes:
        kind: "index" or "delete".
        name: The document's id in the index.
        version: The version of the document; None for a deletion of any version.
        document: The document; None for a deletion.
        routing: The routing of the document; None for the default.
        only_newer: Whether a document of the same version is kept.
    """

    kind: str
    name: str
    version: int | None
    document: Mapping[str, Any] | None = None
    routing: str | None = None
    only_newer: bool = False

    def lines(self) -> list[Mapping[str, Any]]:
        """Return the lines of the request."""
        action: dict[str, Any] = {"_id": self.name}
        if self.version is not None:
            # external_gte: an equal version replaces the document, because it can be of another epoch. An older one does not.
            action |= {"version": self.version, "version_type": "external" if self.only_newer else "external_gte"}
        if self.routing is not None:
            action["routing"] = self.routing
        head = {self.kind: action}
        return [head] if self.document is None else [head, self.document]


def refusal(kind: str, item: Mapping[str, Any]) -> Refusal | None:
    """Return why an action was not executed; None if it was, or is obsolete because a newer version exists.

    Args:
        kind: The kind of the action.
        item: The result of the action.

    Raises:
        SearchIndexMismatch: The index is missing, closed or blocked, so the cluster refuses all actions.
    """
    status, error = item["status"], _error_type(item)
    if error is None and (status < _OK_BELOW or (kind == "delete" and status == _NOT_FOUND)):
        return None
    if status == _CONFLICT and error in (None, _NEWER_EXISTS):
        return None
    if error in _OF_THE_INDEX:
        raise SearchIndexMismatch(_OF_THE_INDEX[error])
    if error == CLUSTER_BLOCK and status == _TOO_MANY:
        return Refusal(DISK_FULL, passing=True)
    if error == CLUSTER_BLOCK:
        raise SearchIndexMismatch(BLOCKED)
    if status in (_UNAUTHORIZED, _FORBIDDEN, _NOT_FOUND):
        msg = (
            f"the search index refused a write ({error or 'no reason'}, status {status}); "
            "check the rights of the API key, and that the index exists"
        )
        raise SearchIndexMismatch(msg)
    passing = status in (_CONFLICT, _TOO_MANY) or status >= _SERVER_ERROR
    return Refusal(f"{error or 'no reason'} (status {status})", passing=passing)


def _error_type(item: Mapping[str, Any]) -> str | None:
    """Return the type of an item's error, in the form that Elasticsearch gives it."""
    if "error" not in item:
        return None
    error = item["error"]
    kind = error.get("type") if isinstance(error, dict) else None
    return kind if isinstance(kind, str) and _ERROR_TYPE.fullmatch(kind) else "unknown error"


def require_all(results: Sequence[Refusal | None]) -> None:
    """Check that all actions were executed.

    Raises:
        ResourceExhausted: The cluster did not execute some actions because it is overloaded.
        SearchIndexMismatch: The cluster refused some actions permanently.
    """
    refused = [result for result in results if result is not None]
    if any(result.reason == DISK_FULL for result in refused):
        raise ResourceExhausted(DISK_FULL)
    if any(result.passing for result in refused):
        msg = "Elasticsearch is overloaded, or its disk is full: it rejected some writes; retry later"
        raise ResourceExhausted(msg)
    if refused:
        msg = f"the search index refused {len(refused)} writes: {refused[0].reason}"
        raise SearchIndexMismatch(msg)
