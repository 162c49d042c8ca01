"""Read the arguments of a call: the namespaces that it affects, and the values that identify the workflow, shard or queue."""

from __future__ import annotations

from datetime import datetime
from enum import Enum
from typing import TYPE_CHECKING, Any, TypeAlias
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
_PLAIN_TYPES = (str, int, UUID, bytes, datetime)


def identifying(arguments: Mapping[str, Any]) -> tuple[tuple[UUID, ...], dict[str, Any]]:
    """Return the namespaces in the arguments of a call, and the values that identify its subject.

    Args:
        arguments: All arguments of a call, by name.

    Returns:
        The id of each namespace, without duplicates. Then, by name, the ids, names, numbers and filters from the arguments and from
        requests. Blobs, tasks and events are left out. The table (`driver/stores.py`) lists the values that are recorded.
    """
    namespace_ids: list[UUID] = []
    values: dict[str, Any] = {}
    for name, value in arguments.items():
        kind = type(value)
        if name == "namespace_id":
            if isinstance(value, UUID):
                namespace_ids.append(value)
        elif kind in _PLAIN:
            values[name] = value
        elif (read := _READERS.get(kind)) is not None:
            read(value, namespace_ids, values)
        elif isinstance(value, _PLAIN_TYPES):
            values[name] = value
    if len(namespace_ids) < 2:  # noqa: PLR2004 - most calls name one
        return tuple(namespace_ids), values
    return tuple(dict.fromkeys(namespace_ids)), values


def canonical(value: object) -> bytes:
    """Return bytes that no other type or value has."""
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


Reader: TypeAlias = "Callable[[Any, list[UUID], dict[str, Any]], None]"
"""Reads a request: adds its namespaces to the list, and its identifying values to the dictionary."""


def _request_with(*fields: str) -> Reader:
    """Return a reader for requests that hold a run in each of these fields. The first run identifies the call."""

    def read(request: Any, namespace_ids: list[UUID], values: dict[str, Any]) -> None:
        values["shard_id"] = request.shard_id
        for field in fields:
            run = getattr(request, field)
            if run is not None:
                namespace_ids.append(run.namespace_id)
                values.setdefault("workflow_id", run.workflow_id)
                values.setdefault("run_id", run.run_id)

    return read


def _read_queue(queue: TaskQueueKey, namespace_ids: list[UUID], values: dict[str, Any]) -> None:
    namespace_ids.append(queue.namespace_id)
    values["task_queue"] = queue.name
    values["task_type"] = int(queue.task_type)


def _read_task_queue(task_queue: TaskQueue, namespace_ids: list[UUID], values: dict[str, Any]) -> None:
    _read_queue(task_queue.queue, namespace_ids, values)


def _read_branch(branch: HistoryBranch, _namespace_ids: list[UUID], values: dict[str, Any]) -> None:
    values["tree_id"] = branch.tree_id
    values["branch_id"] = branch.branch_id


def _read_shard(shard: ShardInfo, _namespace_ids: list[UUID], values: dict[str, Any]) -> None:
    values["shard_id"] = shard.shard_id


def _read_endpoint(endpoint: NexusEndpoint, _namespace_ids: list[UUID], values: dict[str, Any]) -> None:
    values["endpoint_id"] = endpoint.endpoint_id


_READERS: dict[type, Reader] = {
    CreateWorkflowExecutionRequest: _request_with("new_workflow_snapshot"),
    UpdateWorkflowExecutionRequest: _request_with("update_workflow_mutation", "new_workflow_snapshot"),
    ConflictResolveWorkflowExecutionRequest: _request_with(
        "reset_workflow_snapshot", "new_workflow_snapshot", "current_workflow_mutation"
    ),
    SetWorkflowExecutionRequest: _request_with("set_workflow_snapshot"),
    TaskQueueKey: _read_queue,
    TaskQueue: _read_task_queue,
    HistoryBranch: _read_branch,
    ShardInfo: _read_shard,
    NexusEndpoint: _read_endpoint,
}
