"""An administrator of the database: copies rows away, edits and deletes rows, and puts older rows back. They have no keys."""

from __future__ import annotations

import re
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, TypeAlias

import asyncpg

from strongroom.storage.schema.tables import TABLES

if TYPE_CHECKING:
    from collections.abc import Sequence

Rows: TypeAlias = "Sequence[asyncpg.Record]"
BY_NAME = {table.name: table for table in TABLES}
SEALED = tuple(table.name for table in TABLES if table.sealed)
"""The tables that have a sealed column."""


class Administrator:
    """Someone who may read and write every row.

    Args:
        connection: A connection as the owner of the tables, to whom row-level security does not apply.
    """

    def __init__(self, connection: asyncpg.Connection) -> None:
        self.connection = connection
        self._undo: list[tuple[str, Rows, Rows]] = []

    async def copies(self, table: str, where: str = "true", *arguments: object) -> Rows:
        """Return whole rows, in the order of their key."""
        order = ", ".join(BY_NAME[table].key_names)
        return await self.connection.fetch(f"SELECT * FROM {table} WHERE {where} ORDER BY {order}", *arguments)  # noqa: S608

    async def delete(self, table: str, where: str = "true", *arguments: object) -> Rows:
        """Delete rows, at least one; return them."""
        deleted = await self.connection.fetch(f"DELETE FROM {table} WHERE {where} RETURNING *", *arguments)  # noqa: S608
        assert deleted, f"nothing was deleted from {table}"
        self._undo.append((table, deleted, ()))
        return deleted

    async def put_back(self, table: str, rows: Rows) -> None:
        """Write whole rows, in place of those that have the same primary key now."""
        assert rows, f"nothing to put into {table}"
        async with self.connection.transaction():
            replaced = await self._remove(table, rows)
            await self._insert(table, rows)
        self._undo.append((table, replaced, rows))

    async def insert(self, table: str, query: str, *arguments: object) -> Rows:
        """Insert the rows that a query returns, at least one; return them."""
        inserted = await self.connection.fetch(f"INSERT INTO {table} {query} RETURNING *", *arguments)
        assert inserted, f"nothing was inserted into {table}"
        self._undo.append((table, (), inserted))
        return inserted

    async def edit(self, table: str, assignments: str, where: str, *arguments: object) -> Rows:
        """Change columns of rows, at least one row; return the rows as they are now. The parameters of `where` come first."""
        of_where = max(map(int, re.findall(r"\$(\d+)", where)))
        async with self.connection.transaction():
            before = await self.copies(table, where, *arguments[:of_where])
            after = await self.connection.fetch(
                f"UPDATE {table} SET {assignments} WHERE {where} RETURNING *",  # noqa: S608
                *arguments,
            )
        assert after, f"nothing was changed in {table}"
        self._undo.append((table, before, after))
        return after

    async def undo(self) -> None:
        """Restore the rows as they were before this administrator changed them."""
        while self._undo:
            table, before, after = self._undo.pop()
            async with self.connection.transaction():
                if after:
                    await self._remove(table, after)
                if before:
                    await self._remove(table, before)
                    await self._insert(table, before)

    async def _remove(self, table: str, rows: Rows) -> Rows:
        names = BY_NAME[table].key_names
        where = " AND ".join(f"{name} = ${number}" for number, name in enumerate(names, 1))
        removed = []
        for row in rows:
            key = [row[name] for name in names]
            removed += await self.connection.fetch(f"DELETE FROM {table} WHERE {where} RETURNING *", *key)  # noqa: S608
        return removed

    async def _insert(self, table: str, rows: Rows) -> None:
        await self.connection.copy_records_to_table(table, records=map(tuple, rows), columns=list(rows[0].keys()))


@asynccontextmanager
async def administrator(owner_dsn: str):
    """Connect as the owner of the tables."""
    connection = await asyncpg.connect(owner_dsn, server_settings={"search_path": "strongroom"})
    try:
        yield Administrator(connection)
    finally:
        await connection.close()
