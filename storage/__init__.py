"""Sealed rows in PostgreSQL: namespaces, data keys, histories, visibility records. This package imports only `strongroom.kms`.

`DESIGN.md` has the decisions; `docs/reference/schema.md` lists what each column shows to a reader without keys.
"""

from strongroom.kms import NotAuthenticated, Timeout, Unavailable
from strongroom.kms.sealing.record_kinds import HISTORY_NODE

from .cell import AccessPolicyStore, AuditCheckpointStore
from .cluster import ClusterMetadata, ClusterMetadataPage, ClusterMetadataStore
from .cluster.members import ClusterMember, ClusterMembersPage, ServiceRole
from .cluster.nexus_endpoints import NexusEndpoint, NexusEndpointPage, NexusEndpointStore
from .data_blob import DataBlob, Encoding
from .engine.barrier import Barrier
from .engine.connection import Connection, Row
from .engine.database import Database
from .engine.row_level_security import EVERY_NAMESPACE, NO_NAMESPACE, VisibleNamespaces
from .engine.server_address import addresses, check_dsn, is_local, postgres_context
from .engine.watch import StatementReport
from .errors import (
    AppendHistoryTimeout,
    CellMismatch,
    ConditionFailed,
    DatabaseAuthenticationError,
    DatabaseTimeout,
    DatabaseUnavailable,
    DataLoss,
    InvalidPersistenceRequest,
    KekNotConfigured,
    NamespaceAlreadyExists,
    NamespaceNotFound,
    NexusEndpointVersionConflict,
    NexusTableVersionConflict,
    NotCommitted,
    NotFound,
    OlderThanAnchor,
    PageTokenMismatch,
    PoolingNotSupported,
    ResourceExhausted,
    SchemaMismatch,
    ShardOwnershipLost,
    StorageError,
    TransactionSizeLimit,
)
from .executions import (
    ARCHIVAL,
    OUTBOUND,
    REPLICATION,
    TIMER,
    TRANSFER,
    VISIBILITY,
    CategoryType,
    ChasmNode,
    ConflictResolveMode,
    ConflictResolveWorkflowExecutionRequest,
    CreateMode,
    CreateWorkflowExecutionRequest,
    CurrentExecution,
    CurrentWorkflowConditionFailed,
    ExecutionState,
    ExecutionStore,
    HistoryTask,
    HistoryTaskPage,
    HistoryTaskStore,
    SetWorkflowExecutionRequest,
    ShardInfo,
    ShardStore,
    TaskCategory,
    TaskKey,
    UnreadableTask,
    UpdateMode,
    UpdateWorkflowExecutionRequest,
    WorkflowConditionFailed,
    WorkflowMutableState,
    WorkflowMutation,
    WorkflowSnapshot,
    WorkflowState,
    WorkflowStatus,
)
from .histories.branch import BranchInfo, BranchRange, HistoryBranch
from .histories.manager import HistoryManager
from .histories.pages import HistoryPage
from .histories.rows import HistoryAppend, HistoryNode
from .histories.tree import BranchPage, ListedBranch
from .keys.changes import follow_key_changes
from .keys.destruction import COPIES, KeyInUse, destroy_retired_key, retired_versions
from .keys.keyring_ledger import PostgresKeyringLedger
from .keys.registry_wait import MARGIN, RegistryWait
from .keys.reseal import Reseal
from .keys.reseal_progress import Progress as ResealProgress
from .keys.reseal_progress import Resealed
from .keys.sealed_columns import sealed_columns
from .keys.sealed_copies import SealedCopies
from .keys.store import PostgresDataKeyStore
from .matching.task_queue_keys import TaskQueueKey
from .matching.task_queues import TaskQueue, TaskQueuePage, UnreadableTaskQueue
from .matching.task_requests import Task, TaskPage, UnreadableQueueTask
from .matching.tasks import TaskStore
from .matching.user_data import TaskQueueUserDataStore
from .matching.user_data_rows import (
    TaskQueueUserData,
    TaskQueueUserDataConflict,
    UnreadableUserData,
    UserDataPage,
    UserDataUpdate,
)
from .namespaces.metadata import MetadataStore
from .namespaces.namespace import Namespace, check_namespace_region
from .namespaces.namespace_record import NamespacePage, NamespaceRecord
from .namespaces.purge import purge_namespace
from .namespaces.shred_request import ShredRequest
from .namespaces.shredding_store import ShreddingStore
from .namespaces.store import NamespaceStore
from .queues import (
    AckLevels,
    Queue,
    QueueMessage,
    QueuePage,
    QueueV2,
    QueueV2Info,
    QueueV2InfoPage,
    QueueV2Message,
    QueueV2Page,
)
from .schema.cell import Cell, check_cell, claim_cell
from .schema.migrations import Migration, current_version
from .schema.schema import apply_schema, check_schema, schema_status
from .sealing import OFF_LOOP_BYTES, ROW_BYTES, open_rows
from .shard_numbers import ShardNumbers
from .visibility_rows.epochs import VisibilityEpochs
from .visibility_rows.notification import OutboxNotifier
from .visibility_rows.outbox import BEFORE_ALL, OutboxEntry, RunKey, VisibilityOutbox
from .visibility_rows.records import (
    VisibilityRow,
)
from .visibility_rows.truth import VisibilityTruth, visibility_key

