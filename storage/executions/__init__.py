"""Mutable state of runs, history tasks and shards: Temporal's ExecutionStore and ShardStore.

To follow a write, read the modules in this order: `store.py` (the operations), `planning.py` and `checks.py` (a request becomes a
plan), `writing.py` (group commit), `rows.py`, `maps.py` and `packing.py` (sealed columns), `binding.py` (the statement). `reading.py`
has the reads.
"""

from .errors import CurrentWorkflowConditionFailed, WorkflowConditionFailed
from .history_tasks import HistoryTaskStore
from .modes import ConflictResolveMode, CreateMode, UpdateMode, WorkflowState, WorkflowStatus
from .requests import (
    ChasmNode,
    ConflictResolveWorkflowExecutionRequest,
    CreateWorkflowExecutionRequest,
    CurrentExecution,
    ExecutionState,
    SetWorkflowExecutionRequest,
    UpdateWorkflowExecutionRequest,
    WorkflowMutableState,
    WorkflowMutation,
    WorkflowSnapshot,
)
from .shards import ShardInfo, ShardStore
from .store import ExecutionStore
from .tasks import (
    ARCHIVAL,
    OUTBOUND,
    REPLICATION,
    TIMER,
    TRANSFER,
    VISIBILITY,
    CategoryType,
    HistoryTask,
    HistoryTaskPage,
    TaskCategory,
    TaskKey,
    UnreadableTask,
)

__all__ = [
    "ARCHIVAL",
    "OUTBOUND",
    "REPLICATION",
    "TIMER",
    "TRANSFER",
    "VISIBILITY",
    "CategoryType",
    "ChasmNode",
    "ConflictResolveMode",
    "ConflictResolveWorkflowExecutionRequest",
    "CreateMode",
    "CreateWorkflowExecutionRequest",
    "CurrentExecution",
    "CurrentWorkflowConditionFailed",
    "ExecutionState",
    "ExecutionStore",
    "HistoryTask",
    "HistoryTaskPage",
    "HistoryTaskStore",
    "SetWorkflowExecutionRequest",
    "ShardInfo",
    "ShardStore",
    "TaskCategory",
    "TaskKey",
    "UnreadableTask",
    "UpdateMode",
    "UpdateWorkflowExecutionRequest",
    "WorkflowConditionFailed",
    "WorkflowMutableState",
    "WorkflowMutation",
    "WorkflowSnapshot",
    "WorkflowState",
    "WorkflowStatus",
]
