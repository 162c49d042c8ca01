"""Sum the images of the rows that the tables have for a shard."""

from __future__ import annotations

from typing import TYPE_CHECKING

from strongroom.storage.multiset import EMPTY, add

from .images import NUMBERS, image_sql, tables_of

if TYPE_CHECKING:
    from strongroom.storage.engine.connection import Connection

    from .elements import ElementHash

_PAGE = 2000
"""Rows of one page. Their hashes take the event loop less than a millisecond with the kernel."""


async def scan(connection: Connection, shard_id: int, elements: ElementHash) -> tuple[dict[int, int], int]:
    """Sum the images of a shard's rows, page by page.

    Args:
        connection: A connection in a transaction.
        shard_id: The shard in the journal.
        elements: Hashes the images of the shard.

    Returns:
        The sums by the number of the table, and the number of rows.
    """
    sums, rows = {}, 0
    for table, condition in tables_of(shard_id).items():
        # A cursor has one snapshot and needs no order. The names and the condition are our own.
        query = f"SELECT {image_sql(table)} AS image FROM {table.name} WHERE {condition}"  # noqa: S608
        await connection.execute(f"DECLARE scan NO SCROLL CURSOR FOR {query}")
        total = EMPTY
        while page := await connection.fetch(f"FETCH {_PAGE} FROM scan"):
            total = add(total, [elements.sum([row["image"] for row in page])])
            rows += len(page)
        await connection.execute("CLOSE scan")
        sums[NUMBERS[table.name]] = total
    return sums, rows
