"""Reseal some rows of a column: open them, seal them with the active key, and write those that no other writer has changed."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING

from strongroom.kms import IntegrityError, KmsError, UnsupportedFormat
from strongroom.kms.sealing.header import FLAGS_AT
from strongroom.kms.sealing.record_kind import of_bodies
from strongroom.storage.engine.queries import load_queries
from strongroom.storage.errors import DatabaseTimeout
from strongroom.storage.journal.entry import Changes
from strongroom.storage.journal.images import NUMBERS, TAG_BYTES, image_sql, shard_sql, tag
from strongroom.storage.journal.rows import RowImages
from strongroom.storage.schema.table import NAMESPACE, key_text
from strongroom.storage.sealing import OFF_LOOP_BYTES
from strongroom.storage.visibility_rows.outbox import add_to_outbox

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from uuid import UUID

    from strongroom.kms import NamespaceKeys, RecordKey, RecordKind
    from strongroom.storage.engine.connection import Connection, Row
    from strongroom.storage.engine.database import Database
    from strongroom.storage.journal.writer import Journal

    from .sealed_columns import SealedColumn

_SQL = load_queries("keys/reseal")
_VISIBILITY = "visibility_records"
_CONFINED = 1
"""Number of the partition's parameter in a statement that is confined to one partition."""
_KEY_AT = 17
"""The place of the key in an image, after the number of the table and the namespace."""


@dataclass(frozen=True, slots=True)
class UnreadableRow:
    """A row whose sealed value does not open.

    Attributes:
        column: The table and the column, separated by a dot.
        key: The primary key: numbers, ids, tokens and the operator's names, nothing that a tenant wrote.
    """

    column: str
    key: Mapping[str, object]

    def __str__(self) -> str:
        return f"{self.column}: {key_text(self.key, self.key.values())}"


@dataclass(frozen=True, slots=True)
class ResealedRows:
    """The result of resealing some rows.

    Attributes:
        written: The number of rows resealed.
        missed: The number of rows that another transaction changed or holds. Read them again.
        unreadable: The rows that do not open.
    """

    written: int
    missed: int
    unreadable: Sequence[UnreadableRow]


async def reseal_rows(
    database: Database,
    journal: Journal,
    keys: NamespaceKeys,
    column: SealedColumn,
    rows: Sequence[Row],
    *,
    outbox: bool,
    distributed: bool,
) -> ResealedRows:
    """Reseal rows of one column. A concurrent writer wins, so none of its changes is lost.

    Args:
        database: The database, with a limit for waiting for locks.
        journal: The journal of this process.
        keys: The keys of the namespace or cell. The active data key seals the rows.
        column: The column.
        rows: Rows as `SealedPages` yields them.
        outbox: Whether visibility records are put into the outbox of a search index.
        distributed: Whether the tables are distributed over a Citus cluster.

    Raises:
        KmsError: There is no active key.
        SealingLimitExceeded: The uses of the active AES-256-GCM key are spent.
        StorageError: The database does not answer. Each row is written completely or not at all.
    """
    if sum(row["size"] for row in rows) < OFF_LOOP_BYTES:
        renewed, unreadable = renew(keys, column, rows)
    else:
        renewed, unreadable = await asyncio.to_thread(renew, keys, column, rows)
    write = _Write(
        database,
        journal,
        keys.namespace_id,
        column,
        outbox=outbox and column.table.name == _VISIBILITY,
        distributed=distributed,
    )
    written = await write.together(renewed)
    missed = 0
    if len(written) < len(renewed):
        names = column.table.key_names
        for row, new in renewed:
            if tuple(row[name] for name in names) not in written and not await write.alone(row, new):
                missed += 1
    return ResealedRows(len(renewed) - missed, missed, unreadable)


_Renewed = list[tuple["Row", bytes]]


def renew(keys: NamespaceKeys, column: SealedColumn, rows: Sequence[Row]) -> tuple[_Renewed, Sequence[UnreadableRow]]:
    """Return each row that opens with its new sealed value, and the rows that do not open.

    Args:
        keys: The keys of the namespace or cell. The active data key seals the rows.
        column: The column.
        rows: Rows as `SealedPages` yields them.

    Raises:
        KmsError: There is no active key.
    """
    keyed = list(zip(rows, column.keys_of(rows), strict=True))
    renewed: _Renewed = []
    # The packed bodies are sealed again without changing them. Packing them again could show more of a record than its writer wanted.
    for flags in {row["sealed"][FLAGS_AT : FLAGS_AT + 1] for row in rows}:
        kind = of_bodies(column.kind, flags[0] if flags else 0)
        opened = _open_each(keys, kind, [each for each in keyed if each[0]["sealed"][FLAGS_AT : FLAGS_AT + 1] == flags])
        sealed = keys.seal_many(kind, [(key, body) for _, key, body in opened])
        renewed += [(row, new) for (row, _, _), new in zip(opened, sealed, strict=True)]
    if len(renewed) == len(rows):
        return renewed, ()
    readable = {id(row) for row, _ in renewed}
    return renewed, [
        UnreadableRow(str(column), {part: row[part] for part in column.table.key_names})
        for row in rows
        if id(row) not in readable
    ]


def _open_each(
    keys: NamespaceKeys, kind: RecordKind, rows: Sequence[tuple[Row, RecordKey]]
) -> list[tuple[Row, RecordKey, bytes]]:
    """Open all rows that can be opened. If opening them together fails, open each half by itself."""
    try:
        plaintexts = keys.open_many(kind, [(key, row["sealed"]) for row, key in rows])
    except (IntegrityError, UnsupportedFormat, KmsError):  # KmsError: a version that is unknown, disabled or destroyed
        if len(rows) == 1:
            return []
        half = len(rows) // 2
        return _open_each(keys, kind, rows[:half]) + _open_each(keys, kind, rows[half:])
    return [(row, key, plaintext) for (row, key), plaintext in zip(rows, plaintexts, strict=True)]


