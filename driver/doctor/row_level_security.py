"""Whether row-level security holds the role that a configuration connects as."""

from __future__ import annotations

from typing import TYPE_CHECKING

from strongroom.storage import NO_NAMESPACE

from .report import Finding

if TYPE_CHECKING:
    from strongroom.storage import Database

DATABASE = "Database"


async def second_wall(database: Database) -> Finding:
    """Return the finding: it is no fault where it does not, since the keys are a wall of their own."""
    async with database.connection(NO_NAMESPACE) as connection:
        row = await connection.fetchrow("SELECT current_user AS role")
        role = row["role"] if row is not None else ""
        if database.is_walled(connection):
            return Finding(DATABASE, "second wall", f"row-level security holds {role}")
    text = f"row-level security does not hold {role}: it owns the tables or passes it by. The keys separate namespaces by themselves"
    advice = "for a second wall: strongroom schema apply --driver-role NAME, and let the dsn name that role"
    return Finding(DATABASE, "second wall", text, "note", advice)
