"""The epochs of visibility records: count them, and replace the tokens of a record."""

from __future__ import annotations

from typing import TYPE_CHECKING

from strongroom.storage.engine.queries import load_queries
from strongroom.storage.journal.entry import Changes
from strongroom.storage.journal.images import tag

from .by_shard import fetch_by_shard
from .journal import replace_record
from .outbox import add_to_outbox
from .records import hashed_columns

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence
    from uuid import UUID

    from strongroom.storage.engine.connection import Row
    from strongroom.storage.engine.database import Database
    from strongroom.storage.journal.writer import Journal

    from .records import VisibilityRow

_SQL = load_queries("visibility_rows/epochs")
_FIRST = (2**63 - 1, 2**63 - 1, b"\xff" * 17)


async def count_epochs(database: Database, namespace_id: UUID) -> dict[int, int]:
    """Return the number of records of each epoch of a namespace.

    Raises:
        StorageError: The database does not answer.
    """
    async with database.connection(namespace_id) as connection:
        return {row["k"]: row["records"] for row in await connection.fetch(_SQL["count"], namespace_id)}


class VisibilityEpochs:
    """Reads the records of a namespace, and rewrites their tokens. Every method raises `StorageError` if the database does not answer.

    Args:
        database: The database.
        journal: The journal of this process.
        outbox: Whether a search index outside the database takes rewritten records from the outbox.
    """

    def __init__(self, database: Database, journal: Journal, *, outbox: bool) -> None:
        self._journal = journal
        self._database = database
        self._outbox = outbox

    async def count(self, namespace_id: UUID) -> dict[int, int]:
        """Return the number of records of each epoch; see `count_epochs`."""
        return await count_epochs(self._database, namespace_id)

    async def others(self, namespace_id: UUID, epoch: int, *, piece: int) -> AsyncIterator[Sequence[Row]]:
        """Yield the records of all other epochs without their tokens, piece by piece.

        Args:
            namespace_id: The namespace.
            epoch: The epoch whose records are left out.
            piece: Records in one piece.

        Raises:
            StorageError: The database does not answer.
        """
        async for rows in self._pages(_SQL["page"], namespace_id, epoch, piece=piece):
            yield rows

    async def whole(self, namespace_id: UUID, *, piece: int) -> AsyncIterator[Sequence[Row]]:
        """Yield all records with their tokens, piece by piece.

        Args:
            namespace_id: The namespace.
            piece: Records in one piece.

        Raises:
            StorageError: The database does not answer.
        """
        async for rows in self._pages(_SQL["whole"], namespace_id, piece=piece):
            yield rows

    async def _pages(
        self, statement: str, namespace_id: UUID, *parameters: object, piece: int
    ) -> AsyncIterator[Sequence[Row]]:
        after = _FIRST
        while True:
            async with self._database.connection(namespace_id) as connection:
                rows = await connection.fetch(statement, namespace_id, *parameters, *after, piece)
            if not rows:
                return
            after = (rows[-1]["b1"], rows[-1]["b2"], rows[-1]["id"])
            yield rows

    async def rewrite(self, namespace_id: UUID, old: Sequence[Row], new: Sequence[VisibilityRow]) -> int:
        """Replace the tokens of records that have not changed since they were read.

        Args:
            namespace_id: The namespace.
            old: The rows that were read and opened.
            new: The same records with new tokens, in the same order and of the same versions.

        Returns:
            The number of records rewritten.

        Raises:
            StorageError: The database does not answer.
        """
        async with self._database.transaction(namespace_id) as connection:
            columns: tuple[Sequence[object], ...] = (
                [row.shard_id for row in new],
                [row.id for row in new],
                [row.version for row in new],
                [row["k"] for row in old],
                [row.epoch for row in new],
                [row.close_bucket for row in new],
                [row.start_bucket for row in new],
                [row.token_array for row in new],
                [row.sealed for row in new],
                *hashed_columns(new),
                [row["b1"] for row in old],
                [row["b2"] for row in old],
                [tag(row["s"]) for row in old],
            )
            written = await fetch_by_shard(connection, _SQL["rewrite"], columns, before=(namespace_id,))
            await self._journal.write(connection, *_rewritten(namespace_id, written, old, new))
            if self._outbox and written:
                await add_to_outbox(connection, [(row["shard_id"], namespace_id, row["id"]) for row in written])
        return len(written)


def _rewritten(
    namespace_id: UUID, written: Sequence[Row], old: Sequence[Row], new: Sequence[VisibilityRow]
) -> list[Changes]:
    """Return what changed, by shard. The statement has compared each stored record with the one that was read."""
    records = {(record.shard_id, record.id): (row, record) for row, record in zip(old, new, strict=True)}
    changes: dict[int, Changes] = {}
    for row in written:
        before, record = records[row["shard_id"], row["id"]]
        of_shard = changes.setdefault(record.shard_id, Changes(record.shard_id))
        replace_record(of_shard, namespace_id, before, record.clear, record.sealed)
    return list(changes.values())
