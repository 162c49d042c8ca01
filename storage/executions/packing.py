"""The plaintexts of a run's rows before they are sealed (kms/FORMAT.md section 9)."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

from strongroom.storage import multiset
from strongroom.storage.data_blob import DataBlob
from strongroom.storage.errors import DataLoss
from strongroom.storage.histories.ends import BranchEnd, branch_key

from .modes import WorkflowState, WorkflowStatus
from .requests import ChasmNode, ExecutionState

if TYPE_CHECKING:
    from collections.abc import Sequence

    from strongroom.kms import NamespaceKeys
    from strongroom.storage.histories.rows import HistoryAppend

_U16 = struct.Struct(">H")
_U32 = struct.Struct(">I")
_CURRENT = struct.Struct(">BBqH")
_END = struct.Struct(">?32sqq")
_NEWEST = struct.Struct(">qq")
_AT_NEWEST = 33
BRANCH = slice(multiset.SUM_BYTES + 1, multiset.SUM_BYTES + 33)
BINDING_BYTES = multiset.SUM_BYTES + _END.size
NO_BINDING = bytes(BINDING_BYTES)
"""The binding of a run without map rows and history."""
_NO_TIME = -1


def workflow_token(keys: NamespaceKeys, workflow_id: bytes) -> bytes:
    """Return the token of a workflow id in rows: 16 bytes."""
    return keys.identity("workflow id").token(workflow_id)[:16]


def packed_end_after(appends: Sequence[HistoryAppend], before: bytes) -> bytes:
    """Return the end of a run's current branch after a write, packed as in the binding.

    Args:
        appends: The history of the write; at least one. The last one names the current branch.
        before: The end before, packed.
    """
    branch = appends[-1].branch
    branch_id = branch.branch_id
    key = branch_key(branch.tree_id, branch_id)
    txn_id, node_id = -1, 0
    if before[0] and before[1:_AT_NEWEST] == key:
        node_id, txn_id = _NEWEST.unpack_from(before, _AT_NEWEST)
    # The write with the highest transaction always counts, and of one transaction the highest node (`histories/chain.py`).
    for append in appends:
        if append.branch is branch or append.branch.branch_id == branch_id:
            for node, txn, _, _ in append.nodes:
                if txn > txn_id or (txn == txn_id and node > node_id):
                    txn_id, node_id = txn, node
    return b"\x01" + key + _NEWEST.pack(node_id, txn_id)


def total_of(binding: bytes) -> bytes:
    """Return the digest of a run's map rows."""
    return binding[: multiset.SUM_BYTES]


def branch_of(binding: bytes) -> bytes | None:
    """Return the tree and branch id of a run's current branch; None if no write named it."""
    return binding[BRANCH] if binding[multiset.SUM_BYTES] else None


def end_of(binding: bytes) -> BranchEnd | None:
    """Return the end of a run's current branch; None if no write named it."""
    has_end, *end = _END.unpack_from(binding, multiset.SUM_BYTES)
    return BranchEnd(*end) if has_end else None


def pack_execution(info: DataBlob, state: DataBlob) -> bytes:
    """Pack two blobs: a run's info and state, or the metadata and data of a CHASM node."""
    packed = info.pack()
    return _U32.pack(len(packed)) + packed + state.pack()


def unpack_execution(packed: bytes, start: int = 0) -> tuple[DataBlob, DataBlob]:
    """Return the two blobs that `pack_execution` packed, from an offset on.

    Raises:
        DataLoss: The bytes have another form.
    """
    first = start + _U32.size
    second = first + _length(_U32, packed, start)
    return DataBlob.unpack(packed[first:second]), DataBlob.unpack(packed[second:])


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


def _length(form: struct.Struct, packed: bytes, start: int = 0) -> int:
    try:
        length: int = form.unpack_from(packed, start)[0]
    except struct.error:
        raise DataLoss(_UNKNOWN) from None
    return length


_UNKNOWN = "a stored row has a form that is unknown to this version"
