"""The search index that is being built next to the one that answers searches.

Every indexer reads the name of the new index in the statement that increases its counter, and then writes to both. So a record that
changes during the build reaches the new index, and the build reads every record once.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING
from uuid import UUID

from strongroom.storage.engine.queries import load_queries
from strongroom.storage.engine.row_level_security import NO_NAMESPACE

from .outbox import BEFORE_ALL

if TYPE_CHECKING:
    from strongroom.storage.engine.database import Database

    from .outbox import RunKey

_SQL = load_queries("visibility_rows/builds")


@dataclass(frozen=True, slots=True)
class IndexBuild:
    """An index that is being built.

    Attributes:
        target: The name of the index.
        after: The key of the last record of the records that were written to it without a gap.
    """

    target: str
    after: RunKey


class IndexBuilds:
    """The build of the cell. There is one at most. Every method raises `StorageError` if the database does not answer.

    Args:
        database: The database.
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    async def current(self) -> IndexBuild | None:
        """Return the build; None if there is none.

        Raises:
            StorageError: The database does not answer.
        """
        async with self._database.connection(NO_NAMESPACE) as connection:
            row = await connection.fetchrow(_SQL["current"])
        if row is None:
            return None
        if row["after_id"] is None:
            return IndexBuild(row["target"], BEFORE_ALL)
        return IndexBuild(
            row["target"], (row["after_shard_id"], UUID(bytes=row["after_namespace_id"].bytes), row["after_id"])
        )

    async def begin(self, target: str) -> bool:
        """Begin a build, for all indexers; return False if there is another one.

        Args:
            target: The name of the new index, which exists.

        Raises:
            StorageError: The database does not answer.
        """
        async with self._database.connection(NO_NAMESPACE) as connection:
            return await connection.fetchrow(_SQL["begin"], target) is not None

    async def progress(self, target: str, after: RunKey) -> bool:
        """Record how far a build has come; return False if it was ended.

        Args:
            target: The name of the new index.
            after: The key of the last record that was written to it.

        Raises:
            StorageError: The database does not answer.
        """
        async with self._database.connection(NO_NAMESPACE) as connection:
            return await connection.fetchrow(_SQL["progress"], target, *after) is not None

    async def end(self, target: str) -> None:
        """End a build. Indexers no longer write to its index by its name.

        Args:
            target: The name of the new index.

        Raises:
            StorageError: The database does not answer.
        """
        async with self._database.connection(NO_NAMESPACE) as connection:
            await connection.execute(_SQL["end"], target)
