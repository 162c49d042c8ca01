"""Rows that belong to a cell: its access policy, and the newest checkpoint of each audit log."""

from .access_policy import AccessPolicyStore
from .audit_checkpoints import AuditCheckpoint, AuditCheckpointStore

__all__ = [
    "AccessPolicyStore",
    "AuditCheckpoint",
    "AuditCheckpointStore",
]
