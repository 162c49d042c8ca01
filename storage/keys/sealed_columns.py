"""Every sealed column of the schema: where it stands, what its values are bound to, under whose keys they are.

For who goes through all of them; a test holds the list against the live catalogue, DESIGN.md and the register of record kinds.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from strongroom.kms import PartType
from strongroom.kms.sealing import record_kinds as kinds

if TYPE_CHECKING:
    from collections.abc import Sequence

    from strongroom.kms import Key, RecordKind
    from strongroom.storage.engine.connection import Row

_ID_BYTES = 16
NAMESPACE = "namespace_id"


@dataclass(frozen=True, slots=True)
class SealedColumn:
    """A sealed column.

    Attributes:
        table: its table.
        column: its name there.
        kind: what its values are.
        key: columns of the table's primary key in order, each with its type.
        parts: columns that give the parts of the value's key, in the kind's order.
        namespaced: whether a row names the namespace under whose keys it is, in `namespace_id`, which may be the cell's id. All
            rows of other tables are under the cell's keys.
    """

    table: str
    column: str
    kind: RecordKind
    key: tuple[tuple[str, str], ...]
    parts: tuple[str, ...]
    namespaced: bool = True

    @property
    def key_names(self) -> tuple[str, ...]:
        """Names of the primary key's columns."""
        return tuple(name for name, _ in self.key)

    @property
    def lead(self) -> str | None:
        """First column of a key that goes on with the namespace; None for any other key."""
        return self.key[0][0] if NAMESPACE in self.key_names[1:2] else None

    def keys_of(self, rows: Sequence[Row]) -> list[Key]:
        """Return the keys that rows' values are bound to, from their columns; a column at a time, as that is the fastest."""
        parts = [
            _parts(kind, [row[name] for row in rows]) for kind, name in zip(self.kind.key, self.parts, strict=True)
        ]
        return list(zip(*parts, strict=True))


def _parts(kind: PartType, values: list[Any]) -> list[int] | list[bytes] | list[str]:
    if kind is PartType.INT64:
        return list(map(int, values))  # a boolean is 0 or 1
    if kind is PartType.ID:
        # UUIDs; or tokens, of 8 bytes where one stands for a number.
        return [v.rjust(_ID_BYTES, b"\x00") if isinstance(v, bytes) else v.bytes for v in values]
    return values


def _column(
    place: str, kind: RecordKind, *, key: str, parts: str | None = None, more: str = "", namespaced: bool = True
) -> SealedColumn:
    """Return an entry. The parts are the key without the namespace, and `more`, unless they are given."""
    table, column = place.split(".")
    typed = tuple((name, type_) for name, _, type_ in (each.strip().partition(" ") for each in key.split(",")))
    of_key = " ".join(name for name, _ in typed if name != NAMESPACE)
    names = f"{of_key} {more}" if parts is None else parts
    return SealedColumn(table, column, kind, typed, tuple(names.split()), namespaced)


_RUN = "shard_id integer, namespace_id uuid, workflow_id bytea, run_id uuid"
_BRANCH = "shard_id integer, namespace_id uuid, tree_id uuid, branch_id uuid"
_QUEUE = "range_hash integer, namespace_id uuid, task_queue_id bytea, task_type smallint, fair boolean"


def sealed_columns(visibility_record: RecordKind) -> tuple[SealedColumn, ...]:
    """Return all of them.

    Args:
        visibility_record: kind of the records of visibility, which the package above knows: it reads what stands in them.
    """
    return (
        _column("namespaces.details", kinds.NAMESPACE_DETAILS, key="namespace_id uuid", parts="version"),
        _column(
            "namespaces.data", kinds.NAMESPACE_DATA, key="namespace_id uuid", parts="notification_version is_global"
        ),
        _column(
            "history_node.data",
            kinds.HISTORY_NODE,
            key=f"{_BRANCH}, node_id bigint, txn_id bigint",
            more="prev_txn_id",
        ),
        _column("history_tree.data", kinds.HISTORY_TREE, key=_BRANCH),
        _column(
            "visibility_records.s",
            visibility_record,
            key="shard_id integer, namespace_id uuid, id bytea",
            parts="id shard_id version k b1 b2",
        ),
        _column("shards.data", kinds.SHARD, key="shard_id integer", more="range_id", namespaced=False),
        _column(
            "executions.data", kinds.EXECUTION, key=_RUN, more="next_event_id last_write_version db_record_version"
        ),
        _column("execution_maps.data", kinds.EXECUTION_MAP, key=f"{_RUN}, map smallint, item bytea"),
        _column(
            "current_executions.data",
            kinds.CURRENT_EXECUTION,
            key="shard_id integer, namespace_id uuid, workflow_id bytea, archetype_id bigint",
            more="run_id state last_write_version",
        ),
        _column(
            "history_tasks.data",
            kinds.HISTORY_TASK,
            key="shard_id integer, category_id smallint, fire_time bigint, task_id bigint",
        ),
        _column(
            "replication_dlq_tasks.data",
            kinds.REPLICATION_DLQ_TASK,
            key="shard_id integer, source_cluster_name text, task_id bigint",
        ),
        _column("task_queues.data", kinds.TASK_QUEUE, key=_QUEUE, more="range_id"),
        _column("tasks.data", kinds.TASK, key=f"{_QUEUE}, pass bigint, task_id bigint"),
        _column(
            "task_queue_user_data.data",
            kinds.TASK_QUEUE_USER_DATA,
            key="range_hash integer, namespace_id uuid, task_queue_id bytea",
            more="version",
        ),
        _column(
            "build_id_to_task_queue.data",
            kinds.BUILD_ID,
            key="range_hash integer, namespace_id uuid, build_id bytea, task_queue_id bytea",
        ),
        _column(
            "cluster_metadata.data", kinds.CLUSTER_METADATA, key="cluster_name text", more="version", namespaced=False
        ),
        _column("queues.data", kinds.QUEUE, key="queue_type integer", more="next_message_id version", namespaced=False),
        _column("queue_messages.data", kinds.QUEUE_MESSAGE, key="queue_type integer, message_id bigint"),
        _column(
            "queues_v2.data",
            kinds.QUEUE_V2,
            key="queue_type integer, queue_id bytea",
            more="next_message_id",
            namespaced=False,
        ),
        _column(
            "queue_v2_messages.data",
            kinds.QUEUE_V2_MESSAGE,
            key="queue_type integer, queue_id bytea, message_id bigint",
        ),
        _column("nexus_endpoints.data", kinds.NEXUS_ENDPOINT, key="id uuid", more="version", namespaced=False),
        _column("access_policy.data", kinds.ACCESS_POLICY, key="only_row boolean", parts="version", namespaced=False),
    )
