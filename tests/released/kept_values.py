"""What the stores return, as JSON that later versions read.

Each class and each of its fields is named. So a later version may move a class, and may add a field that has a default.
"""

from __future__ import annotations

from dataclasses import fields, is_dataclass
from enum import Enum
from typing import Any
from uuid import UUID

from strongroom.storage import DataBlob, HistoryNode, Task, TaskQueue, TaskQueueKey
from strongroom.storage.data_blob import Encoding
from strongroom.storage.executions.requests import ChasmNode, WorkflowMutableState
from strongroom.visibility import VisibilityRecord

CONTAINERS = {each.__name__: each for each in (list, tuple, set, frozenset)}
CLASSES = {
    each.__name__: each
    for each in (
        *(ChasmNode, DataBlob, Encoding, HistoryNode, Task, TaskQueue, TaskQueueKey),
        *(VisibilityRecord, WorkflowMutableState),
    )
}


def to_json(value: Any) -> Any:
    """Return a value as JSON."""
    kind = type(value)
    if value is None or kind in {bool, int, float, str}:
        return value
    return {kind.__name__: _content(kind, value)}


def _content(kind: type, value: Any) -> Any:
    if kind in {bytes, UUID}:
        return value.hex() if kind is bytes else str(value)
    if kind.__name__ in CONTAINERS:
        return [to_json(each) for each in value]
    if kind is dict:
        return [[to_json(key), to_json(each)] for key, each in value.items()]
    assert CLASSES.get(kind.__name__) is kind, f"add {kind} to CLASSES"
    if isinstance(value, Enum):
        return value.name
    names = [field.name for field in fields(kind)] if is_dataclass(kind) else kind._fields
    return {name: to_json(getattr(value, name)) for name in names}


def from_json(value: Any) -> Any:
    """Return the value that `to_json` was given, as objects of this version's classes."""
    if not isinstance(value, dict):
        return value
    [(name, content)] = value.items()
    if name == "bytes":
        return bytes.fromhex(content)
    if name == "UUID":
        return UUID(content)
    if name in CONTAINERS:
        return CONTAINERS[name](from_json(each) for each in content)
    if name == "dict":
        return {from_json(key): from_json(each) for key, each in content}
    kind = CLASSES[name]
    if issubclass(kind, Enum):
        return kind[content]
    return kind(**{field: from_json(each) for field, each in content.items()})
