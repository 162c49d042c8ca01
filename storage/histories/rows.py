"""An append of history nodes, its checks, and the columns of its rows.

Used by `HistoryManager`, and by the writes of mutable state that have an append in the same statement.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from strongroom.kms.sealing.record_kinds import HISTORY_NODE, HISTORY_TREE
from strongroom.storage.checks import (
    TRANSACTION_SIZE_LIMIT,
    check_blob,
    check_collection,
    check_number,
    check_shard_id,
    check_uuid,
)
from strongroom.storage.data_blob import DataBlob
from strongroom.storage.errors import InvalidPersistenceRequest

from .branch import LAST_NODE, BranchInfo, BranchRange, HistoryBranch

if TYPE_CHECKING:
    from uuid import UUID

    from strongroom.kms import NamespaceKeys
    from strongroom.storage.column_sealer import ColumnSealer

ROW_BYTES = 200
"""The approximate size of a row without its payload, in bytes."""


class HistoryNode(NamedTuple):
    """A batch of events that were written together.

    A tuple, because histories have thousands of nodes and a frozen dataclass takes twice as long to make.

    Attributes:
        node_id: The id of the first event of the batch; 1 or more.
        txn_id: The transaction of the write. If a node was written twice, the higher transaction counts.
        prev_txn_id: The transaction of the node before this one in the branch; 0 for node 1. It is authenticated, so that a reader
            notices a missing node.
        events: The batch.
    """

    node_id: int
    txn_id: int
    prev_txn_id: int
    events: DataBlob


@dataclass(frozen=True, slots=True)
class HistoryAppend:
    """Nodes to write to a branch.

    Attributes:
        branch: The branch. All nodes are in its own range.
        nodes: The nodes, in any order; at least one.
        is_new_branch: Whether the branch's row in the tree is written too.
        info: The note in that row, which is sealed.
        tree_info: The caller's own description of the branch in that row, which is sealed too; None for none.
    """

    branch: HistoryBranch
    nodes: Sequence[HistoryNode]
    is_new_branch: bool = False
    info: str = ""
    tree_info: DataBlob | None = None


class HistoryColumns:
    """The columns of `history_node` (`n_`) and `history_tree` (`t_`) for a statement with several requests.

    The journal needs the ids as bytes: `n_place` and `t_place` have the tree's and the branch's id of each row. No parameter has them.
    """

    __slots__ = (
        "n_branch",
        "n_data",
        "n_node",
        "n_place",
        "n_prev_txn",
        "n_request",
        "n_tree",
        "n_txn",
        "t_branch",
        "t_data",
        "t_place",
        "t_request",
        "t_tree",
    )

    def __init__(self) -> None:
        self.n_request: list[int] = []
        self.n_tree: list[UUID] = []
        self.n_branch: list[UUID] = []
        self.n_node: list[int] = []
        self.n_txn: list[int] = []
        self.n_prev_txn: list[int] = []
        self.n_data: list[bytes | None] = []
        self.n_place: list[bytes] = []
        self.t_request: list[int] = []
        self.t_tree: list[UUID] = []
        self.t_branch: list[UUID] = []
        self.t_data: list[bytes | None] = []
        self.t_place: list[bytes] = []

    def add(self, columns: ColumnSealer, keys: NamespaceKeys, index: int, append: HistoryAppend) -> None:
        """Add the rows of an append that passed `check_append`.

        Args:
            columns: The sealer, which later writes the sealed values into the columns.
            keys: The keys of the branch's namespace.
            index: The request's index in its statement.
            append: The append.
        """
        branch = append.branch
        shard_id, tree_id, branch_id = branch.shard_id, branch.tree_id, branch.branch_id
        tree_bytes, branch_bytes = tree_id.bytes, branch_id.bytes
        place = tree_bytes + branch_bytes
        for node_id, txn_id, prev_txn_id, events in append.nodes:
            self.n_request.append(index)
            self.n_tree.append(tree_id)
            self.n_branch.append(branch_id)
            self.n_node.append(node_id)
            self.n_txn.append(txn_id)
            self.n_prev_txn.append(prev_txn_id)
            self.n_place.append(place)
            key = (shard_id, tree_bytes, branch_bytes, node_id, txn_id, prev_txn_id)
            columns.add(self.n_data, keys, HISTORY_NODE, key, events.pack())
        if append.is_new_branch:
            self.t_request.append(index)
            self.t_tree.append(tree_id)
            self.t_branch.append(branch_id)
            self.t_place.append(place)
            packed = BranchInfo(branch, append.info, time.time_ns(), append.tree_info).pack()
            columns.add(self.t_data, keys, HISTORY_TREE, (shard_id, tree_bytes, branch_bytes), packed)


def check_append(append: HistoryAppend) -> int:
    """Refuse an invalid append.

    Returns:
        The approximate size of the append in a statement, in bytes.

    Raises:
        InvalidPersistenceRequest: There are no nodes, a write is repeated, a node is before the branch's own range, or a field
            has an invalid type or value.
        TransactionSizeLimit: A node has more than 4 MiB.
    """
    branch, nodes = append.branch, append.nodes
    check_branch(branch)
    if append.info != "":
        check_note(append.info)
    check_collection("nodes", nodes)
    if not nodes:
        msg = "an append must have at least one node"
        raise InvalidPersistenceRequest(msg)
    if set(map(type, nodes)) != {HistoryNode}:
        msg = "every node must be a HistoryNode"
        raise InvalidPersistenceRequest(msg)
    begin, size = branch.begin_node, len(append.info)
    if append.tree_info is not None:
        size += check_blob("tree_info", append.tree_info)
    for node_id, txn_id, prev_txn_id, events in nodes:
        check_number("node_id", node_id, least=1, limit=LAST_NODE)
        check_number("txn_id", txn_id)
        check_number("prev_txn_id", prev_txn_id)
        if node_id < begin:
            msg = f"node {node_id} belongs to an ancestor; this branch begins at node {begin}"
            raise InvalidPersistenceRequest(msg)
        if txn_id < prev_txn_id:
            msg = f"node {node_id} has a lower transaction than the node before it; no reader would return it"
            raise InvalidPersistenceRequest(msg)
        size += check_blob("events", events) + ROW_BYTES
    if len(nodes) > 1 and len({node[:2] for node in nodes}) < len(nodes):
        msg = "the append has the same node and transaction twice"
        raise InvalidPersistenceRequest(msg)
    return size


def check_branch(branch: object) -> None:
    """Refuse anything that is not a valid branch.

    Raises:
        InvalidPersistenceRequest: It is not a branch, an id is invalid, or its ancestors are not contiguous from node 1.
    """
    if not isinstance(branch, HistoryBranch):
        msg = "branch must be a HistoryBranch"
        raise InvalidPersistenceRequest(msg)
    check_shard_id(branch.shard_id)
    check_uuid("tree_id", branch.tree_id)
    check_uuid("branch_id", branch.branch_id)
    check_collection("ancestors of a branch", branch.ancestors)
    begin = 1
    for part in branch.ancestors:
        if not isinstance(part, BranchRange) or part.begin_node != begin:
            msg = "the ancestors of a branch must be contiguous ranges from node 1"
            raise InvalidPersistenceRequest(msg)
        check_uuid("branch_id of an ancestor", part.branch_id)
        check_number("end_node of an ancestor", part.end_node, least=begin + 1)
        begin = part.end_node


def check_note(info: object) -> None:
    """Refuse an invalid note of a branch.

    Raises:
        InvalidPersistenceRequest: It is not text, can't be encoded, or has more than 4 MiB.
    """
    try:
        valid = isinstance(info, str) and len(info.encode()) <= TRANSACTION_SIZE_LIMIT
    except UnicodeEncodeError:
        valid = False
    if not valid:
        msg = "the note of a branch must be text of at most 4 MiB"
        raise InvalidPersistenceRequest(msg)
