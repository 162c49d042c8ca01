"""Processes that share a database, and an attacker who has only the database."""

from __future__ import annotations

from types import SimpleNamespace

from strongroom.storage import EVERY_NAMESPACE
from strongroom.storage.executions.store import ExecutionStore
from strongroom.storage.histories import HistoryManager
from strongroom.storage.journal.writer import Journal


def new_process(cell, *, known=None):
    """Return the stores of a process that has neither read nor written a row. `known` has the runs that it knows."""
    journal = Journal(cell.keyring)
    executions = ExecutionStore(cell.by_key, cell.keyring, journal, known=known)
    return SimpleNamespace(
        executions=executions,
        history=HistoryManager(cell.by_key, cell.keyring, journal, ends=executions.ends),
        database=cell.database,
        keyring=cell.keyring,
        by_key=cell.by_key,
    )


class Attacker:
    """Copies, deletes and puts back rows of one namespace, without a key."""

    def __init__(self, cell, namespace_id):
        self._cell, self._namespace_id = cell, namespace_id

    async def copy(self, table, condition="true"):
        """Return rows as they are stored now."""
        query = f"SELECT to_jsonb(whole)::text AS row FROM {table} whole WHERE namespace_id = $1 AND {condition}"  # noqa: S608 - a test
        async with self._cell.database.connection(EVERY_NAMESPACE) as connection:
            rows = [row["row"] for row in await connection.fetch(query, self._namespace_id)]
        assert rows
        return table, rows

    async def delete(self, table, condition="true"):
        """Delete rows; return how many."""
        query = f"DELETE FROM {table} WHERE namespace_id = $1 AND {condition}"  # noqa: S608 - a test
        async with self._cell.database.connection(EVERY_NAMESPACE) as connection:
            tag = await connection.execute(query, self._namespace_id)
        deleted = int(tag.split()[-1])
        assert deleted
        return deleted

    async def put_back(self, copied):
        """Write copied rows in place of those with the same keys."""
        table, rows = copied
        async with self._cell.database.connection(EVERY_NAMESPACE) as connection:
            await connection.execute(
                f"""
                DELETE FROM {table} whole USING pg_index, unnest($1::text[]) AS old
                WHERE indrelid = '{table}'::regclass AND indisprimary AND (
                    SELECT jsonb_object_agg(attname, to_jsonb(whole) -> attname) FROM pg_attribute
                    WHERE attrelid = indrelid AND attnum = ANY (indkey)) <@ old::jsonb
                """,  # noqa: S608 - a test
                rows,
            )
            for row in rows:
                await connection.execute(
                    f"INSERT INTO {table} SELECT * FROM jsonb_populate_record(NULL::{table}, $1::jsonb)",  # noqa: S608 - a test
                    row,
                )
