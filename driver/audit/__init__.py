"""The audit log: who did what, when, from where, and how it ended; in files that show when they were altered or cut.

Read in this order: `events.py` (what is said), `stream.py` (one process's files, and the chain through them), `log.py` (many callers,
one write), `checkpoint.py` (signatures), `verify.py` (for who has the files alone), `reader.py`, `export.py` and the formats.
"""

from .batch import Batch
from .checkpoint import Checkpoint
from .errors import AuditUnavailable
from .events import Event
from .log import AuditLog, CodecRecords, KeyRecords
from .verify import Verification, verify_records

__all__ = [
    "AuditLog",
    "AuditUnavailable",
    "Batch",
    "Checkpoint",
    "CodecRecords",
    "Event",
    "KeyRecords",
    "Verification",
    "verify_records",
]
