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
SHARD = RecordKind(
    "shard",
    "data",
    (_INT, _INT),  # shard, range_id
)
EXECUTION = RecordKind(
    "execution",
    "data",
    # shard, workflow token, run, next_event_id, last_write_version, db_record_version
    (_INT, _ID, _ID, _INT, _INT, _INT),
    compress=True,
)
EXECUTION_MAP = RecordKind(
    "execution_map",
    "data",
    # shard, workflow token, run, map, item: one of 8 bytes with 8 zero bytes before it
    (_INT, _ID, _ID, _INT, _ID),
    compress=True,
)
CURRENT_EXECUTION = RecordKind(
    "current_execution",
    "data",
    (_INT, _ID, _INT, _ID, _INT, _INT),  # shard, workflow token, archetype, run, state, last_write_version
)
HISTORY_TASK = RecordKind(
    "history_task",
    "data",
    (_INT, _INT, _INT, _INT),  # shard, category, fire_time, task
)
REPLICATION_DLQ_TASK = RecordKind(
    "replication_dlq_task",
    "data",
    (_INT, PartType.TEXT, _INT),  # shard, source cluster, task
)
NAMESPACE_DATA = RecordKind(
    "namespace",
    "data",
    (_INT, _INT),  # notification_version, is_global as 0 or 1
)
CLUSTER_METADATA = RecordKind(
    "cluster_metadata",
    "data",
    (PartType.TEXT, _INT),  # cluster name, version
)
QUEUE = RecordKind(
    "queue",
    "data",
    (_INT, _INT, _INT),  # queue type, next message, version
)
QUEUE_MESSAGE = RecordKind(
    "queue_message",
    "data",
    (_INT, _INT),  # queue type, message
    compress=True,
)
QUEUE_V2 = RecordKind(
    "queue_v2",
    "data",
    (_INT, _ID, _INT),  # queue type, token of the queue's name, next message
)
QUEUE_V2_MESSAGE = RecordKind(
    "queue_v2_message",
    "data",
    (_INT, _ID, _INT),  # queue type, token of the queue's name, message
    compress=True,
)
NEXUS_ENDPOINT = RecordKind(
    "nexus_endpoint",
    "data",
    (_ID, _INT),  # endpoint, version
)
TASK_QUEUE = RecordKind(
    "task_queue",
    "data",
    (_INT, _ID, _INT, _INT, _INT),  # range_hash, token of the queue's name, type, fair as 0 or 1, range_id
)
TASK = RecordKind(
    "task",
    "data",
    # range_hash, token of the queue or of its subqueue, type, fair as 0 or 1, pass, task
    (_INT, _ID, _INT, _INT, _INT, _INT),
)
TASK_QUEUE_USER_DATA = RecordKind(
    "task_queue_user_data",
    "data",
    (_INT, _ID, _INT),  # range_hash, token of the queue's name, version
    compress=True,
)
BUILD_ID = RecordKind(
    "build_id_to_task_queue",
    "data",
    (_INT, _ID, _ID),  # range_hash, token of the build id, token of the queue's name
)
ACCESS_POLICY = RecordKind(
    "access_policy",
    "data",
    (_INT,),  # version
    compress=True,
)
