"""The rows of visibility records. `strongroom.visibility` makes and reads their values."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from strongroom.storage.engine.connection import is_distributed
from strongroom.storage.engine.functions import load_functions
from strongroom.storage.engine.queries import load_queries
from strongroom.storage.journal.entry import Changes

from .journal import add_record, deleted_record
from .outbox import add_to_outbox

if TYPE_CHECKING:
    from collections.abc import Sequence
    from uuid import UUID

    from strongroom.storage.engine.connection import Connection, Row
    from strongroom.storage.engine.database import Database
    from strongroom.storage.journal.tickets import Entries
    from strongroom.storage.journal.writer import Journal

_SQL = load_queries("visibility_rows/records")

HASHED_COLUMNS = ("h_workflow", "h_run", "h_type", "h_status", "h_queue", "h_division")
"""Each column holds the token of one attribute. It is NULL without a value, and in a layout with all tokens in `t`."""
_NO_COLUMNS = (None,) * len(HASHED_COLUMNS)


class VisibilityRow(NamedTuple):
    """A row of `visibility_records`.

    Attributes:
        shard_id: The workflow's shard.
        id: The keyed token of workflow and run, 16 bytes.
        version: The version of the record. Only a newer version replaces it.
        epoch: The epoch of the index key that the tokens were made with (column `k`).
        close_bucket: The bucket of the close time, or a maximum while the run is open (column `b1`).
        start_bucket: The bucket of the start time, or an upper bound of it (column `b2`).
        tokens: The index tokens, sorted, so that their order shows nothing (column `t`).
        sealed: The sealed record (column `s`).
        hashes: The index tokens with their own columns, in the order of `HASHED_COLUMNS`.
    """

    shard_id: int
    id: bytes
    version: int
    epoch: int
    close_bucket: int
    start_bucket: int
    tokens: tuple[int, ...]
    sealed: bytes
    hashes: tuple[int | None, ...] = _NO_COLUMNS

    @property
    def clear(self) -> tuple[int, int, int, int]:
        """Version, epoch, close bucket and start bucket, which the journal has too."""
        return self.version, self.epoch, self.close_bucket, self.start_bucket

    @property
    def token_array(self) -> str:
        """The tokens as an array literal. They travel as text because arrays of arrays must be rectangular."""
        return "{" + ",".join(map(str, self.tokens)) + "}"


def hashed_columns(rows: Sequence[VisibilityRow]) -> list[list[int | None]]:
    """Return the values of each hashed column, in the order of `HASHED_COLUMNS`."""
    return [[row.hashes[number] for row in rows] for number in range(len(HASHED_COLUMNS))]


def all_tokens(row: Row) -> list[int]:
    """Return all tokens of a row of `visibility_records`, sorted, so that their order shows nothing."""
    hashed = [token for column in HASHED_COLUMNS if (token := row[column]) is not None]
    return sorted([*row["t"], *hashed]) if hashed else list(row["t"])


async def write_visibility_records(
    database: Database, journal: Journal, namespace_id: UUID, rows: Sequence[VisibilityRow], *, outbox: bool = False
) -> int:
    """Write records and commit them; see `put_visibility_records`.

    Without an outbox this is one statement, so BEGIN and COMMIT are not sent.
    """
    if not outbox and not database.distributed:
        ordered = _in_order(rows)
        changes = _put_records(namespace_id, ordered)
        # The block of the entries is the outer one: it needs the translated error, which shows whether anything was written.
        async with journal.entries(changes) as entries, database.connection(namespace_id) as connection:
            written = await _put(connection, entries, namespace_id, ordered)
        return len(written)
    async with database.transaction(namespace_id) as connection:
        return await put_visibility_records(connection, journal, namespace_id, rows, outbox=outbox)


async def put_visibility_records(
    connection: Connection,
    journal: Journal,
    namespace_id: UUID,
    rows: Sequence[VisibilityRow],
    *,
    outbox: bool = False,
) -> int:
    """Write records in the caller's transaction. A record of an older version, or of a run deleted since, is left out.

    Args:
        connection: A connection in a transaction.
        journal: The journal of this process.
        namespace_id: The namespace.
        rows: The records in any order. If a record has several versions, the newest is written.
        outbox: Whether a search index outside the database takes them from the outbox.

    Returns:
        The number of records written.

    Raises:
        StorageError: The database does not answer.
    """
    ordered = _in_order(rows)
    if is_distributed(connection):
        written = await _put_on_cluster(connection, journal, namespace_id, ordered)
    else:
        async with journal.entries(_put_records(namespace_id, ordered), transaction=connection) as entries:
            written = await _put(connection, entries, namespace_id, ordered)
    if outbox and written:
        ids = set(written)
        await add_to_outbox(connection, [(row.shard_id, namespace_id, row.id) for row in ordered if row.id in ids])
    return len(written)


def _in_order(rows: Sequence[VisibilityRow]) -> list[VisibilityRow]:
    """Return the newest version of each record. All writers lock rows in the order of their key, so they can't deadlock."""
    newest = {(row.shard_id, row.id): row for row in sorted(rows, key=lambda row: row.version)}
    return [newest[key] for key in sorted(newest)]


