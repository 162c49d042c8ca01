"""The settings of an audit log: deadlines, limits, the function that writes to disk, and the clock."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from .chain import chosen_append
from .events import now

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime

    from .chain import Append


@dataclass(frozen=True, slots=True)
class LogSettings:
    """The settings of an audit log.

    Attributes:
        write_timeout: Timeout for writing a record, in seconds. The caller then gets `AuditUnavailable`.
        flush_delay: Maximum time in memory of a record that no caller waits for, in seconds.
        max_waiting: Maximum number of records in memory. When it is reached, new records are refused.
        checkpoint_seconds: Time between two signatures, in seconds.
        checkpoint_records: Number of unsigned records after which the log is signed before that time.
        row_seconds: Timeout for adding a checkpoint to the database, in seconds. After that it is written to the file alone.
        last_seconds: Timeout for the last checkpoint of a process, in seconds, in case the database or the KMS does not answer.
        segment_bytes: Size at which a segment is closed and the next one begins. A new segment also begins each day (UTC),
            because only whole segments are pruned.
        append: The function that numbers, chains and writes records. Tests pass a disk that fails or hangs.
        now: The clock, which returns the time in UTC.
    """

    write_timeout: float = 2.0
    flush_delay: float = 0.05
    max_waiting: int = 65_536
    checkpoint_seconds: float = 30.0
    checkpoint_records: int = 1000
    row_seconds: float = 10.0
    last_seconds: float = 1.0
    segment_bytes: int = 64 * 2**20
    append: Append = field(default_factory=chosen_append)
    now: Callable[[], datetime] = now
