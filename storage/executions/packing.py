"""The plaintexts of a run's rows before they are sealed (kms/FORMAT.md section 9)."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

from strongroom.storage import multiset
from strongroom.storage.data_blob import DataBlob
from strongroom.storage.errors import DataLoss
from strongroom.storage.histories.ends import BranchEnd

from .modes import WorkflowState, WorkflowStatus
from .requests import ChasmNode, ExecutionState

if TYPE_CHECKING:
    from strongroom.kms import NamespaceKeys

_U16 = struct.Struct(">H")
_U32 = struct.Struct(">I")
_CURRENT = struct.Struct(">BBqH")
_BINDING = struct.Struct(">32s?32sqq")
_NO_TIME = -1
_NO_END = BranchEnd(bytes(32), 0, 0)


def workflow_token(keys: NamespaceKeys, workflow_id: bytes) -> bytes:
    """Return the token of a workflow id in rows: 16 bytes."""
    return keys.identity("workflow id").token(workflow_id)[:16]


def pack_run(info: DataBlob, state: DataBlob, *, total: int, end: BranchEnd | None) -> bytes:
    """Pack a run's info and state, with the digest of its map rows and the end of its current branch.

    Args:
        info: The run's info.
        state: The run's state.
        total: The digest of the run's map rows (`run_digest.py`).
        end: The end of the run's current branch; None if no write named one.
    """
    branch_end = _NO_END if end is None else end
    return _BINDING.pack(multiset.pack(total), end is not None, *branch_end) + pack_execution(info, state)


def unpack_run(packed: bytes) -> tuple[DataBlob, DataBlob, int, BranchEnd | None]:
    """Return the info, state, digest and end that `pack_run` packed.

    Raises:
        DataLoss: The bytes have another form.
    """
    try:
        total, has_end, *end = _BINDING.unpack_from(packed)
    except struct.error:
        raise DataLoss(_UNKNOWN) from None
    info, state = unpack_execution(packed[_BINDING.size :])
    return info, state, multiset.unpack(total), BranchEnd(*end) if has_end else None


def pack_execution(info: DataBlob, state: DataBlob) -> bytes:
    """Pack two blobs: a run's info and state, or the metadata and data of a CHASM node."""
    packed = info.pack()
    return _U32.pack(len(packed)) + packed + state.pack()


def unpack_execution(packed: bytes) -> tuple[DataBlob, DataBlob]:
    """Return the two blobs that `pack_execution` packed.

    Raises:
        DataLoss: The bytes have another form.
    """
    end = _U32.size + _length(_U32, packed)
    return DataBlob.unpack(packed[_U32.size : end]), DataBlob.unpack(packed[end:])


def pack_current(state: ExecutionState) -> bytes:
    """Pack the state that is stored with a current run."""
    request_id = state.create_request_id.encode()
    start = _NO_TIME if state.start_time is None else state.start_time
    return _CURRENT.pack(state.state, state.status, start, len(request_id)) + request_id + state.blob.pack()


def unpack_current(packed: bytes) -> ExecutionState:
    """Return the state that `pack_current` packed.

    Raises:
        DataLoss: The state or status is unknown to this version.
    """
    try:
        state, status, start, length = _CURRENT.unpack_from(packed)
        request_id = packed[_CURRENT.size : _CURRENT.size + length].decode()
        states = WorkflowState(state), WorkflowStatus(status)
    except (struct.error, ValueError):
        raise DataLoss(_UNKNOWN) from None
    blob = DataBlob.unpack(packed[_CURRENT.size + length :])
    return ExecutionState(*states, blob, request_id, None if start == _NO_TIME else start)


def pack_named(name: bytes, value: bytes) -> bytes:
    """Pack an entry whose name a tenant chose, with the name."""
    return _U16.pack(len(name)) + name + value


def unpack_named(packed: bytes) -> tuple[str, bytes]:
    """Return the name and value that `pack_named` packed.

    Raises:
        DataLoss: The bytes have another form.
    """
    end = _U16.size + _length(_U16, packed)
    try:
        return packed[_U16.size : end].decode(), packed[end:]
    except UnicodeDecodeError:
        raise DataLoss(_UNKNOWN) from None


def pack_chasm_node(node: ChasmNode) -> bytes:
    """Pack a CHASM node."""
    return pack_execution(node.metadata, node.data)


def unpack_chasm_node(packed: bytes) -> ChasmNode:
    """Return the node that `pack_chasm_node` packed.

    Raises:
        DataLoss: The bytes have another form.
    """
    return ChasmNode(*unpack_execution(packed))


def _length(form: struct.Struct, packed: bytes) -> int:
    try:
        length: int = form.unpack_from(packed)[0]
    except struct.error:
        raise DataLoss(_UNKNOWN) from None
    return length


_UNKNOWN = "a stored row has a form that is unknown to this version"
