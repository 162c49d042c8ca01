"""Plaintexts of a run's rows, as they are sealed (kms/FORMAT.md section 9)."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

from strongroom.storage.data_blob import DataBlob
from strongroom.storage.errors import DataLoss

from .requests import ChasmNode, ExecutionState, WorkflowState, WorkflowStatus

if TYPE_CHECKING:
    from strongroom.kms import NamespaceKeys

_U16 = struct.Struct(">H")
_U32 = struct.Struct(">I")
_CURRENT = struct.Struct(">BBqH")
_NO_TIME = -1


def workflow_token(keys: NamespaceKeys, workflow_id: bytes) -> bytes:
    """Return what stands for a workflow id in rows."""
    return keys.identity("workflow id").token(workflow_id)[:16]


def pack_execution(info: DataBlob, state: DataBlob) -> bytes:
    """Pack a run's info and state."""
    packed = info.pack()
    return _U32.pack(len(packed)) + packed + state.pack()


def unpack_execution(packed: bytes) -> tuple[DataBlob, DataBlob]:
    """Undo `pack_execution`."""
    end = _U32.size + _length(_U32, packed)
    return DataBlob.unpack(packed[_U32.size : end]), DataBlob.unpack(packed[end:])


def pack_current(state: ExecutionState) -> bytes:
    """Pack what is kept with a current run."""
    request_id = state.create_request_id.encode()
    start = _NO_TIME if state.start_time is None else state.start_time
    return _CURRENT.pack(state.state, state.status, start, len(request_id)) + request_id + state.blob.pack()


def unpack_current(packed: bytes) -> ExecutionState:
    """Undo `pack_current`.

    Raises:
        DataLoss: a state or status that this version does not know.
    """
    try:
        state, status, start, length = _CURRENT.unpack_from(packed)
        request_id = packed[_CURRENT.size : _CURRENT.size + length].decode()
        known = WorkflowState(state), WorkflowStatus(status)
    except (struct.error, ValueError):
        raise DataLoss(_UNKNOWN) from None
    blob = DataBlob.unpack(packed[_CURRENT.size + length :])
    return ExecutionState(*known, blob, request_id, None if start == _NO_TIME else start)


def pack_named(name: bytes, value: bytes) -> bytes:
    """Pack an entry that a tenant named, with its name."""
    return _U16.pack(len(name)) + name + value


def unpack_named(packed: bytes) -> tuple[str, bytes]:
    """Undo `pack_named`."""
    end = _U16.size + _length(_U16, packed)
    try:
        return packed[_U16.size : end].decode(), packed[end:]
    except UnicodeDecodeError:
        raise DataLoss(_UNKNOWN) from None


def pack_chasm_node(node: ChasmNode) -> bytes:
    """Pack a CHASM node."""
    return pack_execution(node.metadata, node.data)


def unpack_chasm_node(packed: bytes) -> ChasmNode:
    """Undo `pack_chasm_node`."""
    return ChasmNode(*unpack_execution(packed))


def _length(form: struct.Struct, packed: bytes) -> int:
    try:
        length: int = form.unpack_from(packed)[0]
    except struct.error:
        raise DataLoss(_UNKNOWN) from None
    return length


_UNKNOWN = "a stored row is not of a form that this version knows"
