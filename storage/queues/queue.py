"""The queue that carries changes of namespaces between clusters, and its dead letters: Temporal's Queue."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from strongroom.kms.sealing.record_kinds import QUEUE, QUEUE_MESSAGE
from strongroom.storage.checks import check_blob, check_number, check_page_size
from strongroom.storage.data_blob import DataBlob
from strongroom.storage.engine.queries import load_queries
from strongroom.storage.engine.row_level_security import NO_NAMESPACE
from strongroom.storage.errors import ConditionFailed, DataLoss
from strongroom.storage.page_tokens import page_position, page_token
from strongroom.storage.sealing import open_rows

if TYPE_CHECKING:
    from collections.abc import Sequence

    from strongroom.kms import Keyring, NamespaceKeys
    from strongroom.storage.engine.connection import Connection, Row
    from strongroom.storage.engine.database import Database

_SQL = load_queries("queues/queue")
_TYPES = 2**31
NAMESPACE_REPLICATION = 1
"""The one queue that Temporal has of this kind."""
BEFORE_FIRST = -1
"""The id before the first message's, which is 0."""


@dataclass(frozen=True, slots=True)
class QueueMessage:
    """A message, and its number in the queue: from 0, without gaps, never given twice."""

    message_id: int
    data: DataBlob


@dataclass(frozen=True, slots=True)
class QueuePage:
    """Some messages, in order, and where to go on; `next_page_token` is None at the end."""

    messages: tuple[QueueMessage, ...]
    next_page_token: bytes | None


@dataclass(frozen=True, slots=True)
class AckLevels:
    """How far each reader is: the service's own blob, empty before the first update, and the version of its row."""

    data: DataBlob
    version: int


