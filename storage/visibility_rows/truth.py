"""What a search index outside the database should hold: the records with their tokens, for who compares the two."""

from __future__ import annotations

from typing import TYPE_CHECKING
from uuid import UUID

from strongroom.storage.engine.queries import load_queries
from strongroom.storage.engine.row_level_security import EVERY_NAMESPACE

from .outbox import announce

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from strongroom.storage.engine.connection import Row
    from strongroom.storage.engine.database import Database

    from .outbox import RunKey

_SQL = load_queries("visibility_rows/truth")


def visibility_key(row: Row) -> RunKey:
    """Return the key of a record's row."""
    return row["shard_id"], UUID(bytes=row["namespace_id"].bytes), row["id"]


class VisibilityTruth:
    """Reads the visibility records of all namespaces, sealed as they are.

    A row has the columns of `visibility_records`, and `waiting`: whether it stands in the outbox, seen at the same moment.

    Args:
        database: where they are.
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    async def page(self, after: RunKey, *, runs: int, size: int) -> Sequence[Row]:
        """Return the next records in the order of their key.

        Args:
            after: where to go on.
            runs: how many at most.
            size: bytes of sealed records at most, but for the last one.
        """
        async with self._database.connection(EVERY_NAMESPACE) as connection:
            return await connection.fetch(_SQL["page"], *after, runs, size)

    async def again(self, keys: Iterable[RunKey]) -> Mapping[RunKey, Row]:
        """Return records as they are now, without those that are gone."""
        columns = [list(column) for column in zip(*keys, strict=True)] or [[], [], []]
        async with self._database.connection(EVERY_NAMESPACE) as connection:
            return {visibility_key(row): row for row in await connection.fetch(_SQL["again"], *columns)}

    async def announce(self, keys: Sequence[RunKey]) -> None:
        """Put runs into the outbox, so that their documents are written anew, or deleted."""
        async with self._database.transaction(EVERY_NAMESPACE) as connection:
            await announce(connection, keys)

    async def owned(
        self, places: Sequence[tuple[bytes, int | None, int | None]], namespaces: Iterable[UUID]
    ) -> frozenset[bytes]:
        """Return which ids belong to a record, or to a run that waits in the outbox.

        Args:
            places: id, b1 and b2 of documents.
            namespaces: where their records may be.
        """
        columns = [list(column) for column in zip(*places, strict=True)] or [[], [], []]
        async with self._database.connection(EVERY_NAMESPACE) as connection:
            found = {row["id"] for row in await connection.fetch(_SQL["owned"], *columns, list(namespaces))}
            if missing := [place[0] for place in places if place[0] not in found]:
                # After the records: what was deleted before that was either told by now, or still waits.
                found |= {row["id"] for row in await connection.fetch(_SQL["waiting"], missing)}
        return frozenset(found)

    async def namespaces(self) -> frozenset[UUID]:
        """Return the ids of all namespaces that are or were."""
        async with self._database.connection(EVERY_NAMESPACE) as connection:
            return frozenset(
                UUID(bytes=row["namespace_id"].bytes) for row in await connection.fetch(_SQL["namespaces"])
            )
