"""Marks that a database and its search index share, so that a restored copy of either is noticed.

Each process that writes to the index has a counter. Before a bulk write it is increased in the database, and the index gets the new
value with the documents. If the index has a value that the database does not know, it has documents that the database does not know.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple, TypeAlias
from uuid import UUID, uuid4

from strongroom.storage.engine.queries import load_queries
from strongroom.storage.engine.row_level_security import NO_NAMESPACE

from .builds import IndexBuilds

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from strongroom.storage.engine.connection import Row
    from strongroom.storage.engine.database import Database

_SQL = load_queries("visibility_rows/marks")

Mark: TypeAlias = tuple[UUID, int]
"""A writer, and the value of its counter."""


class Advance(NamedTuple):
    """What a writer needs for a bulk write.

    Attributes:
        mark: The mark that goes with it.
        target: The name of a second index that is being built and gets the same documents; None for none.
        build: The id of its build.
    """

    mark: Mark
    target: str | None
    build: UUID | None


@dataclass(frozen=True, slots=True)
class WriterMark:
    """The counter of a writer in the database.

    Attributes:
        number: The value of the counter.
        written: The highest value that the index has confirmed.
    """

    number: int
    written: int


class IndexMarks:
    """The marks in the database, and the counter of this process. Every method raises `StorageError` if the database does not answer.

    Args:
        database: The database.
    """

    def __init__(self, database: Database) -> None:
        self._database = database
        self._lock = asyncio.Lock()
        self._last: Mark | None = None

    async def advance(self) -> Advance:
        """Increase the counter of this process. If the database was restored, its counter is another one, and a new writer begins.

        Raises:
            StorageError: The database does not answer.
        """
        async with self._lock, self._database.connection(NO_NAMESPACE) as connection:
            if self._last is not None:
                writer, number = self._last
                if (row := await connection.fetchrow(_SQL["advance"], writer, number)) is not None:
                    self._last = (writer, number + 1)
                    return self._advance(row)
            writer = uuid4()
            row = await connection.fetchrow(_SQL["begin"], writer)
            self._last = (writer, 1)
            assert row is not None  # noqa: S101 - a new writer has no row
            return self._advance(row)

    def _advance(self, row: Row) -> Advance:
        assert self._last is not None  # noqa: S101 - the caller sets it
        build = row["build"]
        return Advance(self._last, row["target"], None if build is None else UUID(bytes=build.bytes))

    async def confirm(self, mark: Mark) -> None:
        """Record that the index has a mark.

        Raises:
            StorageError: The database does not answer.
        """
        async with self._database.connection(NO_NAMESPACE) as connection:
            await connection.execute(_SQL["confirm"], *mark)

    async def end_build(self, build: UUID) -> None:
        """End a build whose index no longer exists.

        Args:
            build: The id of the build.

        Raises:
            StorageError: The database does not answer.
        """
        await IndexBuilds(self._database).end(build)

    async def all(self) -> Mapping[UUID, WriterMark]:
        """Return the marks of all writers.

        Raises:
            StorageError: The database does not answer.
        """
        async with self._database.connection(NO_NAMESPACE) as connection:
            rows = await connection.fetch(_SQL["all"])
        return {UUID(bytes=row["writer"].bytes): WriterMark(row["number"], row["written"]) for row in rows}

    async def forget(self, marks: Sequence[Mark]) -> None:
        """Forget marks that have not changed.

        Raises:
            StorageError: The database does not answer.
        """
        async with self._database.connection(NO_NAMESPACE) as connection:
            await connection.execute(_SQL["forget"], [writer for writer, _ in marks], [number for _, number in marks])
