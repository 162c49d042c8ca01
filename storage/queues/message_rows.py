"""Open messages of the namespace-replication queue. A message that was altered hides no other one, and its row is kept."""

from __future__ import annotations

from typing import TYPE_CHECKING

from strongroom.kms.sealing.record_kinds import QUEUE_MESSAGE
from strongroom.storage.cell.damaged_rows import DAMAGED, DamagedRow
from strongroom.storage.data_blob import DataBlob
from strongroom.storage.sealing import open_each

from .messages import QueueMessage

if TYPE_CHECKING:
    from collections.abc import Sequence

    from strongroom.kms import Keyring, RecordKey
    from strongroom.storage.cell.damaged_rows import DamagedRows
    from strongroom.storage.engine.connection import Row


async def open_messages(
    keyring: Keyring, damaged_rows: DamagedRows, queue_type: int, rows: Sequence[Row]
) -> tuple[QueueMessage, ...]:
    """Open messages.

    Args:
        keyring: The unwrapped keys.
        damaged_rows: Keeps the rows that were altered.
        queue_type: The type of the queue.
        rows: The rows, in order.

    Returns:
        The messages, in the order of the rows.

    Raises:
        KmsError: The cell's keys are not available, so no message can be read.
        DatabaseUnavailable: Damaged rows can't be kept.
    """
    sealed: list[tuple[RecordKey, bytes]] = [((row["message_id"],), row["data"]) for row in rows]
    opened = await open_each(keyring, keyring.cell_id, QUEUE_MESSAGE, (queue_type,), sealed) if rows else ()
    messages: list[QueueMessage] = []
    damaged: list[DamagedRow] = []
    for row, packed in zip(rows, opened, strict=True):
        message_id = row["message_id"]
        if isinstance(packed, bytes):
            messages.append(QueueMessage(message_id, DataBlob.unpack(packed)))
        elif isinstance(packed, DAMAGED):
            messages.append(QueueMessage(message_id, None, packed))
            damaged.append(DamagedRow(keyring.cell_id, (queue_type, message_id), row["data"], packed))
        else:
            raise packed
    if damaged:
        await damaged_rows.keep(QUEUE_MESSAGE, damaged)
    return tuple(messages)
