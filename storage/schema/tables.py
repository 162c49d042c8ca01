"""One descriptor for each table of the schema.

Driver-role rights, row-level-security policies, the purge of a namespace, distribution over Citus and resealing read them.
A new table needs one entry here, and its SQL. Tests compare them with the live catalogue and with docs/reference/schema.md.
"""

from __future__ import annotations

from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, NamedTuple

from strongroom.kms.sealing import record_kinds as kinds

if TYPE_CHECKING:
    from collections.abc import Mapping

    from strongroom.kms import RecordKind

NAMESPACE = "namespace_id"
"""The column that names a row's namespace; in some tables it may hold the cell's id."""
_READ, _REPLACE = "SELECT", "SELECT, UPDATE"
_CHANGE, _ALL = "SELECT, INSERT, UPDATE", "SELECT, INSERT, UPDATE, DELETE"


class Sealed(NamedTuple):
    """A sealed column of a table.

    Attributes:
        column: Its name.
        kind: The record kind of its values.
        parts: The columns that give the parts of the value's key, in the kind's order.
    """

    column: str
    kind: RecordKind
    parts: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Table:
    """A table of the schema.

    Attributes:
        name: Its name.
        key: The columns of its primary key in order, each with its SQL type.
        holds: What it holds, for the reference.
        rights: What the driver role may do with it, as in GRANT.
        partition_column: The first column of the key, by which Citus distributes the table. None: every node has a copy.
        namespaced: Whether it has the column `namespace_id`, and so a row-level-security policy.
        is_purged: Whether a shredding deletes its rows.
        has_namespace_index: Whether an index begins with the namespace, because the key does not continue with it.
        sealed: Its sealed columns.
    """

    name: str
    key: tuple[tuple[str, str], ...]
    holds: str
    rights: str
    partition_column: str | None = None
    namespaced: bool = False
    is_purged: bool = False
    has_namespace_index: bool = False
    sealed: tuple[Sealed, ...] = ()

    @property
    def key_names(self) -> tuple[str, ...]:
        """The names of the primary key's columns."""
        return tuple(name for name, _ in self.key)

    @property
    def is_keyed_by_namespace(self) -> bool:
        """Whether the key continues with the namespace after its first column, so that a look-up finds a namespace's rows."""
        return self.key_names[1:2] == (NAMESPACE,)


def _key(columns: str) -> tuple[tuple[str, str], ...]:
    """Parse a key: columns and types, separated by commas."""
    return tuple((name, type_) for name, _, type_ in (each.strip().partition(" ") for each in columns.split(",")))


def _cell(
    name: str,
    key: str,
    holds: str,
    rights: str,
    *sealed: tuple[str, RecordKind, str],
    namespaced: bool = False,
) -> Table:
    """Return a reference table. Each sealed column is its name, its kind and the columns of its key's parts."""
    columns = tuple(Sealed(column, kind, tuple(parts.split())) for column, kind, parts in sealed)
    return Table(name, _key(key), holds, rights, namespaced=namespaced, sealed=columns)


def _partitioned(
    name: str,
    key: str,
    holds: str,
    kind: RecordKind | None = None,
    *,
    more: str = "",
    rights: str = _ALL,
    namespaced: bool = True,
    has_namespace_index: bool = False,
) -> Table:
    """Return a distributed table whose sealed column, if it has a kind, is `data`.

    The value's key is the table's key without the namespace, and the columns `more`.
    """
    typed = _key(key)
    parts = (*(column for column, _ in typed if column != NAMESPACE), *more.split())
    return Table(
        name,
        typed,
        holds,
        rights,
        partition_column=typed[0][0],
        namespaced=namespaced,
        is_purged=namespaced,
        has_namespace_index=has_namespace_index,
        sealed=() if kind is None else (Sealed("data", kind, parts),),
    )


_RUN = "shard_id integer, namespace_id uuid, workflow_id bytea, run_id uuid"
_BRANCH = "shard_id integer, namespace_id uuid, tree_id uuid, branch_id uuid"
_RECORD = "shard_id integer, namespace_id uuid, id bytea"
_QUEUE = "range_hash integer, namespace_id uuid, task_queue_id bytea, task_type smallint, fair boolean"

