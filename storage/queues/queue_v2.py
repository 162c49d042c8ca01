"""Named queues, mostly of dead history tasks: Temporal's QueueV2. A message may belong to a namespace, and is shredded with it."""

from __future__ import annotations

from typing import TYPE_CHECKING
from uuid import UUID

from strongroom.kms.sealing.record_kinds import QUEUE_V2, QUEUE_V2_MESSAGE
from strongroom.storage.cell.damaged_rows import DAMAGED, DamagedRow, DamagedRows
from strongroom.storage.checks import check_blob, check_id, check_number, open_keys, wanted_page_size
from strongroom.storage.data_blob import DataBlob
from strongroom.storage.engine.queries import load_queries
from strongroom.storage.engine.row_level_security import EVERY_NAMESPACE, NO_NAMESPACE
from strongroom.storage.errors import ConditionFailed, NotFound
from strongroom.storage.journal.entry import Changes
from strongroom.storage.journal.images import CELL
from strongroom.storage.page_tokens import page_position, page_token, token_id, token_of_bytes
from strongroom.storage.sealing import open_each

from .journal import add_named_message, deleted_named_messages, replace_named_queue
from .messages import QueueV2Info, QueueV2InfoPage, QueueV2Message, QueueV2Page

if TYPE_CHECKING:
    from collections.abc import Sequence

    from strongroom.kms import Keyring, NamespaceKeys, RecordKey
    from strongroom.storage.engine.connection import Connection, Row
    from strongroom.storage.engine.database import Database
    from strongroom.storage.journal.newest_rows import Place
    from strongroom.storage.journal.writer import Journal

_TABLE = "queues_v2"
_SQL = load_queries("queues/queue_v2")
_TYPES = 2**31
_TOKEN_BYTES = 16


