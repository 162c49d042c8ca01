"""The doctor's check of rows that did not open."""

from __future__ import annotations

from typing import TYPE_CHECKING

from strongroom.kms import StrongroomError
from strongroom.storage.cell.damaged_rows import DamagedRows

from .report import Finding, wrong

if TYPE_CHECKING:
    from strongroom.storage import Database

GROUP, CHECK = "Namespaces", "damaged rows"


async def damaged_rows(database: Database) -> Finding:
    """Count the rows of queues that were altered, moved or written by another version. Their queues went on without them."""
    try:
        counts = await DamagedRows(database).counts()
    except StrongroomError as error:
        return wrong(GROUP, CHECK, error)
    if not counts:
        return Finding(GROUP, CHECK, "none: every row of a queue that was read did open")
    text = ", ".join(f"{rows} of {table}" for table, rows in counts.items())
    advice = (
        "Run: strongroom damaged list. Find out who or what changed the rows, for example a faulty disk, and look for other changes. "
        "Then run: strongroom damaged forget --before TIME"
    )
    return Finding(GROUP, CHECK, f"{text} did not open, and are kept", "wrong", advice)
