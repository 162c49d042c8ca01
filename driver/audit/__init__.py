"""The audit log: every call with its caller, time, source and outcome. Its files show whether they were altered or cut.

Read in this order: `events.py` (what is recorded), `stream.py` (one process's files, and the chain through them), `log.py`
(many callers, one write), `checkpoint.py` (signatures), `verify.py` (for a reader who has only the files), `reader.py`,
`export.py` and `formats.py`.
"""

from .checkpoint import Checkpoint
from .errors import AuditUnavailable
from .events import Event
from .log import AuditLog, KeyRecords
from .pending import PendingRecords
from .settings import LogSettings
from .verify import Verification, verify_records

__all__ = [
    "AuditLog",
    "AuditUnavailable",
    "Checkpoint",
    "Event",
    "KeyRecords",
    "LogSettings",
    "PendingRecords",
    "Verification",
    "verify_records",
]
