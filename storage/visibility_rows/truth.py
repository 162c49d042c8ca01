"""The visibility records that a search index outside the database should hold, for jobs that compare the two."""

from __future__ import annotations

from typing import TYPE_CHECKING
from uuid import UUID

from strongroom.storage.engine.connection import is_distributed
from strongroom.storage.engine.queries import load_queries
from strongroom.storage.engine.row_level_security import EVERY_NAMESPACE

from .outbox import add_to_outbox

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
    """Reads the sealed visibility records of all namespaces. Every method raises `StorageError` if the database does not answer.

    A row has the columns of `visibility_records`, `waiting`: whether the run is in the outbox at the same moment, and `refused`:
    whether it is there because the search index refused its document.

    Args:
        database: The database.
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    async def page(self, after: RunKey, *, runs: int, size: int) -> Sequence[Row]:
        """Return the next records in the order of their key.

        Args:
            after: The key after which to continue; `BEFORE_ALL` for the first records.
            runs: Maximum number of records.
            size: Maximum bytes of sealed records, without the last one.

        Raises:
            StorageError: The database does not answer.
        """
        async with self._database.connection(EVERY_NAMESPACE) as connection:
            statement = _SQL["page_on_nodes" if is_distributed(connection) else "page"]
            return await connection.fetch(statement, *after, runs, size)

    async def deletions(self, after: RunKey, *, runs: int) -> Sequence[tuple[RunKey, int]]:
        """Return the next deletions that are remembered, in the order of their key: the key and the version of each.

        Args:
            after: The key after which to continue; `BEFORE_ALL` for the first ones.
            runs: Maximum number of deletions.

        Raises:
            StorageError: The database does not answer.
        """
        async with self._database.connection(EVERY_NAMESPACE) as connection:
            rows = await connection.fetch(_SQL["deletions"], *after, runs)
        return [(visibility_key(row), row["version"]) for row in rows]

    async def again(self, keys: Iterable[RunKey]) -> Mapping[RunKey, Row]:
        """Return the current rows of records. Deleted records are left out.

        Args:
            keys: The keys of the records.

        Raises:
            StorageError: The database does not answer.
        """
        columns = [list(column) for column in zip(*keys, strict=True)] or [[], [], []]
        async with self._database.connection(EVERY_NAMESPACE) as connection:
            return {visibility_key(row): row for row in await connection.fetch(_SQL["again"], *columns)}

    async def add_to_outbox(self, keys: Sequence[RunKey]) -> None:
        """Put runs into the outbox, so that their documents are written again or deleted.

        Args:
            keys: The keys of the runs.

        Raises:
            StorageError: The database does not answer.
        """
        async with self._database.transaction(EVERY_NAMESPACE) as connection:
            await add_to_outbox(connection, keys)

    async def owned(
        self, documents: Sequence[tuple[bytes, int | None, int | None]], namespaces: Iterable[UUID]
    ) -> frozenset[bytes]:
        """Return the ids that belong to a record, or to a run in the outbox.

        Args:
            documents: The id, the close bucket and the start bucket of each document.
            namespaces: The namespaces that the records may belong to.

        Raises:
            StorageError: The database does not answer.
        """
        columns = [list(column) for column in zip(*documents, strict=True)] or [[], [], []]
        async with self._database.connection(EVERY_NAMESPACE) as connection:
            found = {row["id"] for row in await connection.fetch(_SQL["owned"], *columns, list(namespaces))}
            if missing := [document[0] for document in documents if document[0] not in found]:
                # The outbox is read after the records, so that a run deleted in between is found in one of them.
                found |= {row["id"] for row in await connection.fetch(_SQL["waiting"], missing)}
        return frozenset(found)

    async def namespaces(self) -> frozenset[UUID]:
        """Return the ids of all namespaces, including shredded ones.

        Raises:
            StorageError: The database does not answer.
        """
        async with self._database.connection(EVERY_NAMESPACE) as connection:
            return frozenset(
                UUID(bytes=row["namespace_id"].bytes) for row in await connection.fetch(_SQL["namespaces"])
            )
