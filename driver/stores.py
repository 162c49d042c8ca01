"""The table of stores and operations. It alone defines the operations of a caller and the permissions that they need.

Access control, the audit log, telemetry and the proxies read it; a session can't call anything else. A new
store needs one entry here, its constructor in `assembly.py`, and its type as an attribute of `Cell` and of `Session`, so that type
checkers know it. tests/access/test_catalogue.py compares the table with the
stores' public coroutines and their arguments, with the commands, and with the roles.

The columns of an operation: method, permission (None: every known principal), activity, scope, arguments that the audit log
holds as hashes. `barrier`, `batch`, `dual_control` and `makes_namespace` are explained at `Operation`.
"""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING

from strongroom.storage import (
    ClusterMetadataStore,
    ExecutionStore,
    HistoryManager,
    HistoryTaskStore,
    MetadataStore,
    NamespaceStore,
    NexusEndpointStore,
    Queue,
    QueueV2,
    ShardStore,
    TaskQueueUserDataStore,
    TaskStore,
)
from strongroom.visibility import VisibilityManager

from .operations import Operation, Permission, Store, command

if TYPE_CHECKING:
    from collections.abc import Mapping

READ, WRITE, ADMIN, SERVICE = Permission.READ, Permission.WRITE, Permission.ADMIN, Permission.SERVICE
ACCOUNT_READ, ACCOUNT_ADMIN, OWNER = Permission.ACCOUNT_READ, Permission.ACCOUNT_ADMIN, Permission.OWNER
CREATE_NAMESPACE, KEYS, SHRED, AUDIT = Permission.CREATE_NAMESPACE, Permission.KEYS, Permission.SHRED, Permission.AUDIT

RUN = "shard_id workflow_id run_id"
BRANCH = "tree_id branch_id"
QUEUE = "task_queue task_type"
PAGE = "page_size page_token"
DLQ = "shard_id source_cluster_name"

