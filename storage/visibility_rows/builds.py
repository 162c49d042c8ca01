"""The search index that is being built next to the one that answers searches.

Every indexer reads the name of the new index in the statement that increases its counter, and then writes to both. So a record that
changes during the build reaches the new index, and the build reads every record once.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING
from uuid import UUID, uuid4

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
        build: The id of the build. Names of indices are used again after an index was deleted.
        target: The name of the index.
        moving: Whether the index is complete, so that the alias may lead to it at any time. Such a build is only completed.
        after: The key up to which all records were written to it; `BEFORE_ALL` for none.
    """

    build: UUID
    target: str
    moving: bool
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
        after = BEFORE_ALL
        if row["after_id"] is not None:
            after = (row["after_shard_id"], UUID(bytes=row["after_namespace_id"].bytes), row["after_id"])
        return IndexBuild(UUID(bytes=row["build"].bytes), row["target"], row["moving"], after)

    async def begin(self, target: str) -> IndexBuild | None:
        """Begin a build, for all indexers, and return it; None if there is another one.

        Args:
            target: The name of the new index, which exists.

        Raises:
            StorageError: The database does not answer.
        """
        build = IndexBuild(uuid4(), target, moving=False, after=BEFORE_ALL)
        return build if await self._changes("begin", build.build, target) else None

    async def progress(self, build: UUID, after: RunKey) -> bool:
        """Record how far a build has come; return False if it was ended, or if its index is complete.

        Args:
            build: The id of the build.
            after: The key of the last record that was written to its index.

        Raises:
            StorageError: The database does not answer.
        """
        return await self._changes("progress", build, *after)

    async def move(self, build: UUID) -> bool:
        """Record that the index of a build is complete, before the alias leads to it; return False if the build was ended.

        Args:
            build: The id of the build.

        Raises:
            StorageError: The database does not answer.
        """
        return await self._changes("move", build)

    async def stop(self, build: UUID) -> bool:
        """End a build whose index the alias does not lead to; return False if it was ended, or if its index is complete.

        Args:
            build: The id of the build.

        Raises:
            StorageError: The database does not answer.
        """
        return await self._changes("stop", build)

    async def end(self, build: UUID) -> None:
        """End a build. Indexers no longer write to its index by its name.

        Args:
            build: The id of the build.

        Raises:
            StorageError: The database does not answer.
        """
        async with self._database.connection(NO_NAMESPACE) as connection:
            await connection.execute(_SQL["end"], build)

    async def _changes(self, statement: str, *arguments: object) -> bool:
        """Return whether a statement changed the row."""
        async with self._database.connection(NO_NAMESPACE) as connection:
            return await connection.fetchrow(_SQL[statement], *arguments) is not None
