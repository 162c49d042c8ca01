"""Deadlines and limits of an audit log, and the functions that stand for its disk and its clock."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from .chain import fastest
from .events import now

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime

    from .chain import Append


@dataclass(frozen=True, slots=True)
class LogSettings:
    """Deadlines and limits of an audit log.

    Attributes:
        patience: Timeout for writing a record, in seconds. The caller then gets `AuditUnavailable`.
        soon: Seconds that a record which nobody waits for may stay in memory.
        most_waiting: Number of records in memory from which on callers are refused at once.
        checkpoint_seconds: Time between two signatures.
        checkpoint_records: Number of records after which the log is signed earlier.
        segment_bytes: Size from which on a segment is followed by another. Each day (UTC) has its own segments too,
            because whole segments are pruned.
        append: Numbers, chains and writes records; tests replace it by a disk that fails or hangs.
        now: Returns the time, in UTC.
    """

    patience: float = 2.0
    soon: float = 0.05
    most_waiting: int = 65_536
    checkpoint_seconds: float = 30.0
    checkpoint_records: int = 1000
    segment_bytes: int = 64 * 2**20
    append: Append = field(default_factory=fastest)
    now: Callable[[], datetime] = now
