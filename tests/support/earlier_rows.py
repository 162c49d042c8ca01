"""Attacks of an administrator of the database, who has no keys: copy, edit and delete rows, and put older rows back.

`Administrator` changes single rows and can undo its changes. `saved` and `put_back` copy and replace whole tables.
"""

from __future__ import annotations

import re
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, TypeAlias

import asyncpg

from strongroom.storage.schema.tables import TABLES

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

Rows: TypeAlias = "Sequence[asyncpg.Record]"
BY_NAME = {table.name: table for table in TABLES}
SEALED = tuple(table.name for table in TABLES if table.sealed)
"""The tables that have a sealed column."""
REGISTRY = ("data_keys", "registry_heads", "registry_summary", "shreddings", "shredded_keks")
"""The tables of the key registry."""


class Administrator:
    """Reads and writes every row, and keeps what is necessary to undo each change.

    Args:
        connection: A connection as the owner of the tables, to whom row-level security does not apply.
        within: A condition that limits `copies`, `delete` and `edit` to some rows, for example those of one namespace.
    """

    def __init__(self, connection: asyncpg.Connection, *, within: str = "true") -> None:
        self.connection = connection
        self._within = within
        self._undo: list[tuple[str, Rows, Rows]] = []

    async def copies(self, table: str, where: str = "true", *arguments: object) -> Rows:
        """Return whole rows, in the order of their key."""
        order = ", ".join(BY_NAME[table].key_names)
        query = f"SELECT * FROM {table} WHERE {self._within} AND ({where}) ORDER BY {order}"  # noqa: S608
        return await self.connection.fetch(query, *arguments)

    async def delete(self, table: str, where: str = "true", *arguments: object) -> Rows:
        """Delete rows and return them. It is an error if no row is deleted."""
        query = f"DELETE FROM {table} WHERE {self._within} AND ({where}) RETURNING *"  # noqa: S608
        deleted = await self.connection.fetch(query, *arguments)
        assert deleted, f"nothing was deleted from {table}"
        self._undo.append((table, deleted, ()))
        return deleted

    async def put_back(self, table: str, rows: Rows) -> None:
        """Write whole rows. They replace the rows that have the same primary keys."""
        assert rows, f"nothing to put into {table}"
        async with self.connection.transaction():
            replaced = await self._remove(table, rows)
            await _insert(self.connection, table, rows)
        self._undo.append((table, replaced, rows))

    async def insert(self, table: str, query: str, *arguments: object) -> Rows:
        """Insert the rows that a query returns, and return them. It is an error if the query returns no row."""
        inserted = await self.connection.fetch(f"INSERT INTO {table} {query} RETURNING *", *arguments)
        assert inserted, f"nothing was inserted into {table}"
        self._undo.append((table, (), inserted))
        return inserted

    async def edit(self, table: str, assignments: str, where: str, *arguments: object) -> Rows:
        """Change columns of rows, and return the changed rows. It is an error if no row changes.

        The first arguments are the parameters of `where`.
        """
        of_where = max(map(int, re.findall(r"\$(\d+)", where)))
        async with self.connection.transaction():
            before = await self.copies(table, where, *arguments[:of_where])
            after = await self.connection.fetch(
                f"UPDATE {table} SET {assignments} WHERE {self._within} AND ({where}) RETURNING *",  # noqa: S608
                *arguments,
            )
        assert after, f"nothing was changed in {table}"
        self._undo.append((table, before, after))
        return after

    async def undo(self) -> None:
        """Undo all changes, the newest first."""
        while self._undo:
            table, before, after = self._undo.pop()
            async with self.connection.transaction():
                if after:
                    await self._remove(table, after)
                if before:
                    await self._remove(table, before)
                    await _insert(self.connection, table, before)

    async def _remove(self, table: str, rows: Rows) -> Rows:
        names = BY_NAME[table].key_names
        where = " AND ".join(f"{name} = ${number}" for number, name in enumerate(names, 1))
        removed = []
        for row in rows:
            key = [row[name] for name in names]
            removed += await self.connection.fetch(f"DELETE FROM {table} WHERE {where} RETURNING *", *key)  # noqa: S608
        return removed


async def saved(connection: asyncpg.Connection, tables: Sequence[str] = REGISTRY) -> dict[str, Rows]:
    """Return the rows of whole tables."""
    return {table: await connection.fetch(f"SELECT * FROM {table}") for table in tables}  # noqa: S608 - constants


async def put_back(connection: asyncpg.Connection, rows_by_table: Mapping[str, Rows]) -> None:
    """Replace all rows of tables with rows that `saved` returned."""
    async with connection.transaction():
        for table, rows in rows_by_table.items():
            await connection.execute(f"DELETE FROM {table}")  # noqa: S608 - constants
            if rows:
                await _insert(connection, table, rows)


async def _insert(connection: asyncpg.Connection, table: str, rows: Rows) -> None:
    await connection.copy_records_to_table(table, records=map(tuple, rows), columns=list(rows[0].keys()))


@asynccontextmanager
async def administrator(owner_dsn: str, *, within: str = "true"):
    """Yield an administrator who is connected as the owner of the tables."""
    connection = await asyncpg.connect(owner_dsn, server_settings={"search_path": "strongroom"})
    try:
        yield Administrator(connection, within=within)
    finally:
        await connection.close()
