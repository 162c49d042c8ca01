"""Save the rows of tables, and put them back later, as a person does who can write to the database."""

from __future__ import annotations

REGISTRY = ("data_keys", "registry_heads", "registry_summary", "shreddings", "shredded_keks")
"""The tables of the key registry."""


async def saved(connection, tables=REGISTRY):
    """Return the rows of some tables."""
    return {table: await connection.fetch(f"SELECT * FROM {table}") for table in tables}  # noqa: S608 - constants


async def put_back(connection, rows_by_table):
    """Replace the rows of tables by those of an earlier moment."""
    async with connection.transaction():
        for table, rows in rows_by_table.items():
            await connection.execute(f"DELETE FROM {table}")  # noqa: S608 - constants
            if rows:
                await connection.copy_records_to_table(table, records=map(tuple, rows), columns=list(rows[0].keys()))
