"""What a call is about: the namespaces in its arguments, and hashes of those that tell what it was."""

from __future__ import annotations

from datetime import datetime
from enum import Enum
from typing import TYPE_CHECKING, Any
from uuid import UUID

from strongroom.storage import (
    ConflictResolveWorkflowExecutionRequest,
    CreateWorkflowExecutionRequest,
    HistoryBranch,
    NexusEndpoint,
    SetWorkflowExecutionRequest,
    ShardInfo,
    TaskQueue,
    TaskQueueKey,
    UpdateWorkflowExecutionRequest,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

HASH_BYTES = 16
_PLAIN = frozenset({str, int, UUID, bytes, datetime})
_ANY = (str, int, UUID, bytes, datetime)


def identifying(arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Return the arguments by which a call can be recognised: ids, names, numbers and filters, those within requests too.

    Blobs, tasks and events are left out.
    """
    found: dict[str, Any] = {}
    for name, value in arguments.items():
        kind = type(value)
        if kind in _PLAIN:
            found[name] = value
        elif (expand := _EXPANDED.get(kind)) is not None:
            found.update(expand(value))
        elif isinstance(value, _ANY):
            found[name] = value
    return found


def namespaces_of(arguments: Mapping[str, Any]) -> tuple[UUID, ...]:
    """Return every namespace that the arguments name by id, each once."""
    ids: list[UUID] = []
    for name, value in arguments.items():
        if name == "namespace_id" and isinstance(value, UUID):
            ids.append(value)
        elif (inner := _NAMESPACES.get(type(value))) is not None:
            ids.extend(inner(value))
    return tuple(ids) if len(ids) < 2 else tuple(dict.fromkeys(ids))  # noqa: PLR2004 - most have one


def hashed(found: Mapping[str, Any], token: Callable[[bytes], bytes]) -> dict[str, str]:
    """Return a keyed hash for each value, in hexadecimal: equal for equal values of one name, whatever their type and length."""
    return {
        name: token(name.encode() + b"\x00" + canonical(value))[:HASH_BYTES].hex()
        for name, value in found.items()
        if name != "namespace_id"
    }


def canonical(value: object) -> bytes:
    """Return bytes that no value of another type or content has."""
    if isinstance(value, str):
        return b"s" + value.encode("utf-8", "surrogatepass")
    if isinstance(value, bytes):
        return b"b" + value
    if isinstance(value, UUID):
        return b"u" + value.bytes
    if isinstance(value, Enum):
        return canonical(value.value)
    if isinstance(value, datetime):
        return b"t" + value.isoformat().encode()
    return b"i" + str(value).encode()


def _runs(request: Any) -> Iterator[Any]:
    for name in (
        "new_workflow_snapshot",
        "update_workflow_mutation",
        "reset_workflow_snapshot",
        "current_workflow_mutation",
        "set_workflow_snapshot",
    ):
        run = getattr(request, name, None)
        if run is not None:
            yield run


def _of_request(request: Any) -> dict[str, Any]:
    found: dict[str, Any] = {"shard_id": request.shard_id}
    for run in _runs(request):
        found.setdefault("workflow_id", run.workflow_id)
        found.setdefault("run_id", run.run_id)
    return found


def _namespaces_of_request(request: Any) -> Iterable[UUID]:
    return [run.namespace_id for run in _runs(request)]


def _of_queue(queue: TaskQueueKey) -> dict[str, Any]:
    return {"task_queue": queue.name, "task_type": int(queue.task_type)}


_REQUESTS = (
    CreateWorkflowExecutionRequest,
    UpdateWorkflowExecutionRequest,
    ConflictResolveWorkflowExecutionRequest,
    SetWorkflowExecutionRequest,
)
_EXPANDED: dict[type, Callable[[Any], dict[str, Any]]] = {
    **dict.fromkeys(_REQUESTS, _of_request),
    TaskQueueKey: _of_queue,
    TaskQueue: lambda task_queue: _of_queue(task_queue.queue),
    HistoryBranch: lambda branch: {"tree_id": branch.tree_id, "branch_id": branch.branch_id},
    ShardInfo: lambda shard: {"shard_id": shard.shard_id},
    NexusEndpoint: lambda endpoint: {"endpoint_id": endpoint.endpoint_id},
}
_NAMESPACES: dict[type, Callable[[Any], Iterable[UUID]]] = {
    **dict.fromkeys(_REQUESTS, _namespaces_of_request),
    TaskQueueKey: lambda queue: (queue.namespace_id,),
    TaskQueue: lambda task_queue: (task_queue.queue.namespace_id,),
}
