"""Run a statement for rows of several shards: as one, or on a Citus cluster as one for each shard."""

from __future__ import annotations

from typing import TYPE_CHECKING

from strongroom.storage.engine.connection import is_distributed
from strongroom.storage.engine.queries import confined

if TYPE_CHECKING:
    from collections.abc import Sequence

    from strongroom.storage.engine.connection import Connection, Row


async def fetch_by_shard(
    connection: Connection,
    statement: str,
    columns: Sequence[Sequence[object]],
    *,
    before: Sequence[object] = (),
    after: Sequence[object] = (),
) -> Sequence[Row]:
    """Run a statement, and return its rows. Nothing is sent if the columns are empty.

    Args:
        connection: The connection. Without a transaction, each shard's statement is committed by itself.
        statement: The statement. The comments in it that begin with `confined:` compare a table with its last parameter, the shard.
        columns: The parameters that are arrays, one element for each row. The first one has the shards.
        before: The parameters before them.
        after: The parameters after them.

    Raises:
        StorageError: The database does not answer.
    """
    if not columns[0]:
        return []
    if not is_distributed(connection):
        return await connection.fetch(statement, *before, *columns, *after)
    found: list[Row] = []
    for shard_id in sorted(set(columns[0])):  # type: ignore[type-var] # all of them are numbers
        places = [place for place, shard in enumerate(columns[0]) if shard == shard_id]
        of_shard = [[column[place] for place in places] for column in columns]
        found += await connection.fetch(confined(statement), *before, *of_shard, *after, shard_id)
    return found
