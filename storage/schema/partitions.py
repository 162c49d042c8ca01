"""The partitions of a table: the values of its key's first column, which Citus distributes it by.

A job that visits all rows of a namespace visits the partitions of a table and looks the namespace up in each. It finds a small
namespace in a large table without reading the table.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from strongroom.storage.engine.connection import SCHEMA
from strongroom.storage.engine.queries import load_queries
from strongroom.storage.engine.row_level_security import EVERY_NAMESPACE

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from uuid import UUID

    from strongroom.storage.engine.database import Database

    from .table import Table

_SQL = load_queries("schema/partitions")

WINDOW = 1024
"""Partitions that one statement looks into."""
_BELOW_ALL = -(2**31) - 1
"""Less than any value of a partition column, which has 32 bits."""


async def partition_windows(database: Database, table: Table) -> AsyncIterator[list[int]]:
    """Yield the partitions of a table in ascending order, at most `WINDOW` at a time."""
    last, statement = _BELOW_ALL, _statement("next", table)
    while True:
        # If fewer namespaces were visible, each look-up would have to skip the rows of the others.
        async with database.connection(EVERY_NAMESPACE) as connection:
            window = [row["partition"] for row in await connection.fetch(statement, last, WINDOW)]
        if not window:
            return
        last = window[-1]
        yield window


async def partitions_of_namespace(database: Database, table: Table, namespace_id: UUID) -> list[int]:
    """Return the partitions in which a namespace has rows. For a Citus cluster, because it reads the whole table."""
    async with database.transaction(namespace_id, read_only=True, unlimited=True) as connection:
        rows = await connection.fetch(_statement("of_namespace", table), namespace_id)
    return [row["partition"] for row in rows]


def _statement(query: str, table: Table) -> str:
    return _SQL[query].format(table=f"{SCHEMA}.{table.name}", partition=table.partition_column)