class QueueV2:
    """Creates and lists named queues, and appends, reads and deletes messages.

    Every operation raises `DatabaseUnavailable` if the database can't be reached, and `KmsError` if the cell's keys are unavailable.

    Args:
        database: The cell's database.
        keyring: The cell's unwrapped keys.
        journal: The journal of this process.
    """

    def __init__(self, database: Database, keyring: Keyring, journal: Journal) -> None:
        self._journal = journal
        self._database = database
        self._keyring = keyring
        self._damaged = DamagedRows(database)

    async def create_queue(self, queue_type: int, queue_name: str) -> None:
        """Create an empty queue.

        Args:
            queue_type: The type of the queue; 1 to 2^31 - 1.
            queue_name: The name of the queue; 1 to 65,535 bytes of UTF-8.

        Raises:
            ConditionFailed: A queue of this type and name exists.
            InvalidPersistenceRequest: The type or the name is invalid.
        """
        keys, queue_id = await self._identified(queue_type, queue_name)
        sealed = keys.seal(QUEUE_V2, (queue_type, queue_id, 0), queue_name.encode())
        changes = Changes(CELL)
        replace_named_queue(changes, queue_type, queue_id, None, sealed)
        async with self._database.transaction(NO_NAMESPACE) as connection:
            if not await connection.fetch(_SQL["create"], queue_type, queue_id, sealed):
                msg = "a queue of this type and name exists already"
                raise ConditionFailed(msg)
            await self._journal.write(connection, changes)

    async def enqueue_message(
        self, queue_type: int, queue_name: str, *, data: DataBlob, namespace_id: UUID | None = None
    ) -> int:
        """Append a message to a queue.

        Args:
            queue_type: The type of the queue; 1 to 2^31 - 1.
            queue_name: The name of the queue; 1 to 65,535 bytes of UTF-8.
            data: The message; at most 4 MiB.
            namespace_id: The namespace that the message belongs to. Its keys seal the message, and shredding it shreds the message.
                None for a message of the deployment, sealed under the cell's keys.

        Returns:
            The message's id.

        Raises:
            NotFound: The queue does not exist.
            NamespaceNotFound: The namespace does not exist.
            InvalidPersistenceRequest: A field is invalid.
            TransactionSizeLimit: The message has more than 4 MiB.
        """
        check_blob("data", data)
        keys, queue_id = await self._identified(queue_type, queue_name)
        owner = keys if namespace_id is None else await open_keys(self._keyring, namespace_id)
        async with self._database.transaction(owner.namespace_id) as connection:
            before = self._journal.rows.moment
            row = await connection.fetchrow(_SQL["lock"], queue_type, queue_id)
            if row is None:
                raise _no_queue()
            message_id: int = row["next_message_id"]
            name = await self._name(queue_type, queue_id, row, before, connection)
            key = (queue_type, queue_id, message_id)
            message = owner.seal(QUEUE_V2_MESSAGE, key, data.pack())
            queue = keys.seal(QUEUE_V2, (queue_type, queue_id, message_id + 1), name)
            await connection.execute(_SQL["insert_message"], *key, owner.namespace_id, message)
            await connection.execute(_SQL["advance"], queue_type, queue_id, queue)
            self._journal.rows.written(connection, _TABLE, (queue_type, queue_id), (message_id + 1,))
            changes = Changes(CELL)
            add_named_message(changes, owner.namespace_id, key, message)
            replace_named_queue(changes, queue_type, queue_id, row["data"], queue)
            await self._journal.write(connection, changes)
        return message_id

    async def read_messages(
        self, queue_type: int, queue_name: str, *, page_size: int, page_token: bytes | None = None
    ) -> QueueV2Page:
        """Return a page of a queue's messages in order.

        A message whose keys are destroyed or unavailable, or that was altered or moved, is returned with the error of opening it.
        It does not hide the others. A message that was altered is kept (`DamagedRows`), because the caller deletes what it has read.

        Args:
            queue_type: The type of the queue; 1 to 2^31 - 1.
            queue_name: The name of the queue; 1 to 65,535 bytes of UTF-8.
            page_size: The maximum number of messages to return; 0, a negative number or more than 10,000 for 10,000.
            page_token: The `next_page_token` of the previous page; None or empty for the first page.

        Raises:
            NotFound: The queue does not exist.
            PageTokenMismatch: The token is from another queue.
            InvalidPersistenceRequest: A field is invalid.
        """
        page_size = wanted_page_size(page_size)
        _, queue_id = await self._identified(queue_type, queue_name)
        scope = _scope(queue_type) + queue_id
        after = page_position(page_token, "read_messages", scope, numbers=1)[0] if page_token else -1
        async with self._database.connection(EVERY_NAMESPACE) as connection:
            await _check_exists(connection, queue_type, queue_id)
            rows = await connection.fetch(_SQL["read"], queue_type, queue_id, after, page_size)
        messages = await self._opened(queue_type, queue_id, rows)
        return QueueV2Page(messages, _message_token(scope, messages[-1].message_id) if messages else None)

    async def range_delete_messages(self, queue_type: int, queue_name: str, *, last_message_id: int) -> int:
        """Delete the first messages of a queue, up to and including `last_message_id`.

        Args:
            queue_type: The type of the queue; 1 to 2^31 - 1.
            queue_name: The name of the queue; 1 to 65,535 bytes of UTF-8.
            last_message_id: The id of the last message to delete.

        Returns:
            The number of messages that were deleted.

        Raises:
            NotFound: The queue does not exist.
            InvalidPersistenceRequest: A field is invalid.
        """
        check_number("last_message_id", last_message_id)
        _, queue_id = await self._identified(queue_type, queue_name)
        changes = deleted_named_messages(queue_type, queue_id, last_message_id)
        async with self._journal.entry(changes) as entry, self._database.connection(EVERY_NAMESPACE) as connection:
            await _check_exists(connection, queue_type, queue_id)
            row = await connection.fetchrow(_SQL["delete"], queue_type, queue_id, last_message_id, *entry.row)
            entry.answer(row)
        return 0 if row is None else int(row["messages"])

    async def list_queues(self, queue_type: int, *, page_size: int, page_token: bytes | None = None) -> QueueV2InfoPage:
        """List the queues of a type, in the order of their tokens. This order reveals nothing about their names.

        Args:
            queue_type: The type of the queues; 1 to 2^31 - 1.
            page_size: The maximum number of queues to return; 0, a negative number or more than 10,000 for 10,000.
            page_token: The `next_page_token` of the previous page; None or empty for the first page.

        Raises:
            PageTokenMismatch: The token is from another type.
            InvalidPersistenceRequest: A number is invalid.
            IntegrityError: A queue's row does not open.
            DataLoss: An older row of a queue was put back.
        """
        _check_type(queue_type)
        page_size = wanted_page_size(page_size)
        scope = _scope(queue_type)
        after = token_id(page_token, "list_queues", scope) if page_token else b""
        before = self._journal.rows.moment
        async with self._database.connection(EVERY_NAMESPACE) as connection:
            rows = await connection.fetch(_SQL["list"], queue_type, after, page_size)
        queues = []
        for row in rows:
            name = await self._name(queue_type, row["queue_id"], row, before, self._database)
            queues.append(QueueV2Info(name.decode(), row["message_count"], row["next_message_id"] - 1))
        token = token_of_bytes("list_queues", scope, rows[-1]["queue_id"]) if len(rows) == page_size else None
        return QueueV2InfoPage(tuple(queues), token)

    async def _identified(self, queue_type: int, queue_name: str) -> tuple[NamespaceKeys, bytes]:
        """Return the cell's keys, and the token of the queue's name."""
        _check_type(queue_type)
        encoded = check_id("queue_name", queue_name)
        keys = await self._keyring.open(self._keyring.cell_id)
        return keys, keys.identity("queue name").token(encoded)[:_TOKEN_BYTES]

    async def _name(self, queue_type: int, queue_id: bytes, row: Row, before: int, place: Place) -> bytes:
        """Open the row of a queue, and refuse one that is older than this process has seen it."""
        key = (queue_type, queue_id, row["next_message_id"])
        name = await self._keyring.with_keys(self._keyring.cell_id, lambda keys: keys.open(QUEUE_V2, key, row["data"]))
        await self._journal.rows.check(place, _TABLE, key[:2], key[2:], before)
        return name

    async def _opened(self, queue_type: int, queue_id: bytes, rows: Sequence[Row]) -> tuple[QueueV2Message, ...]:
        by_namespace: dict[UUID, list[Row]] = {}
        for row in rows:
            by_namespace.setdefault(UUID(bytes=row["namespace_id"].bytes), []).append(row)
        messages: dict[int, QueueV2Message] = {}
        damaged: list[DamagedRow] = []
        for namespace_id, namespace_rows in by_namespace.items():
            sealed: list[tuple[RecordKey, bytes]] = [((row["message_id"],), row["data"]) for row in namespace_rows]
            if namespace_id == self._keyring.cell_id:
                await self._keyring.open(namespace_id)  # without the cell's keys the whole call fails
            opened = await open_each(self._keyring, namespace_id, QUEUE_V2_MESSAGE, (queue_type, queue_id), sealed)
            owner = None if namespace_id == self._keyring.cell_id else namespace_id
            for row, packed in zip(namespace_rows, opened, strict=True):
                message_id = row["message_id"]
                messages[message_id] = (
                    QueueV2Message(message_id, owner, DataBlob.unpack(packed))
                    if isinstance(packed, bytes)
                    else QueueV2Message(message_id, owner, None, unreadable=packed)
                )
                if isinstance(packed, DAMAGED):
                    damaged.append(DamagedRow(namespace_id, (queue_type, queue_id, message_id), row["data"], packed))
        if damaged:
            await self._damaged.keep(QUEUE_V2_MESSAGE, damaged)
        return tuple(messages[row["message_id"]] for row in rows)


async def _check_exists(connection: Connection, queue_type: int, queue_id: bytes) -> None:
    if await connection.fetchrow(_SQL["exists"], queue_type, queue_id) is None:
        raise _no_queue()


def _no_queue() -> NotFound:
    return NotFound("no queue has this type and name; create it first")


def _check_type(queue_type: object) -> None:
    check_number("queue_type", queue_type, least=1, limit=_TYPES)


def _scope(queue_type: int) -> bytes:
    return queue_type.to_bytes(4, "big")


def _message_token(scope: bytes, message_id: int) -> bytes:
    return page_token("read_messages", scope, message_id)
