"""Open some rows of a sealed column, seal them under the active key, and write those that are still as they were read."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING

from strongroom.kms import IntegrityError, KmsError, UnsupportedFormat
from strongroom.storage.engine.queries import load_queries
from strongroom.storage.errors import Timeout
from strongroom.storage.schema.citus import DISTRIBUTED_TABLES
from strongroom.storage.sealing import OFF_LOOP_BYTES
from strongroom.storage.visibility_rows.outbox import announce

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from uuid import UUID

    from strongroom.kms import Key, NamespaceKeys, RecordKind
    from strongroom.storage.engine.connection import Connection, Row
    from strongroom.storage.engine.database import Database

    from .sealed_columns import SealedColumn

_SQL = load_queries("keys/reseal")
_VISIBILITY = "visibility_records"
_CONFINED = 1
"""Place of the parameter that confines a statement to one shard, where it is confined."""


@dataclass(frozen=True, slots=True)
class UnreadableRow:
    """A row whose sealed value does not open.

    Attributes:
        column: table and column.
        key: its primary key: numbers, ids, tokens and names of the operator's, nothing that a tenant wrote.
    """

    column: str
    key: Mapping[str, object]

    def __str__(self) -> str:
        parts = (f"{name}={value.hex() if isinstance(value, bytes) else value}" for name, value in self.key.items())
        return f"{self.column}: {' '.join(parts)}"


@dataclass(frozen=True, slots=True)
class ResealedRows:
    """What became of some rows.

    Attributes:
        written: how many are sealed anew.
        missed: how many somebody else changed, or holds; they are to be looked at again.
        unreadable: those that do not open.
    """

    written: int
    missed: int
    unreadable: Sequence[UnreadableRow]


async def reseal_rows(
    database: Database,
    keys: NamespaceKeys,
    column: SealedColumn,
    rows: Sequence[Row],
    *,
    outbox: bool,
    distributed: bool,
) -> ResealedRows:
    """Seal rows of one column anew. A concurrent writer wins, and nothing of his is lost.

    Args:
        database: with a limit for waiting for locks.
        keys: of the namespace; active is what the rows are sealed with.
        column: which.
        rows: as `SealedPages` yields them.
        outbox: whether a search index outside the database is to hear of records of visibility.
        distributed: whether the tables are spread over a Citus cluster.

    Raises:
        KmsError: there is no active key.
        SealingLimitExceeded: its uses are spent (AES-256-GCM).
        StorageError: the database does not answer; what was written so far is whole.
    """
    if sum(row["size"] for row in rows) < OFF_LOOP_BYTES:
        renewed, unreadable = _renew(keys, column, rows)
    else:
        renewed, unreadable = await asyncio.to_thread(_renew, keys, column, rows)
    write = _Write(
        database, keys.namespace_id, column, outbox=outbox and column.table == _VISIBILITY, distributed=distributed
    )
    written = await write.together(renewed)
    missed = 0
    if len(written) < len(renewed):
        names = column.key_names
        for row, new in renewed:
            if tuple(row[name] for name in names) not in written and not await write.alone(row, new):
                missed += 1
    return ResealedRows(len(renewed) - missed, missed, unreadable)


_Renewed = list[tuple["Row", bytes]]


def _renew(keys: NamespaceKeys, column: SealedColumn, rows: Sequence[Row]) -> tuple[_Renewed, Sequence[UnreadableRow]]:
    opened = _open_each(keys, column.kind, list(zip(rows, column.keys_of(rows), strict=True)))
    sealed = keys.seal_many(column.kind, [(key, plaintext) for _, key, plaintext in opened])
    renewed = [(row, new) for (row, _, _), new in zip(opened, sealed, strict=True)]
    if len(renewed) == len(rows):
        return renewed, ()
    whole = {id(row) for row, _ in renewed}
    name = f"{column.table}.{column.column}"
    return renewed, [
        UnreadableRow(name, {part: row[part] for part in column.key_names}) for row in rows if id(row) not in whole
    ]


def _open_each(keys: NamespaceKeys, kind: RecordKind, rows: Sequence[tuple[Row, Key]]) -> list[tuple[Row, Key, bytes]]:
    """Open those of some rows that open: all together, and where that fails each half by itself."""
    try:
        plaintexts = keys.open_many(kind, [(key, row["sealed"]) for row, key in rows])
    except (IntegrityError, UnsupportedFormat, KmsError):  # the last: a version that is unknown, disabled or destroyed
        if len(rows) == 1:
            return []
        half = len(rows) // 2
        return _open_each(keys, kind, rows[:half]) + _open_each(keys, kind, rows[half:])
    return [(row, key, plaintext) for (row, key), plaintext in zip(rows, plaintexts, strict=True)]


class _Write:
    """Writes the rows of one column."""

    def __init__(
        self, database: Database, owner: UUID, column: SealedColumn, *, outbox: bool, distributed: bool
    ) -> None:
        self._database = database
        self._owner = owner
        self._column = column
        self._outbox = outbox
        self._lead = DISTRIBUTED_TABLES.get(column.table) if distributed else None
        self._confined = self._lead is not None

    async def together(self, rows: _Renewed) -> set[tuple[object, ...]]:
        """Write rows that nobody holds, without waiting; return the keys of those that were written."""
        if self._lead is None:
            return await self._write(rows, patient=False) if rows else set()
        written = set()
        for lead in dict.fromkeys(row[self._lead] for row, _ in rows):
            of_lead = [(row, new) for row, new in rows if row[self._lead] == lead]
            written |= await self._write(of_lead, patient=False)
        return written

    async def alone(self, row: Row, new: bytes) -> bool:
        """Write one row, and wait for whoever holds it; whether it was still as it was read.

        Nothing else is held meanwhile, so it is in no circle of waiters. A row that is held for too long is not written.
        """
        try:
            return bool(await self._write([(row, new)], patient=True))
        except Timeout as error:
            if error.may_have_been_committed:
                raise
            return False

    async def _write(self, rows: _Renewed, *, patient: bool) -> set[tuple[object, ...]]:
        column = self._column
        arrays = [[row[name] for row, _ in rows] for name in column.key_names]
        arrays += [[row["sealed"] for row, _ in rows], [new for _, new in rows]]
        confined = (rows[0][0][self._lead],) if self._lead is not None else ()
        statement = write_statement(column, patient=patient, confined=self._confined)
        if not self._outbox:
            async with self._database.connection(self._owner) as connection:
                return self._keys(await connection.fetch(statement, *confined, *arrays))
        async with self._database.transaction(self._owner) as connection:
            written = self._keys(await connection.fetch(statement, *confined, *arrays))
            await _announce(connection, written)
        return written

    def _keys(self, rows: Sequence[Row]) -> set[tuple[object, ...]]:
        names = self._column.key_names
        return {tuple([row[name] for name in names]) for row in rows}


async def _announce(connection: Connection, written: set[tuple[object, ...]]) -> None:
    if written:
        await announce(connection, sorted(written))  # type: ignore[arg-type] # shard, namespace and id: the table's key


def write_statement(column: SealedColumn, *, patient: bool, confined: bool) -> str:
    """Return the statement that writes rows. All that is put into it are names of our own; values are parameters.

    Args:
        column: whose.
        patient: whether it waits for who holds a row, or leaves the row alone.
        confined: whether it is for one shard, given as the first parameter.
    """
    first = _CONFINED + confined
    types = (*(kind for _, kind in column.key), "bytea", "bytea")
    lead = DISTRIBUTED_TABLES.get(column.table)
    names = column.key_names
    return _SQL["write"].format(
        table=column.table,
        column=column.column,
        key=", ".join(f"t.{name}" for name in names),
        names=", ".join(names),
        arrays=", ".join(f"${place}::{kind}[]" for place, kind in enumerate(types, first)),
        same_as_r=" AND ".join(f"t.{name} = r.{name}" for name in names),
        same_as_l=" AND ".join(f"t.{name} = l.{name}" for name in names),
        confined=f" AND t.{lead} = ${_CONFINED}" if confined else "",
        patience="" if patient else " SKIP LOCKED",
    )
