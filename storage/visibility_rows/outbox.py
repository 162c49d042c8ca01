"""The outbox: the runs whose document in the search index may be older than their visibility record."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, TypeAlias
from uuid import UUID

from strongroom.storage.engine.connection import is_distributed
from strongroom.storage.engine.queries import load_queries
from strongroom.storage.engine.row_level_security import EVERY_NAMESPACE
from strongroom.storage.engine.server_clock import SteadyClock

from .by_shard import fetch_by_shard
from .notification import CHANNEL

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Sequence
    from datetime import datetime

    from strongroom.storage.engine.connection import Connection, Row
    from strongroom.storage.engine.database import Database

_SQL = load_queries("visibility_rows/outbox")
_PIECE = 1000
_HEAD_BYTES = 32
"""The number of leading bytes that are compared. They include the nonce, so they differ for every sealed value."""

RETRY = (timedelta(seconds=30), timedelta(hours=1))
"""First and longest time until a refused document is sent again."""

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
        refusals: How often the index refused the run's document. It is then sent alone.
        record: The row of `visibility_records` with its tokens; None if the record was deleted.
        deleted_version: The version with which the record was deleted; None if it was not deleted, or the deletion is forgotten.
    """

    key: RunKey
    stamp: UUID
    record: Row | None
    deleted_version: int | None
    refusals: int = 0


@dataclass(frozen=True, slots=True)
class RefusedRun:
    """A run whose document the index refuses.

    Attributes:
        key: The key of the run's record.
        refusals: How often the index refused it.
        reason: The reason of the last refusal.
        retry_at: Time at which it is sent again; None if it is sent with the next sweep, because the run has changed.
    """

    key: RunKey
    refusals: int
    reason: str
    retry_at: datetime | None


@dataclass(frozen=True, slots=True)
class OldDelete:
    """A deletion that no late write can undo any more.

    Attributes:
        key: The key of the run's record.
        version: The version of the deletion.
        exists_again: Whether the run has a record again, of a newer version.
    """

    key: RunKey
    version: int
    exists_again: bool


@dataclass(frozen=True, slots=True)
class OutboxCounts:
    """The size of the outbox.

    Attributes:
        waiting: The number of entries.
        refused: The number of them whose document the index refuses.
    """

    waiting: int
    refused: int


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
            statement = _SQL["take_on_nodes" if is_distributed(connection) else "take"]
            rows = await connection.fetch(statement, *after, runs, size, RETRY[1])
        return [
            OutboxEntry(
                _key(row),
                row["stamp"],
                row if row["version"] is not None else None,
                row["deleted_version"],
                row["refusals"],
            )
            for row in rows
        ]

    def steady_clock(self, seconds: float) -> SteadyClock:
        """Return what notices a jump of the database server's clock in the last seconds."""
        return SteadyClock(self._database, seconds)

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
            await fetch_by_shard(connection, _SQL["done"], [*columns, [entry.stamp for entry in entries]])
            sent = [(entry.key, entry.record) for entry in entries if entry.record is not None]
            compared = (
                *([key[place] for key, _ in sent] for place in range(3)),
                [record["k"] for _, record in sent],
                [record["version"] for _, record in sent],
                [record["s"][:_HEAD_BYTES] for _, record in sent],
            )
            await fetch_by_shard(connection, _SQL["again"], compared)

    async def listen(self, wake: Callable[[], None]) -> None:
        """Call `wake` whenever a process notifies of new entries, until the connection is lost.

        It also calls `wake` once when it begins to listen, because earlier notifications are lost.

        Args:
            wake: Called without arguments.

        Raises:
            DatabaseUnavailable: The server can't be reached.
        """
        await self._database.listen(CHANNEL, lambda _: wake(), listening=wake)

    async def set_aside(
        self, refused: Sequence[tuple[OutboxEntry, str]], *, retry: tuple[timedelta, timedelta] = RETRY
    ) -> None:
        """Set runs aside whose documents the index refuses, so that the others are delivered. They are sent again later.

        Args:
            refused: Each entry, as `take` returned it, with the reason.
            retry: First and longest time until a document is sent again. The time doubles with each refusal.

        Raises:
            StorageError: The database does not answer.
        """
        keys = [entry.key for entry, _ in refused]
        columns = ([key[place] for key in keys] for place in range(3))
        stamps, reasons = [entry.stamp for entry, _ in refused], [reason for _, reason in refused]
        async with self._database.connection(EVERY_NAMESPACE) as connection:
            await fetch_by_shard(connection, _SQL["set_aside"], [*columns, stamps, reasons], after=retry)

    async def refused(self, *, limit: int) -> list[RefusedRun]:
        """Return the runs whose documents the index refuses, the most often refused ones first.

        Args:
            limit: Maximum number of runs.

        Raises:
            StorageError: The database does not answer.
        """
        async with self._database.connection(EVERY_NAMESPACE) as connection:
            rows = await connection.fetch(_SQL["refused"], limit)
        return [RefusedRun(_key(row), row["refusals"], row["refusal"] or "", row["retry_at"]) for row in rows]

    async def waiting(self) -> int:
        """Return the number of entries.

        Raises:
            StorageError: The database does not answer.
        """
        return (await self.counts()).waiting

    async def counts(self) -> OutboxCounts:
        """Return the number of entries, and of those whose document the index refuses.

        Raises:
            StorageError: The database does not answer.
        """
        async with self._database.connection(EVERY_NAMESPACE) as connection:
            row = await connection.fetchrow(_SQL["waiting"])
        return OutboxCounts(row["runs"], row["refused"]) if row is not None else OutboxCounts(0, 0)

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

    async def old_deletes(self, *, older_than: timedelta, runs: int) -> list[OldDelete]:
        """Return the oldest remembered deletions whose runs are not in the outbox.

        Args:
            older_than: The age of a deletion after which no late write of an older version can arrive.
            runs: Maximum number of runs.

        Raises:
            StorageError: The database does not answer.
        """
        async with self._database.connection(EVERY_NAMESPACE) as connection:
            rows = await connection.fetch(_SQL["old_deletes"], older_than, runs)
        return [OldDelete(_key(row), row["version"], row["exists_again"]) for row in rows]

    async def forget_deletes(self, deletes: Sequence[OldDelete]) -> None:
        """Forget deletions that the index has forgotten, except those of runs that were deleted or created again meanwhile.

        Args:
            deletes: The deletions, as `old_deletes` returned them.

        Raises:
            StorageError: The database does not answer.
        """
        gone = [each.key for each in deletes if not each.exists_again]
        async with self._database.connection(EVERY_NAMESPACE) as connection:
            await fetch_by_shard(
                connection, _SQL["created_again"], [[key[place] for key in gone] for place in range(3)]
            )
            columns = ([each.key[place] for each in deletes] for place in range(3))
            await fetch_by_shard(connection, _SQL["forget_deletes"], [*columns, [each.version for each in deletes]])


def _key(row: Row) -> RunKey:
    return row["shard_id"], UUID(bytes=row["namespace_id"].bytes), row["id"]
