"""Rows of queues that did not open, kept as they were found.

A queue goes on without a damaged row, and its reader then deletes a range that includes the row. So the row is copied before a page
is returned without it. The copy shows what was altered, and a version that can open it finds it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from strongroom.kms import IntegrityError, UnsupportedFormat
from strongroom.storage.engine.queries import load_queries
from strongroom.storage.engine.row_level_security import EVERY_NAMESPACE
from strongroom.storage.schema.table import key_text
from strongroom.storage.schema.tables import TABLES

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import datetime
    from uuid import UUID

    from strongroom.kms import RecordKey, RecordKind, StrongroomError
    from strongroom.storage.engine.database import Database

DAMAGED = (IntegrityError, UnsupportedFormat)
"""Errors of rows that were altered, moved or written by another version. No key can open them."""
_SQL = load_queries("cell/damaged_rows")
_TABLES = {sealed.kind: (table.name, sealed.parts) for table in TABLES for sealed in table.sealed}
_MOST_REMEMBERED = 10_000


class DamagedRow(NamedTuple):
    """A row that did not open.

    Attributes:
        namespace_id: The namespace in the row.
        key: The parts of the sealed value's key.
        data: The sealed value as it was found.
        error: The error of opening it.
    """

    namespace_id: UUID
    key: RecordKey
    data: bytes
    error: StrongroomError


@dataclass(frozen=True, slots=True)
class KeptRow:
    """A row that is kept.

    Attributes:
        table: The table in which it was found.
        partition: The first column of its key: the number of the shard in rows, the hash of a task queue, or the type of a queue.
        namespace_id: The namespace in the row.
        key: The other columns of its key, as `name=value`. Names of a tenant are tokens in hex.
        reason: The class of the error of opening it.
        found_at: The time at which it was found, in UTC.
        size: The size of the sealed value, in bytes.
    """

    table: str
    partition: int
    namespace_id: UUID
    key: str
    reason: str
    found_at: datetime
    size: int


class DamagedRows:
    """Keeps damaged rows, and lists them.

    Args:
        database: The cell's database.
    """

    def __init__(self, database: Database) -> None:
        self._database = database
        self._remembered: set[tuple[str, object, UUID, str]] = set()
        """Table, partition, namespace and key of rows that are kept."""

    async def keep(self, kind: RecordKind, rows: Sequence[DamagedRow]) -> None:
        """Copy rows, before a page is returned without them. Rows that this process has copied before cost nothing.

        Args:
            kind: The record kind of the rows.
            rows: The rows.

        Raises:
            DatabaseUnavailable: The rows may not be copied. The page must not be returned.
        """
        table, parts = _TABLES[kind]
        keyed = {(table, row.key[0], row.namespace_id, key_text(parts[1:], row.key[1:])): row for row in rows}
        fresh = {key: row for key, row in keyed.items() if key not in self._remembered}
        if not fresh:
            return
        columns = [(*key[1:], type(row.error).__name__, row.data) for key, row in fresh.items()]
        async with self._database.connection(EVERY_NAMESPACE) as connection:
            await connection.execute(_SQL["keep"], table, *map(list, zip(*columns, strict=True)))
        if len(self._remembered) + len(fresh) > _MOST_REMEMBERED:
            self._remembered.clear()
        self._remembered.update(fresh)

    async def counts(self) -> Mapping[str, int]:
        """Return the number of kept rows of each table that has some.

        Raises:
            DatabaseUnavailable: The database can't be reached.
        """
        async with self._database.connection(EVERY_NAMESPACE) as connection:
            rows = await connection.fetch(_SQL["counts"])
        return {row["table_name"]: row["rows"] for row in rows}

    async def newest(self, limit: int) -> list[KeptRow]:
        """Return the rows that were found last, the newest first.

        Args:
            limit: The maximum number of rows.

        Raises:
            DatabaseUnavailable: The database can't be reached.
        """
        async with self._database.connection(EVERY_NAMESPACE) as connection:
            rows = await connection.fetch(_SQL["list"], limit)
        return [
            KeptRow(
                table=row["table_name"],
                partition=row["partition"],
                namespace_id=row["namespace_id"],
                key=row["key"],
                reason=row["reason"],
                found_at=row["found_at"],
                size=row["size"],
            )
            for row in rows
        ]

    async def forget(self, before: datetime) -> int:
        """Delete the rows that were found before a time, and return their number.

        Args:
            before: The time.

        Raises:
            DatabaseUnavailable: The database can't be reached.
        """
        async with self._database.connection(EVERY_NAMESPACE) as connection:
            tag = await connection.execute(_SQL["forget"], before)
        return int(tag.rpartition(" ")[2])
