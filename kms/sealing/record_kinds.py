"""The register of record kinds: everything that Strongroom seals, in the order of FORMAT.md section 9.

A kind never changes once rows exist: its name, its column, the types of its key and its dictionary are in the
associated data of each value. A record that must change gets a kind with a new name. A test compares this
module with the table in FORMAT.md.

The first parts of a key are usually the row's primary key. Columns in clear may follow them. If such a column
is changed, the row no longer opens.
"""

from __future__ import annotations

from hashlib import sha256
from importlib.resources import files

from .record_kind import PartType, RecordKind

_BYTES_OF = files(__package__)
_INT, _TEXT, _ID = PartType.INT64, PartType.TEXT, PartType.ID


def _kind(
    name: str,
    column: str,
    key: dict[str, PartType],
    *,
    compress: bool = False,
    dictionary: bytes = b"",
    tables: bytes = b"",
    padded: bool = False,
) -> RecordKind:
    return RecordKind(
        name,
        column,
        tuple(key.values()),
        compress=compress,
        dictionary=dictionary,
        tables=tables,
        padded=padded,
        part_names=tuple(key),
    )


NAMESPACE_DETAILS = _kind("namespace", "details", {"version": _INT})  # the namespace's id is in every context
HISTORY_NODE = _kind(
    "history_node",
    "data",
    {"shard": _INT, "tree": _ID, "branch": _ID, "node": _INT, "transaction": _INT, "previous_transaction": _INT},
    compress=True,
)
HISTORY_TREE = _kind("history_tree", "data", {"shard": _INT, "tree": _ID, "branch": _ID})
VISIBILITY_RECORD = _kind(
    "visibility_record",
    "s",
    # All columns in clear except the tokens.
    {"document": _ID, "shard": _INT, "version": _INT, "k": _INT, "b1": _INT, "b2": _INT},
    compress=True,
    dictionary=(_BYTES_OF / "visibility_dictionary.txt").read_bytes(),
    tables=(_BYTES_OF / "visibility_dictionary_tables.bin").read_bytes(),
    padded=True,
)
NAMESPACE_DATA = _kind("namespace", "data", {"notification_version": _INT, "is_global": _INT})
CLUSTER_METADATA = _kind("cluster_metadata", "data", {"cluster_name": _TEXT, "version": _INT})
QUEUE = _kind("queue", "data", {"type": _INT, "next_message": _INT, "version": _INT})
QUEUE_MESSAGE = _kind("queue_message", "data", {"type": _INT, "message": _INT}, compress=True)
QUEUE_V2 = _kind("queue_v2", "data", {"type": _INT, "name_token": _ID, "next_message": _INT})
QUEUE_V2_MESSAGE = _kind("queue_v2_message", "data", {"type": _INT, "name_token": _ID, "message": _INT}, compress=True)
NEXUS_ENDPOINT = _kind("nexus_endpoint", "data", {"endpoint": _ID, "version": _INT})
ACCESS_POLICY = _kind("access_policy", "data", {"version": _INT}, compress=True)
TASK_QUEUE = _kind(
    "task_queue",
    "data",
    {"range_hash": _INT, "name_token": _ID, "type": _INT, "is_fair": _INT, "range_id": _INT},
)
TASK = _kind(
    "task",
    "data",
    # `queue_token` is the token of the queue or of its subqueue.
    {"range_hash": _INT, "queue_token": _ID, "type": _INT, "is_fair": _INT, "pass": _INT, "task": _INT},
)
TASK_QUEUE_USER_DATA = _kind(
    "task_queue_user_data", "data", {"range_hash": _INT, "name_token": _ID, "version": _INT}, compress=True
)
BUILD_ID = _kind("build_id_to_task_queue", "data", {"range_hash": _INT, "build_id_token": _ID, "name_token": _ID})
SHARD = _kind("shard", "data", {"shard": _INT, "range_id": _INT})
EXECUTION = _kind(
    "execution",
    "data",
    {
        "shard": _INT,
        "workflow_token": _ID,
        "run": _ID,
        "next_event_id": _INT,
        "last_write_version": _INT,
        "record_version": _INT,
    },
    compress=True,
)
EXECUTION_MAP = _kind(
    "execution_map",
    "data",
    # An item of 8 bytes is padded with 8 leading zero bytes.
    {"shard": _INT, "workflow_token": _ID, "run": _ID, "map": _INT, "item": _ID},
    compress=True,
)
CURRENT_EXECUTION = _kind(
    "current_execution",
    "data",
    {
        "shard": _INT,
        "workflow_token": _ID,
        "archetype": _INT,
        "run": _ID,
        "state": _INT,
        "last_write_version": _INT,
    },
)
HISTORY_TASK = _kind("history_task", "data", {"shard": _INT, "category": _INT, "fire_time": _INT, "task": _INT})
REPLICATION_DLQ_TASK = _kind("replication_dlq_task", "data", {"shard": _INT, "source_cluster": _TEXT, "task": _INT})
JOURNAL_ENTRY = _kind("journal_entry", "data", {"shard": _INT, "writer": _ID, "number": _INT})
JOURNAL_SUMS = _kind("journal_sums", "data", {"shard": _INT, "number": _INT})
PAGE_TOKEN = _kind("page_token", "position", {"query_digest": _ID})
# Not compressed, so that a value never opens to more bytes than the caller sent.
TEMPORAL_PAYLOAD = _kind("temporal_payload", "data", {"encoding": _TEXT}, padded=True)

RECORD_KINDS: tuple[RecordKind, ...] = (
    NAMESPACE_DETAILS,
    HISTORY_NODE,
    HISTORY_TREE,
    VISIBILITY_RECORD,
    NAMESPACE_DATA,
    CLUSTER_METADATA,
    QUEUE,
    QUEUE_MESSAGE,
    QUEUE_V2,
    QUEUE_V2_MESSAGE,
    NEXUS_ENDPOINT,
    ACCESS_POLICY,
    TASK_QUEUE,
    TASK,
    TASK_QUEUE_USER_DATA,
    BUILD_ID,
    SHARD,
    EXECUTION,
    EXECUTION_MAP,
    CURRENT_EXECUTION,
    HISTORY_TASK,
    REPLICATION_DLQ_TASK,
    JOURNAL_ENTRY,
    JOURNAL_SUMS,
    PAGE_TOKEN,
    TEMPORAL_PAYLOAD,
)
"""Every record kind, in the order of FORMAT.md section 9."""

if sha256(VISIBILITY_RECORD.tables).hexdigest() != "30f88790784ff7ed19720aed41aba551f620e6315b955e051e450827b029c71f":
    # Other tables may decompress to other bytes without an error. Nothing in a sealed value names the tables' file;
    # the dictionary's digest is in the associated data.
    raise ImportError(
        "kms/sealing/visibility_dictionary_tables.bin is not the file that records are sealed with; reinstall strongroom"
    )