SHARDS = (
    Operation("get_or_create_shard", SERVICE, "update", "cell", "shard_id"),
    Operation("update_shard", SERVICE, "update", "cell", "shard_id previous_range_id"),
    Operation("shard_of", READ, "read", "namespace", "workflow_id"),
    Operation("assert_shard_ownership", SERVICE, "read", "cell", "shard_id range_id"),
)
EXECUTIONS = (
    Operation("create_workflow_execution", WRITE, "create", "namespace", RUN, "write_executions", barrier=True),
    Operation("update_workflow_execution", WRITE, "update", "namespace", RUN, "write_executions", barrier=True),
    Operation(
        "conflict_resolve_workflow_execution", WRITE, "update", "namespace", RUN, "write_executions", barrier=True
    ),
    Operation("set_workflow_execution", WRITE, "update", "namespace", RUN, "write_executions", barrier=True),
    Operation("get_workflow_execution", READ, "read", "namespace", RUN, "get_executions"),
    Operation(
        "get_current_execution",
        READ,
        "read",
        "namespace",
        "workflow_id shard_id archetype_id",
        "get_current_executions",
    ),
    Operation("delete_workflow_execution", WRITE, "delete", "namespace", RUN),
    Operation("delete_current_workflow_execution", WRITE, "delete", "namespace", f"{RUN} archetype_id"),
)
HISTORY = (
    Operation(
        "append_history_nodes",
        WRITE,
        "create",
        "namespace",
        f"{BRANCH} is_new_branch info",
        "append_history_nodes",
        barrier=True,
    ),
    Operation(
        "read_history_branch",
        READ,
        "read",
        "namespace",
        f"{BRANCH} name workflow_id run_id min_node_id max_node_id reverse metadata_only last_txn_id {PAGE}",
    ),
    Operation(
        "read_history_nodes",
        READ,
        "read",
        "namespace",
        f"shard_id {BRANCH} min_node_id max_node_id reverse metadata_only {PAGE}",
        "get_history_nodes",
    ),
    Operation("namespace_of_tree", SERVICE, "read", "cell", "shard_id tree_id"),
    Operation("fork_history_branch", WRITE, "create", "namespace", f"{BRANCH} fork_node_id info"),
    Operation("trim_history_branch", WRITE, "delete", "namespace", f"{BRANCH} node_id txn_id"),
    Operation("delete_history_branch", WRITE, "delete", "namespace", BRANCH),
    Operation("delete_history_nodes", WRITE, "delete", "namespace", f"{BRANCH} node_id txn_id"),
    Operation("get_history_tree", READ, "read", "namespace", "shard_id tree_id"),
    Operation("get_history_tree_containing_branch", READ, "read", "namespace", BRANCH),
    Operation("get_all_history_tree_branches", SERVICE, "read", "cell", PAGE),
)
HISTORY_TASKS = (
    Operation("add_history_tasks", WRITE, "create", "namespace", "shard_id range_id"),
    Operation("get_history_tasks", SERVICE, "read", "cell", "shard_id batch_size page_token", "get_history_tasks"),
    Operation("complete_history_task", SERVICE, "delete", "cell", "shard_id"),
    Operation("range_complete_history_tasks", SERVICE, "delete", "cell", "shard_id"),
    Operation("put_replication_task_to_dlq", WRITE, "create", "namespace", DLQ),
    Operation(
        "get_replication_tasks_from_dlq",
        SERVICE,
        "read",
        "cell",
        f"{DLQ} min_task_id max_task_id batch_size page_token",
    ),
    Operation("delete_replication_task_from_dlq", SERVICE, "delete", "cell", f"{DLQ} task_id"),
    Operation("range_delete_replication_tasks_from_dlq", SERVICE, "delete", "cell", f"{DLQ} min_task_id max_task_id"),
    Operation("is_replication_dlq_empty", SERVICE, "read", "cell", f"{DLQ} min_task_id"),
)
TASKS = (
    Operation("create_task_queue", WRITE, "create", "namespace", QUEUE),
    Operation("get_task_queue", READ, "read", "namespace", QUEUE),
    Operation("update_task_queue", WRITE, "update", "namespace", f"{QUEUE} previous_range_id"),
    Operation("list_task_queue", SERVICE, "read", "cell", PAGE),
    Operation("delete_task_queue", WRITE, "delete", "namespace", f"{QUEUE} range_id"),
    Operation("create_tasks", WRITE, "create", "namespace", f"{QUEUE} range_id", "create_tasks", barrier=True),
    Operation(
        "get_tasks", READ, "read", "namespace", f"{QUEUE} min_task_id max_task_id min_pass subqueue {PAGE}", "get_tasks"
    ),
    Operation(
        "complete_tasks_less_than",
        WRITE,
        "delete",
        "namespace",
        f"{QUEUE} max_task_id max_pass limit subqueue range_id",
    ),
)
TASK_QUEUE_USER_DATA = (
    Operation("get_task_queue_user_data", READ, "read", "namespace", "task_queue"),
    Operation("update_task_queue_user_data", WRITE, "update", "namespace"),
    Operation("list_task_queue_user_data_entries", READ, "read", "namespace", PAGE),
    Operation("get_task_queues_by_build_id", READ, "read", "namespace", "build_id"),
    Operation("count_task_queues_by_build_id", READ, "read", "namespace", "build_id"),
)
NAMESPACES = (
    Operation("create", CREATE_NAMESPACE, "create", "cell", "name suite index_layout region", makes_namespace=True),
    Operation("get", READ, "read", "namespace", "name"),
    Operation("find", READ, "read", "namespace", "name unavailable"),
    Operation("list_namespaces", None, "read", "filtered"),
    Operation("add_search_attributes", ADMIN, "update", "namespace"),
    Operation("set_aliases", ADMIN, "update", "namespace"),
    Operation("ensure_cell_keys", KEYS, "create", "cell"),
)
METADATA = (
    Operation("create_namespace", CREATE_NAMESPACE, "create", "cell", "name is_global suite", makes_namespace=True),
    Operation("get_namespace", READ, "read", "namespace", "name unavailable"),
    Operation("update_namespace", ADMIN, "update", "namespace", "is_global notification_version"),
    Operation("rename_namespace", ADMIN, "update", "namespace", "name is_global notification_version"),
    Operation("delete_namespace", ADMIN, "delete", "namespace"),
    Operation("delete_namespace_by_name", ADMIN, "delete", "namespace", "name"),
    Operation("list_namespaces", ACCOUNT_READ, "read", "cell", PAGE),
    Operation("get_metadata", ACCOUNT_READ, "read", "cell"),
)
CLUSTER_METADATA = (
    Operation("list_cluster_metadata", ACCOUNT_READ, "read", "cell", PAGE),
    Operation("get_cluster_metadata", ACCOUNT_READ, "read", "cell", "cluster_name"),
    Operation("save_cluster_metadata", SERVICE, "update", "cell", "cluster_name version"),
    Operation("delete_cluster_metadata", SERVICE, "delete", "cell", "cluster_name"),
    Operation(
        "get_cluster_members", ACCOUNT_READ, "read", "cell", f"host_id role rpc_address session_started_after {PAGE}"
    ),
    Operation(
        "upsert_cluster_membership", SERVICE, "update", "cell", "host_id role rpc_address rpc_port session_start"
    ),
    Operation("prune_cluster_membership", SERVICE, "delete", "cell", "max_records"),
)
NAMESPACE_REPLICATION_QUEUE = (
    Operation("init", SERVICE, "create", "cell"),
    Operation("enqueue_message", SERVICE, "create", "cell"),
    Operation("read_messages", SERVICE, "read", "cell", "last_message_id max_count"),
    Operation("delete_messages_before", SERVICE, "delete", "cell", "message_id"),
    Operation("update_ack_level", SERVICE, "update", "cell", "version"),
    Operation("get_ack_levels", SERVICE, "read", "cell"),
    Operation("enqueue_message_to_dlq", SERVICE, "create", "cell"),
    Operation("read_messages_from_dlq", SERVICE, "read", "cell", f"first_message_id last_message_id {PAGE}"),
    Operation("delete_message_from_dlq", SERVICE, "delete", "cell", "message_id"),
    Operation("range_delete_messages_from_dlq", SERVICE, "delete", "cell", "first_message_id last_message_id"),
    Operation("update_dlq_ack_level", SERVICE, "update", "cell", "version"),
    Operation("get_dlq_ack_levels", SERVICE, "read", "cell"),
)
QUEUES = (
    Operation("create_queue", SERVICE, "create", "cell", "queue_type queue_name"),
    Operation("enqueue_message", SERVICE, "create", "cell", "queue_type queue_name"),
    Operation("read_messages", SERVICE, "read", "cell", f"queue_type queue_name {PAGE}"),
    Operation("range_delete_messages", SERVICE, "delete", "cell", "queue_type queue_name last_message_id"),
    Operation("list_queues", SERVICE, "read", "cell", f"queue_type {PAGE}"),
)
NEXUS_ENDPOINTS = (
    Operation(
        "create_or_update_nexus_endpoint", ACCOUNT_ADMIN, "update", "cell", "endpoint_id last_known_table_version"
    ),
    Operation("delete_nexus_endpoint", ACCOUNT_ADMIN, "delete", "cell", "endpoint_id last_known_table_version"),
    Operation("get_nexus_endpoint", ACCOUNT_READ, "read", "cell", "endpoint_id"),
    Operation("list_nexus_endpoints", ACCOUNT_READ, "read", "cell", f"last_known_table_version {PAGE}"),
)
VISIBILITY = (
    Operation("record_workflow_executions", WRITE, "update", "namespace"),
    Operation("seal_workflow_executions", WRITE, "read", "namespace"),
    Operation("delete_workflow_execution", WRITE, "delete", "namespace", f"{RUN} version"),
    Operation("get_workflow_execution", READ, "read", "namespace", RUN),
    Operation("list_workflow_executions", READ, "read", "namespace", f"query archetype_id {PAGE}"),
    Operation("count_workflow_executions", READ, "read", "namespace", "query archetype_id"),
    Operation("explain", READ, "read", "namespace", "query archetype_id"),
)

