"""What writes of histories change, for the journal."""

from __future__ import annotations

import struct
from dataclasses import replace
from typing import TYPE_CHECKING

from strongroom.storage.journal.entry import Changes
from strongroom.storage.journal.images import HISTORY_NODE, HISTORY_TREE, tag

from .branch import LAST_NODE

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from uuid import UUID

    from .branch import HistoryBranch
    from .rows import HistoryColumns

_ROW = struct.Struct(">B16s16s16s")
_NODE = struct.Struct(">qq")
_node_row = struct.Struct(">B16s32sqq").pack
_TREE_NUMBER = bytes([HISTORY_TREE])
_RANGE = struct.Struct(">16s16sqq")


def changed_history(
    changes: Sequence[Changes], namespaces: Sequence[bytes], columns: HistoryColumns, *, first: int = 0
) -> None:
    """Add the rows of appends to the changes of their requests. Rows of an earlier attempt may be replaced.

    Args:
        changes: The changes of each request.
        namespaces: The namespace of each request.
        columns: The sealed columns of the rows.
        first: The number of the first request in the columns.
    """
    for number, place, node, txn, data in zip(
        columns.n_request, columns.n_place, columns.n_node, columns.n_txn, columns.n_data, strict=True
    ):
        assert data is not None  # noqa: S101 - every place was sealed
        changes[number - first].overwrite(
            _node_row(HISTORY_NODE, namespaces[number - first], place, node, txn), tag(data)
        )
    for number, place, data in zip(columns.t_request, columns.t_place, columns.t_data, strict=True):
        row = _TREE_NUMBER + namespaces[number - first] + place
        assert data is not None  # noqa: S101 - every place was sealed
        changes[number - first].offer(row, tag(data))


def forked_branch(namespace_id: UUID, branch: HistoryBranch, sealed: bytes, holder: tuple[UUID, bytes]) -> Changes:
    """Return the changes of a write that adds the row of a branch, and replaces the row of another one, the holder."""
    changes = Changes(branch.shard_id, [_tree_row(namespace_id, branch) + tag(sealed)])
    _replace_holder(changes, namespace_id, branch, holder)
    return changes


def deleted_branch(
    namespace_id: UUID, branch: HistoryBranch, ranges: Iterable[tuple[UUID, int]], holder: tuple[UUID, bytes] | None
) -> Changes:
    """Return the changes of a write that deletes the row of a branch, and ranges of nodes to the end of their branches.

    Args:
        namespace_id: The namespace.
        branch: The branch.
        ranges: The branch of each range, and its first node.
        holder: The branch whose row is replaced, with the sealed value; None for none.
    """
    tree = branch.tree_id.bytes
    allowed = [
        (
            HISTORY_NODE,
            _RANGE.pack(tree, branch_id.bytes, node_id, 0),
            _RANGE.pack(tree, branch_id.bytes, LAST_NODE, LAST_NODE),
        )
        for branch_id, node_id in ranges
    ]
    changes = Changes(branch.shard_id, rows=[_tree_row(namespace_id, branch)], ranges=allowed)
    if holder is not None:
        _replace_holder(changes, namespace_id, branch, holder)
    return changes


def deleted_nodes(namespace_id: UUID, branch: HistoryBranch, writes: Iterable[tuple[UUID, int, int]]) -> Changes:
    """Return the changes of a write that deletes nodes, each given by branch, node and transaction."""
    place, tree = namespace_id.bytes, branch.tree_id.bytes
    rows = [_ROW.pack(HISTORY_NODE, place, tree, each.bytes) + _NODE.pack(node, txn) for each, node, txn in writes]
    return Changes(branch.shard_id, rows=rows)


def _replace_holder(changes: Changes, namespace_id: UUID, branch: HistoryBranch, holder: tuple[UUID, bytes]) -> None:
    branch_id, sealed = holder
    changes.overwrite(_tree_row(namespace_id, replace(branch, branch_id=branch_id)), tag(sealed))


def _tree_row(namespace_id: UUID, branch: HistoryBranch) -> bytes:
    return _ROW.pack(HISTORY_TREE, namespace_id.bytes, branch.tree_id.bytes, branch.branch_id.bytes)