async def _put(
    connection: Connection, entries: Entries, namespace_id: UUID, ordered: Sequence[VisibilityRow]
) -> Sequence[bytes]:
    """Write records with one statement; return the ids of those that were written."""
    answer = await connection.fetch(
        _SQL["put"],
        namespace_id,
        [row.shard_id for row in ordered],
        *_columns(ordered),
        *entries.arguments,
    )
    entries.digests.update((row["shard_id"], row["digest"]) for row in answer if row["id"] is None)
    return [row["id"] for row in answer if row["id"] is not None]


async def _put_on_cluster(
    connection: Connection, journal: Journal, namespace_id: UUID, ordered: Sequence[VisibilityRow]
) -> Sequence[bytes]:
    """Write the records of each shard of a Citus cluster on its node; return the ids of those that were written."""
    put = load_functions(distributed=True)["put_visibility_records"]
    written: list[bytes] = []
    async with journal.entries(_put_records(namespace_id, ordered), transaction=connection) as entries:
        writer, *columns = entries.arguments
        for shard_id, number, entry in zip(*columns, strict=True):
            of_shard = [row for row in ordered if row.shard_id == shard_id]
            answer = await put.call(connection, shard_id, namespace_id, *_columns(of_shard), writer, number, entry)
            entries.digests.update((shard_id, row["digest"]) for row in answer if row["id"] is None)
            written += [row["id"] for row in answer if row["id"] is not None]
    return written


def _columns(rows: Sequence[VisibilityRow]) -> tuple[Sequence[object], ...]:
    """Return the columns that a write of records sets, without the shard and the namespace."""
    return (
        [row.id for row in rows],
        [row.version for row in rows],
        [row.epoch for row in rows],
        [row.close_bucket for row in rows],
        [row.start_bucket for row in rows],
        [row.token_array for row in rows],
        [row.sealed for row in rows],
        *hashed_columns(rows),
    )


def _put_records(namespace_id: UUID, rows: Sequence[VisibilityRow]) -> list[Changes]:
    """Return what the writes of records change, by shard."""
    changes: dict[int, Changes] = {}
    for row in rows:
        of_shard = changes.setdefault(row.shard_id, Changes(row.shard_id))
        add_record(of_shard, namespace_id, row.id, row.clear, row.sealed)
    return list(changes.values())


async def get_visibility_record(connection: Connection, namespace_id: UUID, *, shard_id: int, id: bytes) -> Row | None:  # noqa: A002 - the column's name
    """Return the row of a record without its tokens, or None.

    Args:
        connection: A connection.
        namespace_id: The namespace.
        shard_id: The workflow's shard.
        id: The id of the record, 16 bytes.

    Raises:
        StorageError: The database does not answer.
    """
    return await connection.fetchrow(_SQL["get"], shard_id, namespace_id, id)


async def delete_visibility_record(
    connection: Connection,
    journal: Journal,
    key: tuple[UUID, int, bytes],
    *,
    version: int,
    outbox: bool = False,
) -> bool:
    """Delete a record in the caller's transaction. The deletion is stored, so that a late write does not restore the record.

    Args:
        connection: A connection in a transaction.
        journal: The journal of this process.
        key: The namespace, the workflow's shard, and the id of the record.
        version: The version of the deletion. A record of a newer version stays.
        outbox: Whether a search index outside the database takes the deletion from the outbox.

    Returns:
        Whether the run has no record now.

    Raises:
        StorageError: The database does not answer.
    """
    namespace_id, shard_id, record_id = key
    row = (shard_id, namespace_id, record_id)
    async with journal.entries([deleted_record(*key)], transaction=connection) as entries:
        writer, _, (number,), (entry,) = entries.arguments
        arguments = (*row, version, writer, number, entry)
        deleted = await connection.fetchrow(_SQL["delete"], *arguments)
        is_newer = deleted is None and await connection.fetchrow(_SQL["newer"], *row) is not None
        if deleted is None and not is_newer:  # its first record may be written at this moment
            await connection.execute(_SQL["hold_shard"], shard_id)
            deleted = await connection.fetchrow(_SQL["delete"], *arguments)
            is_newer = deleted is None and await connection.fetchrow(_SQL["newer"], *row) is not None
        entries.refused = deleted is None
        if deleted is not None:
            entries.digests[shard_id] = deleted["digest"]
    if is_newer:
        return False
    await connection.execute(_SQL["bury"], *row, version)
    if outbox:
        await add_to_outbox(connection, [row])
    return True