STORES = (
    Store("shards", ShardStore, SHARDS),
    Store("executions", ExecutionStore, EXECUTIONS),
    Store("history", HistoryManager, HISTORY),
    Store("history_tasks", HistoryTaskStore, HISTORY_TASKS),
    Store("tasks", TaskStore, TASKS),
    Store("fair_tasks", TaskStore, TASKS),
    Store("task_queue_user_data", TaskQueueUserDataStore, TASK_QUEUE_USER_DATA),
    Store("namespaces", NamespaceStore, NAMESPACES),
    Store("metadata", MetadataStore, METADATA),
    Store("cluster_metadata", ClusterMetadataStore, CLUSTER_METADATA),
    Store("namespace_replication_queue", Queue, NAMESPACE_REPLICATION_QUEUE),
    Store("queues", QueueV2, QUEUES),
    Store("nexus_endpoints", NexusEndpointStore, NEXUS_ENDPOINTS),
    Store("visibility", VisibilityManager, VISIBILITY),
)
"""Every store of a cell, in the order of the attributes of `Strongroom`."""

COMMANDS = (
    command("namespaces.purge", SHRED, "delete", "namespace"),
    command("import.run", WRITE, "create", "namespace", "name"),
    command("damaged.list", ACCOUNT_READ, "read", "cell"),
    command("damaged.forget", ACCOUNT_ADMIN, "delete", "cell", "before"),
    command("keys.list", ACCOUNT_READ, "read", "cell", "name"),
    command("keys.rotate", KEYS, "update", "cell", "name"),
    command("keys.rotate_kek", KEYS, "update", "cell", "kek"),
    command("keys.rewrap", KEYS, "update", "cell", "name kek to"),
    command("keys.retire", KEYS, "delete", "cell", "kek version"),
    command("keys.pin", KEYS, "update", "cell", "kek"),
    command("keys.keyring_status", ACCOUNT_READ, "read", "cell"),
    command("keys.merge_keyring", KEYS, "update", "cell"),
    command("keys.adopt_keyring", KEYS, "update", "cell"),
    command("keys.reseal", KEYS, "update", "cell", "name"),
    command("keys.destroy", KEYS, "delete", "cell", "name version"),
    command("shredding.request", SHRED, "update", "namespace", "name"),
    command("shredding.cancel", SHRED, "update", "namespace", "name"),
    command("shredding.finish", SHRED, "delete", "namespace", "name", dual_control=True),
    command("shredding.finish_due", SHRED, "delete", "cell"),
    command("shredding.certificate", ACCOUNT_READ, "read", "cell"),
    command("index.build", ACCOUNT_ADMIN, "create", "cell"),
    command("index.status", ACCOUNT_READ, "read", "cell"),
    command("index.run", SERVICE, "update", "cell"),
    command("index.reconcile", ACCOUNT_ADMIN, "update", "cell"),
    command("index.rotate", KEYS, "update", "cell", "name"),
    command("index.advise", READ, "read", "namespace", "name"),
    command("codec_server.run", SERVICE, "read", "cell"),
    command("serve.run", SERVICE, "update", "cell"),
    command("access.list", AUDIT, "read", "cell"),
    command("access.list_grants", None, "read", "cell"),
    command("access.review", AUDIT, "read", "cell"),
    command("access.change", ACCOUNT_ADMIN, "update", "cell", "principal role"),
    command("access.accept_older", OWNER, "update", "cell", "version reason"),
    command("access.bind", ADMIN, "update", "namespace", "name principal role"),
    command("access.request_grant", None, "create", "cell", "role reason state"),
    command("access.approve_grant", None, "update", "cell", "grant_id"),
    command("access.end_grant", None, "update", "cell", "grant_id"),
    command("audit.verify", AUDIT, "read", "cell"),
    command("audit.export", AUDIT, "read", "cell", "format to"),
    command("audit.hash", AUDIT, "read", "namespace", "name"),
    command("audit.hold", AUDIT, "update", "cell", "reason"),
    command("audit.lift_hold", OWNER, "delete", "cell", "hold_id"),
    command("audit.prune", AUDIT, "delete", "cell"),
    command("audit.lengthen_retention", OWNER, "update", "cell", "days"),
    command("audit.shorten_retention", OWNER, "delete", "cell", "days", dual_control=True),
    command("rows.verify", AUDIT, "read", "cell"),
    command("restore.accept", OWNER, "update", "cell", "reason", dual_control=True),
    command("audit.availability_first", OWNER, "update", "namespace", "name"),
)
"""The operations of the command line that are not calls of a store."""

STORE_OPERATIONS: Mapping[str, Operation] = MappingProxyType(
    {operation.name: operation for store in STORES for operation in store.operations}
)
COMMAND_OPERATIONS: Mapping[str, Operation] = MappingProxyType({operation.name: operation for operation in COMMANDS})
OPERATIONS: Mapping[str, Operation] = MappingProxyType({**STORE_OPERATIONS, **COMMAND_OPERATIONS})
"""Every operation by its name."""
