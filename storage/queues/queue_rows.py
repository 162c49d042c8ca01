"""The row of a queue, which has the next message id and the acknowledgement levels."""

from __future__ import annotations

from typing import TYPE_CHECKING

from strongroom.kms.sealing.record_kinds import QUEUE
from strongroom.storage.data_blob import DataBlob
from strongroom.storage.engine.queries import load_queries
from strongroom.storage.engine.row_level_security import NO_NAMESPACE
from strongroom.storage.errors import DataLoss

from .journal import replace_queue
from .messages import AckLevels

if TYPE_CHECKING:
    from strongroom.kms import Keyring
    from strongroom.storage.engine.connection import Connection, Row
    from strongroom.storage.engine.database import Database
    from strongroom.storage.journal.entry import Changes
    from strongroom.storage.journal.writer import Journal

_TABLE = "queues"
_SQL = load_queries("queues/queue")


async def read_ack_levels(database: Database, keyring: Keyring, journal: Journal, queue_type: int) -> AckLevels:
    """Return the acknowledgement levels of a queue; an empty blob of version 0 if it has no row.

    Raises:
        IntegrityError: The levels do not open.
        DataLoss: An older row was put back.
    """
    before = journal.rows.moment
    async with database.connection(NO_NAMESPACE) as connection:
        row = await connection.fetchrow(_SQL["get"], queue_type)
    if row is None:
        return AckLevels(DataBlob(b""), 0)
    packed = await _opened(keyring, queue_type, row)
    await journal.rows.check(database, _TABLE, queue_type, _versions(row), before)
    return AckLevels(DataBlob.unpack(packed), row["version"])


async def locked_queue(
    connection: Connection, keyring: Keyring, journal: Journal, queue_type: int, changes: Changes
) -> tuple[Row, bytes]:
    """Return the queue's row, locked until the transaction ends, and its packed acknowledgement levels.

    Args:
        connection: The transaction's connection.
        keyring: The cell's unwrapped keys.
        journal: The journal of this process.
        queue_type: The type of the queue. If the queue has no row, it is created.
        changes: The changes of the transaction, to which a new row is added.

    Raises:
        IntegrityError: The row does not open.
        DataLoss: An older row was put back.
    """
    before = journal.rows.moment
    row = await connection.fetchrow(_SQL["lock"], queue_type)
    if row is None:
        keys = await keyring.open(keyring.cell_id)
        first = keys.seal(QUEUE, (queue_type, 0, 0), DataBlob(b"").pack())
        if await connection.fetch(_SQL["create"], queue_type, first):
            replace_queue(changes, queue_type, None, first)
        row = await connection.fetchrow(_SQL["lock"], queue_type)
    if row is None:
        msg = "a queue's row was deleted while it was in use"
        raise DataLoss(msg)
    packed = await _opened(keyring, queue_type, row)
    await journal.rows.check(connection, _TABLE, queue_type, _versions(row), before)
    return row, packed


def advanced(connection: Connection, journal: Journal, queue_type: int, next_message_id: int, version: int) -> None:
    """Refuse a row below these numbers as soon as the transaction of a connection is committed."""
    journal.rows.written(connection, _TABLE, queue_type, (next_message_id, version))


def _versions(row: Row) -> tuple[int, int]:
    return row["next_message_id"], row["version"]


async def _opened(keyring: Keyring, queue_type: int, row: Row) -> bytes:
    key = (queue_type, row["next_message_id"], row["version"])
    return await keyring.with_keys(keyring.cell_id, lambda keys: keys.open(QUEUE, key, row["data"]))