TABLES = (
    # The registry. A version number is never reused, so rows of data_keys are never deleted.
    _cell("cell", "only_row boolean", "The cell that the database belongs to.", _READ),
    _cell("schema_version", "version integer", "The migrations that were run.", _READ),
    _cell(
        "data_keys",
        "namespace_id uuid, class text, version bigint",
        "The key registry: wrapped roots and their states.",
        _CHANGE,
        namespaced=True,
    ),
    _cell("registry_heads", "namespace_id uuid", "A code over the keys of each namespace.", _CHANGE, namespaced=True),
    _cell("registry_summary", "only_row boolean", "The authenticated sum of all heads.", _CHANGE),
    _cell("keyrings", "provider text", "The newest change of each local keyring file.", _CHANGE),
    _cell(
        "namespaces",
        "namespace_id uuid",
        "Names, registered search attributes and the service's settings of namespaces.",
        _CHANGE,
        ("details", kinds.NAMESPACE_DETAILS, "version"),
        ("data", kinds.NAMESPACE_DATA, "notification_version is_global"),
        namespaced=True,
    ),
    _cell("namespace_metadata", "only_row boolean", "The version of the whole namespace table.", _REPLACE),
    # Shredding.
    _cell("shreddings", "namespace_id uuid", "Scheduled shreddings and their progress.", _ALL, namespaced=True),
    _cell(
        "shredded_keks",
        "namespace_id uuid, provider text, kek_id text",
        "The KEKs of shredded namespaces and the answers of their KMS.",
        _ALL,
        namespaced=True,
    ),
    _cell("erasure_certificates", "namespace_id uuid", "Signed erasure certificates.", _CHANGE, namespaced=True),
    # The cell's configuration and its members.
    _cell(
        "cluster_metadata",
        "cluster_name text",
        "The service's settings of clusters.",
        _ALL,
        ("data", kinds.CLUSTER_METADATA, "cluster_name version"),
    ),
    _cell("cluster_membership", "host_id bytea", "The hosts of the service and their heartbeats.", _ALL),
    _cell("nexus_endpoints", "id uuid", "Nexus endpoints.", _ALL, ("data", kinds.NEXUS_ENDPOINT, "id version")),
    _cell("nexus_endpoints_status", "only_row boolean", "The version of the whole endpoint table.", _REPLACE),
    _cell(
        "access_policy",
        "only_row boolean",
        "Principals, roles and grants, as one value.",
        _CHANGE,
        ("data", kinds.ACCESS_POLICY, "version"),
    ),
    _cell("search_index_writers", "writer uuid", "The counters that the search index has a copy of.", _ALL),
    _cell("audit_checkpoints", "number bigint", "Signed positions of the audit logs.", "SELECT, INSERT, DELETE"),
    _cell("audit_compaction", "only_row boolean", "The statement about deleted checkpoints of audit logs.", _CHANGE),
    # History service. Citus co-locates all other distributed tables with the first one.
    _partitioned(
        "shards",
        "shard_id integer",
        "The owner of each shard.",
        kinds.SHARD,
        more="range_id",
        rights=_CHANGE,
        namespaced=False,
    ),
    _partitioned(
        "executions",
        _RUN,
        "Mutable state of runs without its maps.",
        kinds.EXECUTION,
        more="next_event_id last_write_version db_record_version",
    ),
    _partitioned(
        "execution_maps",
        f"{_RUN}, map smallint, item bytea",
        "The maps of mutable state, a row for each item.",
        kinds.EXECUTION_MAP,
    ),
    _partitioned(
        "current_executions",
        "shard_id integer, namespace_id uuid, workflow_id bytea, archetype_id bigint",
        "The current run of each workflow.",
        kinds.CURRENT_EXECUTION,
        more="run_id state last_write_version",
    ),
    _partitioned(
        "history_tasks",
        "shard_id integer, category_id smallint, fire_time bigint, task_id bigint",
        "Tasks of the history service.",
        kinds.HISTORY_TASK,
        has_namespace_index=True,
    ),
    _partitioned(
        "replication_dlq_tasks",
        "shard_id integer, source_cluster_name text, task_id bigint",
        "Replication tasks that failed.",
        kinds.REPLICATION_DLQ_TASK,
    ),
    _partitioned(
        "history_node",
        f"{_BRANCH}, node_id bigint, txn_id bigint",
        "Batches of history events.",
        kinds.HISTORY_NODE,
        more="prev_txn_id",
    ),
    _partitioned("history_tree", _BRANCH, "The branches of each run and their ancestors.", kinds.HISTORY_TREE),
    # Visibility.
    Table(
        "visibility_records",
        _key(_RECORD),
        "The newest visibility record of each run, and the PostgreSQL index.",
        _ALL,
        partition_column="shard_id",
        namespaced=True,
        is_purged=True,
        sealed=(Sealed("s", kinds.VISIBILITY_RECORD, ("id", "shard_id", "version", "k", "b1", "b2")),),
    ),
    _partitioned("visibility_outbox", _RECORD, "Runs whose document in the search index may be out of date."),
    _partitioned("visibility_deletes", _RECORD, "Runs deleted in the last day, so that no late write restores them."),
    # Matching.
    _partitioned("task_queues", _QUEUE, "The owner of each task queue.", kinds.TASK_QUEUE, more="range_id"),
    _partitioned("tasks", f"{_QUEUE}, pass bigint, task_id bigint", "Tasks of task queues.", kinds.TASK),
    _partitioned(
        "task_queue_user_data",
        "range_hash integer, namespace_id uuid, task_queue_id bytea",
        "User data of task queues.",
        kinds.TASK_QUEUE_USER_DATA,
        more="version",
    ),
    _partitioned(
        "build_id_to_task_queue",
        "range_hash integer, namespace_id uuid, build_id bytea, task_queue_id bytea",
        "The task queues of each build id.",
        kinds.BUILD_ID,
    ),
    # Queues.
    _partitioned(
        "queues",
        "queue_type integer",
        "The namespace-replication queue and its dead-letter queue.",
        kinds.QUEUE,
        more="next_message_id version",
        rights=_CHANGE,
        namespaced=False,
    ),
    _partitioned(
        "queue_messages",
        "queue_type integer, message_id bigint",
        "Messages of the namespace-replication queue and its dead letters.",
        kinds.QUEUE_MESSAGE,
    ),
    _partitioned(
        "queues_v2",
        "queue_type integer, queue_id bytea",
        "Named queues.",
        kinds.QUEUE_V2,
        more="next_message_id",
        rights=_CHANGE,
        namespaced=False,
    ),
    _partitioned(
        "queue_v2_messages",
        "queue_type integer, queue_id bytea, message_id bigint",
        "Messages of named queues.",
        kinds.QUEUE_V2_MESSAGE,
    ),
)
"""All tables."""

VIEWS: Mapping[str, str] = MappingProxyType({"visibility_search": "visibility_records"})
"""Each view with its table. The driver role may read it."""
