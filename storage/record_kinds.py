"""Every kind of sealed record in PostgreSQL (kms/FORMAT.md section 9). A kind never changes once rows exist.

Behind the primary key stand columns in clear that must not be changed unseen: an edited one makes the row unreadable.
"""

from __future__ import annotations

from strongroom.kms import PartType, RecordKind

_INT, _ID = PartType.INT64, PartType.ID

NAMESPACE_DETAILS = RecordKind(
    "namespace",
    "details",
    (_INT,),  # version; the namespace itself is in every context
)
HISTORY_NODE = RecordKind(
    "history_node",
    "data",
    (_INT, _ID, _ID, _INT, _INT, _INT),  # shard, tree, branch, node, txn, previous txn
    compress=True,
)
HISTORY_TREE = RecordKind(
    "history_tree",
    "data",
    (_INT, _ID, _ID),  # shard, tree, branch
)
