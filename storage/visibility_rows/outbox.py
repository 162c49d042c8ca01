"""The outbox: the runs whose document in the search index may be older than their visibility record."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias
from uuid import UUID

from strongroom.storage.engine.queries import load_queries
from strongroom.storage.engine.row_level_security import EVERY_NAMESPACE

from .notification import CHANNEL

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Sequence
    from datetime import timedelta

    from strongroom.storage.engine.connection import Connection, Row
    from strongroom.storage.engine.database import Database

_SQL = load_queries("visibility_rows/outbox")
_PIECE = 1000
_HEAD_BYTES = 32
"""The number of leading bytes that are compared. They include the nonce, so they differ for every sealed value."""

RunKey: TypeAlias = tuple[int, UUID, bytes]
"""The key of a run's record: shard, namespace and id."""
BEFORE_ALL: RunKey = (-(2**31), UUID(int=0), b"")


async def add_to_outbox(connection: Connection, runs: Sequence[RunKey]) -> None:
    """Put runs into the outbox in the caller's transaction, so that their documents are written again or deleted.

    Args:
        connection: A connection in a transaction.
        runs: The keys of the runs, in any order.
    """
    ordered = sorted(runs)
    await connection.execute(_SQL["add"], *([run[place] for run in ordered] for place in range(3)))


@dataclass(frozen=True, slots=True)
class OutboxEntry:
    """An entry of the outbox.

    Attributes:
        key: The key of the run's record.
        stamp: The stamp of the last change, which is new with each change.
        record: The row of `visibility_records` with its tokens; None if the record was deleted.
        deleted_version: The version with which the record was deleted; None if it was not deleted, or the deletion is forgotten.
    """

    key: RunKey
    stamp: UUID
    record: Row | None
    deleted_version: int | None


class VisibilityOutbox:
    """Reads and empties the outbox. Every method raises `StorageError` if the database does not answer.

    Args:
        database: The database.
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    async def take(self, after: RunKey, *, runs: int, size: int) -> list[OutboxEntry]:
        """Return the next entries in the order of their key. They stay in the outbox until they are `done`.

        Args:
            after: The key after which to continue; `BEFORE_ALL` for the first entries.
            runs: Maximum number of entries.
            size: Maximum bytes of sealed records, without the last one.

        Raises:
            StorageError: The database does not answer.
        """
        async with self._database.connection(EVERY_NAMESPACE) as connection:
            rows = await connection.fetch(_SQL["take"], *after, runs, size)
        return [
            OutboxEntry(
                (row["shard_id"], UUID(bytes=row["namespace_id"].bytes), row["id"]),
                row["stamp"],
                row if row["version"] is not None else None,
                row["deleted_version"],
            )
            for row in rows
        ]

    async def done(self, entries: Sequence[OutboxEntry]) -> None:
        """Remove entries that the index has taken, except runs that have changed again.

        An index accepts a document of an equal version. If another indexer sent a record of a newer epoch or with a newer key first,
        this document has replaced it. Such runs are put into the outbox again.

        Args:
            entries: The entries, as `take` returned them.

        Raises:
            StorageError: The database does not answer.
        """
        keys = [entry.key for entry in entries]
        columns = ([key[place] for key in keys] for place in range(3))
        async with self._database.connection(EVERY_NAMESPACE) as connection:
            await connection.execute(_SQL["done"], *columns, [entry.stamp for entry in entries])
            sent = [(entry.key, entry.record) for entry in entries if entry.record is not None]
            columns = ([key[place] for key, _ in sent] for place in range(3))
            await connection.execute(
                _SQL["again"],
                *columns,
                [record["k"] for _, record in sent],
                [record["version"] for _, record in sent],
                [record["s"][:_HEAD_BYTES] for _, record in sent],
            )

    async def listen(self, wake: Callable[[], None]) -> None:
        """Call `wake` whenever a process notifies of new entries, until the connection is lost.

        It also calls `wake` once when it begins to listen, because earlier notifications are lost.

        Args:
            wake: Called without arguments.

        Raises:
            DatabaseUnavailable: The server can't be reached.
        """
        await self._database.listen(CHANNEL, lambda _: wake(), listening=wake)

    async def waiting(self) -> int:
        """Return the number of entries.

        Raises:
            StorageError: The database does not answer.
        """
        async with self._database.connection(EVERY_NAMESPACE) as connection:
            row = await connection.fetchrow(_SQL["waiting"])
        return int(row["runs"]) if row is not None else 0

    async def add_all(self) -> AsyncIterator[int]:
        """Put all runs into the outbox, piece by piece; yield their number so far.

        Raises:
            StorageError: The database does not answer. Run it again.
        """
        after, added = BEFORE_ALL, 0
        while True:
            async with self._database.transaction(EVERY_NAMESPACE) as connection:
                rows = await connection.fetch(_SQL["records"], *after, _PIECE)
                keys: list[RunKey] = [(row["shard_id"], row["namespace_id"], row["id"]) for row in rows]
                if keys:
                    await add_to_outbox(connection, keys)
            if not keys:
                return
            after, added = keys[-1], added + len(keys)
            yield added

    async def forget_deletes(self, *, older_than: timedelta) -> None:
        """Forget old deletions that are not in the outbox any more.

        Args:
            older_than: The age of a deletion after which no late write of an older version can arrive.

        Raises:
            StorageError: The database does not answer.
        """
        async with self._database.connection(EVERY_NAMESPACE) as connection:
            await connection.execute(_SQL["forget_deletes"], older_than)
