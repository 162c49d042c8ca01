"""The row-level-security policies: one on each table with a column `namespace_id`.

A policy does not bind the owner of the tables. storage/DESIGN.md, "Row-level security", has the reasons.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from strongroom.storage.engine.connection import SCHEMA
from strongroom.storage.engine.queries import load_queries

from .tables import TABLES

if TYPE_CHECKING:
    from strongroom.storage.engine.connection import Connection

    from .table import Table

_SQL = load_queries("schema/policies")


async def create_policies(connection: Connection) -> None:
    """Create the policies that the schema lacks, and enable row-level security on their tables."""
    present = {row["name"] for row in await connection.fetch(_SQL["present"], SCHEMA)}
    for table in TABLES:
        if table.namespaced and table.name not in present:
            await connection.execute(_SQL["enable"].format(table=table.name))
            await connection.execute(_SQL["create"].format(table=table.name))


def policy_for_nodes(table: Table) -> tuple[str, ...]:
    """Return the statements that give a table the policy that a node of a Citus cluster can check, in place of its own."""
    return tuple(_SQL[name].format(table=table.name) for name in ("drop", "create_for_nodes"))