__all__ = [
    "ARCHIVAL",
    "BEFORE_ALL",
    "COPIES",
    "EVERY_NAMESPACE",
    "HISTORY_NODE",
    "MARGIN",
    "NO_NAMESPACE",
    "OFF_LOOP_BYTES",
    "OUTBOUND",
    "REPLICATION",
    "ROW_BYTES",
    "TIMER",
    "TRANSFER",
    "VISIBILITY",
    "AccessPolicyStore",
    "AckLevels",
    "AppendHistoryTimeout",
    "AuditCheckpointStore",
    "Barrier",
    "BranchInfo",
    "BranchPage",
    "BranchRange",
    "CategoryType",
    "Cell",
    "CellMismatch",
    "ChasmNode",
    "ClusterMember",
    "ClusterMembersPage",
    "ClusterMetadata",
    "ClusterMetadataPage",
    "ClusterMetadataStore",
    "ConditionFailed",
    "ConflictResolveMode",
    "ConflictResolveWorkflowExecutionRequest",
    "Connection",
    "CreateMode",
    "CreateWorkflowExecutionRequest",
    "CurrentExecution",
    "CurrentWorkflowConditionFailed",
    "DataBlob",
    "DataLoss",
    "Database",
    "DatabaseAuthenticationError",
    "DatabaseTimeout",
    "DatabaseUnavailable",
    "Encoding",
    "ExecutionState",
    "ExecutionStore",
    "HistoryAppend",
    "HistoryBranch",
    "HistoryManager",
    "HistoryNode",
    "HistoryPage",
    "HistoryTask",
    "HistoryTaskPage",
    "HistoryTaskStore",
    "InvalidPersistenceRequest",
    "KekNotConfigured",
    "KeyInUse",
    "ListedBranch",
    "MetadataStore",
    "Migration",
    "Namespace",
    "NamespaceAlreadyExists",
    "NamespaceNotFound",
    "NamespacePage",
    "NamespaceRecord",
    "NamespaceStore",
    "NexusEndpoint",
    "NexusEndpointPage",
    "NexusEndpointStore",
    "NexusEndpointVersionConflict",
    "NexusTableVersionConflict",
    "NotAuthenticated",
    "NotCommitted",
    "NotFound",
    "OlderThanAnchor",
    "OutboxEntry",
    "OutboxNotifier",
    "PageTokenMismatch",
    "PoolingNotSupported",
    "PostgresDataKeyStore",
    "PostgresKeyringLedger",
    "Queue",
    "QueueMessage",
    "QueuePage",
    "QueueV2",
    "QueueV2Info",
    "QueueV2InfoPage",
    "QueueV2Message",
    "QueueV2Page",
    "RegistryWait",
    "Reseal",
    "ResealProgress",
    "Resealed",
    "ResourceExhausted",
    "Row",
    "RunKey",
    "SchemaMismatch",
    "SealedCopies",
    "ServiceRole",
    "SetWorkflowExecutionRequest",
    "ShardInfo",
    "ShardNumbers",
    "ShardOwnershipLost",
    "ShardStore",
    "ShredRequest",
    "ShreddingStore",
    "StatementReport",
    "StorageError",
    "Task",
    "TaskCategory",
    "TaskKey",
    "TaskPage",
    "TaskQueue",
    "TaskQueueKey",
    "TaskQueuePage",
    "TaskQueueUserData",
    "TaskQueueUserDataConflict",
    "TaskQueueUserDataStore",
    "TaskStore",
    "Timeout",
    "TransactionSizeLimit",
    "Unavailable",
    "UnreadableQueueTask",
    "UnreadableTask",
    "UnreadableTaskQueue",
    "UnreadableUserData",
    "UpdateMode",
    "UpdateWorkflowExecutionRequest",
    "UserDataPage",
    "UserDataUpdate",
    "VisibilityEpochs",
    "VisibilityOutbox",
    "VisibilityRow",
    "VisibilityTruth",
    "VisibleNamespaces",
    "WorkflowConditionFailed",
    "WorkflowMutableState",
    "WorkflowMutation",
    "WorkflowSnapshot",
    "WorkflowState",
    "WorkflowStatus",
    "addresses",
    "apply_schema",
    "check_cell",
    "check_dsn",
    "check_namespace_region",
    "check_schema",
    "claim_cell",
    "current_version",
    "destroy_retired_key",
    "follow_key_changes",
    "is_local",
    "open_rows",
    "postgres_context",
    "purge_namespace",
    "retired_versions",
    "schema_status",
    "sealed_columns",
    "visibility_key",
]
