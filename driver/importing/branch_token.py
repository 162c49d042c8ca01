"""The branch of a run's history, read from the mutable state that a Temporal server writes.

Field numbers: temporal.server.api.persistence.v1.WorkflowExecutionInfo and HistoryBranch, history.v1.VersionHistories.
"""

from __future__ import annotations

from uuid import UUID

from .history_event import fields

_VERSION_HISTORIES = 54
_INDEX, _HISTORIES = 1, 2
_BRANCH_TOKEN = 1
_TREE_ID, _BRANCH_ID = 1, 2


def current_branch(execution_info: bytes) -> tuple[UUID, UUID]:
    """Return the tree id and the branch id of a run's current history.

    Args:
        execution_info: The encoded WorkflowExecutionInfo.

    Raises:
        ValueError: The bytes are not a WorkflowExecutionInfo, or it has no branch, as that of another service.
    """
    index, histories = 0, []
    for number, value in fields(_message(execution_info, _VERSION_HISTORIES)):
        if number == _INDEX and isinstance(value, int):
            index = value
        elif number == _HISTORIES and isinstance(value, bytes):
            histories.append(value)
    if index >= len(histories):
        raise ValueError
    token = _message(histories[index], _BRANCH_TOKEN)
    return UUID(_message(token, _TREE_ID).decode()), UUID(_message(token, _BRANCH_ID).decode())


def _message(data: bytes, wanted: int) -> bytes:
    """Return the last value of a field, as protobuf readers do.

    Raises:
        ValueError: The message has no such field of bytes.
    """
    found = [value for number, value in fields(data) if number == wanted and isinstance(value, bytes)]
    if not found:
        raise ValueError
    return found[-1]