class Queue:
    """Messages of one queue. Those that could not be applied go to another one, that of the negative type.

    Args:
        database: where.
        keyring: messages belong to the cell, as their readers are other clusters; they are sealed under the cell's keys.
        queue_type: which queue; 1 or more.
    """

    def __init__(self, database: Database, keyring: Keyring, *, queue_type: int = NAMESPACE_REPLICATION) -> None:
        check_number("queue_type", queue_type, least=1, limit=_TYPES)
        self._database = database
        self._keyring = keyring
        self._type = queue_type
        self._dead_letters = -queue_type

    async def enqueue_message(self, data: DataBlob) -> int:
        """Append a message; return its id."""
        return await self._enqueue(self._type, data)

    async def read_messages(self, *, last_message_id: int = BEFORE_FIRST, max_count: int) -> tuple[QueueMessage, ...]:
        """Return the first messages after one that was read."""
        check_number("last_message_id", last_message_id, least=BEFORE_FIRST)
        check_page_size(max_count)
        return await self._read(self._type, last_message_id, None, max_count)

    async def delete_messages_before(self, message_id: int) -> None:
        """Delete all messages with a lower id."""
        check_number("message_id", message_id)
        await self._execute("delete_range", self._type, BEFORE_FIRST, message_id - 1)

    async def update_ack_level(self, data: DataBlob, *, version: int) -> int:
        """Replace the ack levels of the version that was read; return the new version.

        Raises:
            ConditionFailed: they are of another version.
        """
        return await self._update(self._type, data, version)

    async def get_ack_levels(self) -> AckLevels:
        """Return the ack levels; empty ones of version 0 where none were stored."""
        return await self._ack_levels(self._type)

    async def enqueue_message_to_dlq(self, data: DataBlob) -> int:
        """As `enqueue_message`, to the dead letters."""
        return await self._enqueue(self._dead_letters, data)

    async def read_messages_from_dlq(
        self, *, first_message_id: int, last_message_id: int, page_size: int, page_token: bytes | None = None
    ) -> QueuePage:
        """Return dead letters after `first_message_id`, up to and with `last_message_id`: as Temporal counts them."""
        _check_range(first_message_id, last_message_id)
        check_page_size(page_size)
        after = first_message_id
        if page_token is not None:
            after = max(after, *page_position(page_token, "read_messages_from_dlq", self._scope(), numbers=1))
        messages = await self._read(self._dead_letters, after, last_message_id, page_size)
        return QueuePage(messages, self._token(messages[-1].message_id) if len(messages) == page_size else None)

    async def delete_message_from_dlq(self, message_id: int) -> None:
        """Delete one dead letter; one that is not there is no error."""
        check_number("message_id", message_id)
        await self._execute("delete_range", self._dead_letters, message_id - 1, message_id)

    async def range_delete_messages_from_dlq(self, *, first_message_id: int, last_message_id: int) -> None:
        """Delete the dead letters that `read_messages_from_dlq` would return for this range."""
        _check_range(first_message_id, last_message_id)
        await self._execute("delete_range", self._dead_letters, first_message_id, last_message_id)

    async def update_dlq_ack_level(self, data: DataBlob, *, version: int) -> int:
        """As `update_ack_level`, of the dead letters."""
        return await self._update(self._dead_letters, data, version)

    async def get_dlq_ack_levels(self) -> AckLevels:
        """As `get_ack_levels`, of the dead letters."""
        return await self._ack_levels(self._dead_letters)

    async def _enqueue(self, queue_type: int, data: DataBlob) -> int:
        check_blob("data", data)
        keys = await self._keyring.open(self._keyring.cell_id)
        async with self._database.transaction(self._keyring.cell_id) as connection:
            row, ack_levels = await self._locked(connection, keys, queue_type)
            message_id: int = row["next_message_id"]
            message = keys.seal(QUEUE_MESSAGE, (queue_type, message_id), data.pack())
            queue = keys.seal(QUEUE, (queue_type, message_id + 1, row["version"]), ack_levels)
            await connection.execute(_SQL["insert_message"], queue_type, message_id, self._keyring.cell_id, message)
            await connection.execute(_SQL["advance"], queue_type, queue)
        return message_id

    async def _update(self, queue_type: int, data: DataBlob, version: int) -> int:
        check_blob("data", data)
        check_number("version", version)
        keys = await self._keyring.open(self._keyring.cell_id)
        async with self._database.transaction(NO_NAMESPACE) as connection:
            row, _ = await self._locked(connection, keys, queue_type)
            if row["version"] != version:
                msg = "the queue's ack levels were changed meanwhile; read them again"
                raise ConditionFailed(msg)
            sealed = keys.seal(QUEUE, (queue_type, row["next_message_id"], version + 1), data.pack())
            await connection.execute(_SQL["update"], queue_type, sealed)
        return version + 1

    async def _ack_levels(self, queue_type: int) -> AckLevels:
        async with self._database.connection(NO_NAMESPACE) as connection:
            row = await connection.fetchrow(_SQL["get"], queue_type)
        if row is None:
            return AckLevels(DataBlob(b""), 0)
        return AckLevels(DataBlob.unpack(await self._opened(queue_type, row)), row["version"])

    async def _locked(self, connection: Connection, keys: NamespaceKeys, queue_type: int) -> tuple[Row, bytes]:
        """Return the queue's row, which nobody else changes before the transaction ends, and its ack levels as packed."""
        row = await connection.fetchrow(_SQL["lock"], queue_type)
        if row is None:
            first = keys.seal(QUEUE, (queue_type, 0, 0), DataBlob(b"").pack())
            await connection.execute(_SQL["create"], queue_type, first)
            row = await connection.fetchrow(_SQL["lock"], queue_type)
        if row is None:
            msg = "a queue's row was deleted while it was used"
            raise DataLoss(msg)
        return row, await self._opened(queue_type, row)

    async def _opened(self, queue_type: int, row: Row) -> bytes:
        key = (queue_type, row["next_message_id"], row["version"])
        return await self._keyring.with_keys(self._keyring.cell_id, lambda keys: keys.open(QUEUE, key, row["data"]))

    async def _read(self, queue_type: int, after: int, last: int | None, count: int) -> tuple[QueueMessage, ...]:
        async with self._database.connection(self._keyring.cell_id) as connection:
            rows: Sequence[Row] = await connection.fetch(_SQL["read"], queue_type, after, last, count)
        sealed = [((row["message_id"],), row["data"]) for row in rows]
        packed = await open_rows(
            self._keyring,
            self._keyring.cell_id,
            sum(len(row["data"]) for row in rows),
            lambda keys: keys.open_many(QUEUE_MESSAGE, sealed, scope=(queue_type,)),
        )
        return tuple(
            QueueMessage(row["message_id"], DataBlob.unpack(blob)) for row, blob in zip(rows, packed, strict=True)
        )

    async def _execute(self, query: str, *arguments: object) -> None:
        async with self._database.connection(self._keyring.cell_id) as connection:
            await connection.execute(_SQL[query], *arguments)

    def _token(self, message_id: int) -> bytes:
        return page_token("read_messages_from_dlq", self._scope(), message_id)

    def _scope(self) -> bytes:
        return str(self._dead_letters).encode()


def _check_range(first_message_id: int, last_message_id: int) -> None:
    check_number("first_message_id", first_message_id, least=BEFORE_FIRST)
    check_number("last_message_id", last_message_id, least=BEFORE_FIRST)
