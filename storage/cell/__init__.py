"""Rows that belong to a cell: its access policy, and the checkpoints of its audit logs."""

from .access_policy import AccessPolicyStore
from .audit_checkpoints import AuditCheckpoint, AuditCheckpointStore, AuditCompaction

__all__ = [
    "AccessPolicyStore",
    "AuditCheckpoint",
    "AuditCheckpointStore",
    "AuditCompaction",
]
