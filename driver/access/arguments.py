"""What a call is about: the namespaces in its arguments, and those that tell what it was."""

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
    from collections.abc import Callable, Mapping

_PLAIN = frozenset({str, int, UUID, bytes, datetime})
_ANY = (str, int, UUID, bytes, datetime)


def about(arguments: Mapping[str, Any]) -> tuple[tuple[UUID, ...], dict[str, Any]]:
    """Return what a call is about.

    Returns:
        Every namespace that the arguments name by id, each once; and the arguments by which a call can be recognised: ids, names,
        numbers and filters, those within requests too. Blobs, tasks and events are left out.
    """
    ids: list[UUID] = []
    found: dict[str, Any] = {}
    for name, value in arguments.items():
        kind = type(value)
        if name == "namespace_id":
            if isinstance(value, UUID):
                ids.append(value)
        elif kind in _PLAIN:
            found[name] = value
        elif (expand := _EXPANDED.get(kind)) is not None:
            expand(value, ids, found)
        elif isinstance(value, _ANY):
            found[name] = value
    return tuple(ids) if len(ids) < 2 else tuple(dict.fromkeys(ids)), found  # noqa: PLR2004 - most have one


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


def _of_request(*names: str) -> Callable[[Any, list[UUID], dict[str, Any]], None]:
    """Return what reads requests whose runs stand in these fields; it is told by the first that is there."""

    def read(request: Any, ids: list[UUID], found: dict[str, Any]) -> None:
        found["shard_id"] = request.shard_id
        for name in names:
            run = getattr(request, name)
            if run is not None:
                ids.append(run.namespace_id)
                found.setdefault("workflow_id", run.workflow_id)
                found.setdefault("run_id", run.run_id)

    return read


def _of_queue(queue: TaskQueueKey, ids: list[UUID], found: dict[str, Any]) -> None:
    ids.append(queue.namespace_id)
    found["task_queue"] = queue.name
    found["task_type"] = int(queue.task_type)


def _of_task_queue(task_queue: TaskQueue, ids: list[UUID], found: dict[str, Any]) -> None:
    _of_queue(task_queue.queue, ids, found)


def _of_branch(branch: HistoryBranch, _ids: list[UUID], found: dict[str, Any]) -> None:
    found["tree_id"] = branch.tree_id
    found["branch_id"] = branch.branch_id


def _of_shard(shard: ShardInfo, _ids: list[UUID], found: dict[str, Any]) -> None:
    found["shard_id"] = shard.shard_id


def _of_endpoint(endpoint: NexusEndpoint, _ids: list[UUID], found: dict[str, Any]) -> None:
    found["endpoint_id"] = endpoint.endpoint_id


_EXPANDED: dict[type, Callable[[Any, list[UUID], dict[str, Any]], None]] = {
    CreateWorkflowExecutionRequest: _of_request("new_workflow_snapshot"),
    UpdateWorkflowExecutionRequest: _of_request("update_workflow_mutation", "new_workflow_snapshot"),
    ConflictResolveWorkflowExecutionRequest: _of_request(
        "reset_workflow_snapshot", "new_workflow_snapshot", "current_workflow_mutation"
    ),
    SetWorkflowExecutionRequest: _of_request("set_workflow_snapshot"),
    TaskQueueKey: _of_queue,
    TaskQueue: _of_task_queue,
    HistoryBranch: _of_branch,
    ShardInfo: _of_shard,
    NexusEndpoint: _of_endpoint,
}
