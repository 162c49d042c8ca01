"""The check of clocks: how far the database server's clock and this host's clock differ."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from strongroom.storage.engine.server_clock import server_now

from .report import Finding, about
from .row_level_security import DATABASE

if TYPE_CHECKING:
    from strongroom.storage import Database

_NOTED = timedelta(seconds=60)
"""Difference from which it is noted."""


async def server_clock(database: Database) -> Finding:
    """Compare the server's clock with that of this host.

    Args:
        database: The cell's database.

    Raises:
        StorageError: The database does not answer.
    """
    before = datetime.now(UTC)
    theirs = await server_now(database)
    after = datetime.now(UTC)
    ahead = max(theirs - after, before - theirs)
    if ahead < _NOTED:
        return Finding(DATABASE, "clock", f"within {_NOTED.seconds} seconds of this host's")
    text = f"{about(ahead)} {'ahead of' if theirs > after else 'behind'} this host's; one of them is wrong"
    advice = (
        "Synchronise both with a time server. Grace periods, grants, API keys and the age of keys use the server's clock, "
        "and audit records have the time of their host."
    )
    return Finding(DATABASE, "clock", text, "note", advice)
