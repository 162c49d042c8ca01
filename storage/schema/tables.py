"""One descriptor for each table of the schema.

Driver-role rights, row-level-security policies, the purge of a namespace, distribution over Citus and resealing read them.
A new table needs one entry here, and its SQL. Tests compare them with the live catalogue and with docs/reference/schema.md.
"""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING

from strongroom.kms.sealing import record_kinds as kinds

from .table import ALL, CHANGE, READ, REPLACE, Sealed, Table, cell_table, key_columns, partitioned

if TYPE_CHECKING:
    from collections.abc import Mapping

_RUN = "shard_id integer, namespace_id uuid, workflow_id bytea, run_id uuid"
_BRANCH = "shard_id integer, namespace_id uuid, tree_id uuid, branch_id uuid"
_RECORD = "shard_id integer, namespace_id uuid, id bytea"
_DAMAGED = "partition integer, namespace_id uuid, table_name text, key text"
_QUEUE = "range_hash integer, namespace_id uuid, task_queue_id bytea, task_type smallint, fair boolean"

TABLES = (
    # The registry. A version number is never reused, so rows of data_keys are never deleted.
    cell_table("cell", "only_row boolean", "The cell that the database belongs to.", READ),
    cell_table("schema_version", "version integer", "The migrations that were run.", READ),
    cell_table(
        "data_keys",
        "namespace_id uuid, class text, version bigint",
        "The key registry: wrapped roots and their states.",
        CHANGE,
        namespaced=True,
    ),
    cell_table(
        "registry_heads", "namespace_id uuid", "A code over the keys of each namespace.", CHANGE, namespaced=True
    ),
    cell_table("registry_summary", "only_row boolean", "The authenticated sum of all heads.", CHANGE),
    cell_table("keyrings", "provider text", "The newest change of each local keyring file.", CHANGE),
    cell_table(
        "namespaces",
        "namespace_id uuid",
        "Names, registered search attributes and the service's settings of namespaces.",
        CHANGE,
        ("details", kinds.NAMESPACE_DETAILS, "version"),
        ("data", kinds.NAMESPACE_DATA, "notification_version is_global"),
        namespaced=True,
    ),
    cell_table("namespace_metadata", "only_row boolean", "The version of the whole namespace table.", REPLACE),
    # Shredding.
    cell_table("shreddings", "namespace_id uuid", "Scheduled shreddings and their progress.", ALL, namespaced=True),
    cell_table(
        "shredded_keks",
        "namespace_id uuid, provider text, kek_id text",
        "The KEKs of shredded namespaces and the answers of their KMS.",
        ALL,
        namespaced=True,
    ),
    cell_table("erasure_certificates", "namespace_id uuid", "Signed erasure certificates.", CHANGE, namespaced=True),
    # The cell's configuration and its members.
    cell_table(
        "cluster_metadata",
        "cluster_name text",
        "The service's settings of clusters.",
        CHANGE,
        ("data", kinds.CLUSTER_METADATA, "cluster_name version"),
    ),
    cell_table("cluster_membership", "host_id bytea", "The hosts of the service and their heartbeats.", ALL),
    cell_table("nexus_endpoints", "id uuid", "Nexus endpoints.", ALL, ("data", kinds.NEXUS_ENDPOINT, "id version")),
    cell_table("nexus_endpoints_status", "only_row boolean", "The version of the whole endpoint table.", REPLACE),
    cell_table(
        "access_policy",
        "only_row boolean",
        "Principals, roles and grants, as one value.",
        CHANGE,
        ("data", kinds.ACCESS_POLICY, "version"),
    ),
    cell_table("search_index_writers", "writer uuid", "The counters that the search index has a copy of.", ALL),
    cell_table("search_index_builds", "only_row boolean", "The search index that is being built.", ALL),
    cell_table("audit_checkpoints", "number bigint", "Signed positions of the audit logs.", "SELECT, INSERT, DELETE"),
    cell_table(
        "audit_compaction", "only_row boolean", "The statement about deleted checkpoints of audit logs.", CHANGE
    ),
    # History service. Citus co-locates all other distributed tables with the first one.
    partitioned(
        "shards",
        "shard_id integer",
        "The owner of each shard.",
        kinds.SHARD,
        more="range_id",
        rights=CHANGE,
        namespaced=False,
    ),
    partitioned(
        "executions",
        _RUN,
        "Mutable state of runs without its maps.",
        kinds.EXECUTION,
        more="next_event_id last_write_version db_record_version",
    ),
    partitioned(
        "execution_maps",
        f"{_RUN}, map smallint, item bytea",
        "The maps of mutable state, a row for each item.",
        kinds.EXECUTION_MAP,
    ),
    partitioned(
        "current_executions",
        "shard_id integer, namespace_id uuid, workflow_id bytea, archetype_id bigint",
        "The current run of each workflow.",
        kinds.CURRENT_EXECUTION,
        more="run_id state last_write_version",
    ),
    partitioned(
        "history_tasks",
        "shard_id integer, category_id smallint, fire_time bigint, task_id bigint",
        "Tasks of the history service.",
        kinds.HISTORY_TASK,
        has_namespace_index=True,
    ),
    partitioned(
        "replication_dlq_tasks",
        "shard_id integer, source_cluster_name text, task_id bigint",
        "Replication tasks that failed.",
        kinds.REPLICATION_DLQ_TASK,
    ),
    partitioned(
        "history_node",
        f"{_BRANCH}, node_id bigint, txn_id bigint",
        "Batches of history events.",
        kinds.HISTORY_NODE,
        more="prev_txn_id",
    ),
    partitioned("history_tree", _BRANCH, "The branches of each run and their ancestors.", kinds.HISTORY_TREE),
    # The journal. It covers rows of all namespaces, under the cell's keys.
    partitioned(
        "journal",
        "shard_id integer, writer uuid, number bigint",
        "What each write added, until it is in the sums of its shard.",
        kinds.JOURNAL_ENTRY,
        namespaced=False,
    ),
    partitioned(
        "journal_sums",
        "shard_id integer",
        "The sums of the rows of each shard.",
        kinds.JOURNAL_SUMS,
        more="number",
        rights=CHANGE,
        namespaced=False,
    ),
    # Visibility.
    Table(
        "visibility_records",
        key_columns(_RECORD),
        "The newest visibility record of each run, and the PostgreSQL index.",
        ALL,
        partition_column="shard_id",
        namespaced=True,
        is_purged=True,
        sealed=(Sealed("s", kinds.VISIBILITY_RECORD, ("id", "shard_id", "version", "k", "b1", "b2")),),
    ),
    partitioned("visibility_outbox", _RECORD, "Runs whose document in the search index may be out of date."),
    partitioned("visibility_deletes", _RECORD, "Runs deleted in the last day, so that no late write restores them."),
    # Matching.
    partitioned("task_queues", _QUEUE, "The owner of each task queue.", kinds.TASK_QUEUE, more="range_id"),
    partitioned("tasks", f"{_QUEUE}, pass bigint, task_id bigint", "Tasks of task queues.", kinds.TASK),
    partitioned(
        "task_queue_user_data",
        "range_hash integer, namespace_id uuid, task_queue_id bytea",
        "User data of task queues.",
        kinds.TASK_QUEUE_USER_DATA,
        more="version",
    ),
    partitioned(
        "build_id_to_task_queue",
        "range_hash integer, namespace_id uuid, build_id bytea, task_queue_id bytea",
        "The task queues of each build id.",
        kinds.BUILD_ID,
    ),
    # Queues.
    partitioned(
        "queues",
        "queue_type integer",
        "The namespace-replication queue and its dead-letter queue.",
        kinds.QUEUE,
        more="next_message_id version",
        rights=CHANGE,
        namespaced=False,
    ),
    partitioned(
        "queue_messages",
        "queue_type integer, message_id bigint",
        "Messages of the namespace-replication queue and its dead letters.",
        kinds.QUEUE_MESSAGE,
    ),
    partitioned(
        "queues_v2",
        "queue_type integer, queue_id bytea",
        "Named queues.",
        kinds.QUEUE_V2,
        more="next_message_id",
        rights=CHANGE,
        namespaced=False,
    ),
    partitioned(
        "queue_v2_messages",
        "queue_type integer, queue_id bytea, message_id bigint",
        "Messages of named queues.",
        kinds.QUEUE_V2_MESSAGE,
    ),
    partitioned("damaged_rows", _DAMAGED, "Rows of queues that did not open, as they were found."),
)
"""All tables."""

FIRST_DISTRIBUTED = next(table.name for table in TABLES if table.partition_column is not None)
"""The distributed table that all others are co-located with."""

VIEWS: Mapping[str, str] = MappingProxyType({"visibility_search": "visibility_records"})
"""Each view with its table. The driver role may read it."""
