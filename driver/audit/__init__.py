"""The audit log: every call with its caller, time, source and outcome. Its files show whether they were altered or cut.

Read in this order: `events.py` (what is recorded), `stream.py` (one process's files, and the chain through them), `taking.py` (which
stream a process continues), `log.py` (many callers, one write), `checkpoint.py` (signatures), `witness.py` (the checkpoints in the
database), `verify.py` (for a reader who has only the files), `rows.py`, `reader.py`, `export.py` and `formats.py`.
"""

from .checkpoint import Checkpoint
from .errors import AuditUnavailable
from .events import Event
from .key_records import KeyRecords
from .log import AuditLog
from .pending import PendingRecords
from .settings import LogSettings
from .verify import Verification, verify_records
from .witness import Witness

__all__ = [
    "AuditLog",
    "AuditUnavailable",
    "Checkpoint",
    "Event",
    "KeyRecords",
    "LogSettings",
    "PendingRecords",
    "Verification",
    "Witness",
    "verify_records",
]
