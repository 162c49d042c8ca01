"""The check of row-level security for the role that a configuration connects as."""

from __future__ import annotations

from typing import TYPE_CHECKING

from strongroom.storage import NO_NAMESPACE

from .report import Finding

if TYPE_CHECKING:
    from strongroom.storage import Database

DATABASE = "Database"
_CHECK = "row-level security"


async def row_level_security(database: Database) -> Finding:
    """Return the finding. It is a note if row-level security does not apply to the role, because keys separate namespaces too."""
    async with database.connection(NO_NAMESPACE) as connection:
        row = await connection.fetchrow("SELECT current_user AS role")
        role = row["role"] if row is not None else ""
        if database.has_row_level_security(connection):
            return Finding(DATABASE, _CHECK, f"row-level security applies to {role}")
    text = f"row-level security does not apply to {role}: it owns the tables or bypasses policies. Only the keys separate namespaces"
    advice = "Run strongroom schema apply --driver-role NAME, and connect as that role."
    return Finding(DATABASE, _CHECK, text, "note", advice)