class _Write:
    """Writes resealed rows of one column."""

    def __init__(
        self,
        database: Database,
        journal: Journal,
        owner: UUID,
        column: SealedColumn,
        *,
        outbox: bool,
        distributed: bool,
    ) -> None:
        self._database = database
        self._journal = journal
        self._owner = owner
        self._column = column
        self._outbox = outbox
        self._partition = column.table.partition_column if distributed else None

    async def together(self, rows: _Renewed) -> set[tuple[object, ...]]:
        """Write the rows that no other transaction holds, without waiting; return the keys of the rows written."""
        if self._partition is None:
            return await self._write(rows, waits=False) if rows else set()
        written = set()
        for value in dict.fromkeys(row[self._partition] for row, _ in rows):
            of_partition = [(row, new) for row, new in rows if row[self._partition] == value]
            written |= await self._write(of_partition, waits=False)
        return written

    async def alone(self, row: Row, new: bytes) -> bool:
        """Write one row, after waiting for a transaction that holds it; return whether it was written.

        No other row is locked while it waits, so it can't deadlock. A row that has changed, or is held for too long, is not written.
        """
        try:
            return bool(await self._write([(row, new)], waits=True))
        except DatabaseTimeout as error:
            if error.may_have_been_committed:
                raise
            return False

    async def _write(self, rows: _Renewed, *, waits: bool) -> set[tuple[object, ...]]:
        arrays = [[row[name] for row, _ in rows] for name in self._column.table.key_names]
        arrays += [[row["sealed"] for row, _ in rows], [new for _, new in rows]]
        confined = () if self._partition is None else (rows[0][0][self._partition],)
        statement = write_statement(self._column, waits=waits, confined=bool(confined))
        if self._column.table.name not in NUMBERS:
            async with self._database.connection(self._owner) as connection:
                return set(self._keys(await connection.fetch(statement, *confined, *arrays)))
        async with self._database.transaction(self._owner) as connection:
            changed = await connection.fetch(statement, *confined, *arrays)
            written = self._keys(changed)
            if self._outbox:
                await _add_to_outbox(connection, set(written))
            values = dict(
                zip(self._keys([row for row, _ in rows]), ((row["sealed"], new) for row, new in rows), strict=True)
            )
            changes = resealed_rows(self._column, changed, [values[key] for key in written])
            await self._journal.write(connection, *changes)
        return set(written)

    def _keys(self, rows: Sequence[Row]) -> list[tuple[object, ...]]:
        names = self._column.table.key_names
        return [tuple([row[name] for name in names]) for row in rows]


def resealed_rows(column: SealedColumn, written: Sequence[Row], values: Sequence[tuple[bytes, bytes]]) -> list[Changes]:
    """Return the changes of a statement that resealed rows, by shard.

    Args:
        column: The column.
        written: The shard in the journal and the new image of each row.
        values: The value that was replaced in each row, and the one that took its place.

    Raises:
        IntegrityError: The database has another value in a row than the one that was written.
    """
    images = RowImages(column.table.name)
    names = [name for name in column.table.key_names if name not in {NAMESPACE, "shard_id"}]
    sealed = [each.column for each in column.table.sealed]
    after = TAG_BYTES * (len(sealed) - 1 - sealed.index(column.name))  # bytes of the tags of later columns
    changes: dict[int, Changes] = {}
    for row, (value, new) in zip(written, values, strict=True):
        image: bytes = row["image"]
        at = len(image) - after - TAG_BYTES
        has_key = image[_KEY_AT:].startswith(images.key(*[row[name] for name in names]))
        if not has_key or image[at : at + TAG_BYTES] != tag(new):
            msg = f"a row of {column.table.name} was altered in the database while it was resealed; restore it from a backup"
            raise IntegrityError(msg)
        before = image[:at] + tag(value) + image[at + TAG_BYTES :]
        of_shard = changes.setdefault(row["shard"], Changes(row["shard"]))
        of_shard.replaced.append(before)
        of_shard.images.append(image)
    return list(changes.values())


async def _add_to_outbox(connection: Connection, written: set[tuple[object, ...]]) -> None:
    if written:
        await add_to_outbox(connection, sorted(written))  # type: ignore[arg-type] # shard, namespace and id: the table's key


def write_statement(column: SealedColumn, *, waits: bool, confined: bool) -> str:
    """Return the statement that writes rows. It consists of the names in the descriptors; values are parameters.

    Args:
        column: The column.
        waits: Whether it waits for transactions that hold a row. Otherwise it leaves the row out.
        confined: Whether it is confined to one partition, which is then the first parameter.
    """
    table = column.table
    names = table.key_names
    is_journaled = table.name in NUMBERS
    types = (*(kind for _, kind in table.key), "bytea", "bytea")
    return _SQL["write"].format(
        table=table.name,
        column=column.name,
        key=", ".join(f"t.{name}" for name in names),
        names=", ".join(names),
        arrays=", ".join(f"${number}::{kind}[]" for number, kind in enumerate(types, _CONFINED + confined)),
        same_as_r=" AND ".join(f"t.{name} = r.{name}" for name in names),
        same_as_l=" AND ".join(f"t.{name} = l.{name}" for name in names),
        confined=f" AND t.{table.partition_column} = ${_CONFINED}" if confined else "",
        locked_rows="" if waits else " SKIP LOCKED",
        image=f", {shard_sql(table, 't.')} AS shard, {image_sql(table, 't.', on_cluster=confined)} AS image"
        if is_journaled
        else "",
    )
