"""What a search index outside the database has yet to be told: which runs changed, and their newest records."""

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
"""Of a sealed value: header and nonce, which tell it from any other."""

RunKey: TypeAlias = tuple[int, UUID, bytes]
"""Shard, namespace and id of a run's record."""
BEFORE_ALL: RunKey = (-(2**31), UUID(int=0), b"")


async def announce(connection: Connection, runs: Sequence[RunKey]) -> None:
    """Say in the caller's transaction that the documents of runs are to be written anew."""
    ordered = sorted(runs)
    await connection.execute(_SQL["add"], *([run[place] for run in ordered] for place in range(3)))


@dataclass(frozen=True, slots=True)
class OutboxEntry:
    """A run that the index is to hear of.

    Attributes:
        key: of its record.
        stamp: of the change; a later one has another.
        record: the row of `visibility_records`, tokens included; None where there is none any more.
        deleted_version: the version with which it was deleted; None where that is forgotten, or it never was.
    """

    key: RunKey
    stamp: UUID
    record: Row | None
    deleted_version: int | None


class VisibilityOutbox:
    """Reads and empties the outbox.

    Args:
        database: where it is.
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    async def take(self, after: RunKey, *, runs: int, size: int) -> list[OutboxEntry]:
        """Return the next runs in the order of their key; they stay until they are `done`.

        Args:
            after: where to go on.
            runs: how many at most.
            size: bytes of sealed records at most, but for the last one.
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
        """Take runs off the list, but for those that changed meanwhile.

        An index takes an equal version in place of another, so what was sent may have come after a record of a newer epoch, or one
        that was sealed anew, that somebody else sent: such runs go on the list again.
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

    async def listen(self, heard: Callable[[], None]) -> None:
        """Call back whenever some process has written, until the connection for that is lost.

        It calls back once when it begins, too: what was written while nobody listened was told to nobody.

        Raises:
            DatabaseUnavailable: the server can't be reached.
        """
        await self._database.listen(CHANNEL, lambda _: heard(), listening=heard)

    async def waiting(self) -> int:
        """Return how many runs the index is yet to hear of."""
        async with self._database.connection(EVERY_NAMESPACE) as connection:
            row = await connection.fetchrow(_SQL["waiting"])
        return int(row["runs"]) if row is not None else 0

    async def add_all(self) -> AsyncIterator[int]:
        """Put all runs on the list, piece by piece; yield how many so far."""
        after, added = BEFORE_ALL, 0
        while True:
            async with self._database.transaction(EVERY_NAMESPACE) as connection:
                rows = await connection.fetch(_SQL["records"], *after, _PIECE)
                keys: list[RunKey] = [(row["shard_id"], row["namespace_id"], row["id"]) for row in rows]
                if keys:
                    await announce(connection, keys)
            if not keys:
                return
            after, added = keys[-1], added + len(keys)
            yield added

    async def forget_deletes(self, *, older_than: timedelta) -> None:
        """Forget deletions that the index has heard of, and that no late write can meet any more."""
        async with self._database.connection(EVERY_NAMESPACE) as connection:
            await connection.execute(_SQL["forget_deletes"], older_than)
