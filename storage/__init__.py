"""Sealed rows in PostgreSQL: namespaces, data keys, histories, visibility records. Imports `strongroom.kms` only.

`DESIGN.md` beside this file says what each column shows to someone without keys.
"""

from .data_blob import DataBlob, Encoding
from .data_keys import PostgresDataKeyStore
from .database import Connection, Database, Row
from .errors import (
    AppendHistoryTimeout,
    CellMismatch,
    ConditionFailed,
    CurrentWorkflowConditionFailed,
    DataLoss,
    InvalidPersistenceRequest,
    NamespaceAlreadyExists,
    NamespaceNotFound,
    NotFound,
    ResourceExhausted,
    SchemaMismatch,
    ShardOwnershipLost,
    StorageError,
    Timeout,
    TransactionSizeLimit,
    Unavailable,
    WorkflowConditionFailed,
)
from .history import HistoryManager, HistoryPage
from .history_branch import BranchInfo, BranchRange, HistoryBranch
from .history_rows import HistoryAppend, HistoryNode
from .namespaces import Namespace, NamespaceStore, Shredded
from .record_kinds import HISTORY_NODE
from .schema import Cell, Migration, apply_schema, check_cell, check_schema, claim_cell, current_version
from .shards import ShardInfo, ShardStore
from .visibility_records import VisibilityRow, get_visibility_record, put_visibility_records

__all__ = [
    "HISTORY_NODE",
    "AppendHistoryTimeout",
    "BranchInfo",
    "BranchRange",
    "Cell",
    "CellMismatch",
    "ConditionFailed",
    "Connection",
    "CurrentWorkflowConditionFailed",
    "DataBlob",
    "DataLoss",
    "Database",
    "Encoding",
    "HistoryAppend",
    "HistoryBranch",
    "HistoryManager",
    "HistoryNode",
    "HistoryPage",
    "InvalidPersistenceRequest",
    "Migration",
    "Namespace",
    "NamespaceAlreadyExists",
    "NamespaceNotFound",
    "NamespaceStore",
    "NotFound",
    "PostgresDataKeyStore",
    "ResourceExhausted",
    "Row",
    "SchemaMismatch",
    "ShardInfo",
    "ShardOwnershipLost",
    "ShardStore",
    "Shredded",
    "StorageError",
    "Timeout",
    "TransactionSizeLimit",
    "Unavailable",
    "VisibilityRow",
    "WorkflowConditionFailed",
    "apply_schema",
    "check_cell",
    "check_schema",
    "claim_cell",
    "current_version",
    "get_visibility_record",
    "put_visibility_records",
]
