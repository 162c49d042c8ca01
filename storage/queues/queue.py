"""The queue that replicates namespaces between clusters, and its dead letters: Temporal's Queue."""

from __future__ import annotations

from typing import TYPE_CHECKING

from strongroom.kms.sealing.record_kinds import QUEUE, QUEUE_MESSAGE
from strongroom.storage.cell.damaged_rows import DamagedRows
from strongroom.storage.checks import check_blob, check_number, wanted_page_size
from strongroom.storage.data_blob import DataBlob
from strongroom.storage.engine.queries import load_queries
from strongroom.storage.engine.row_level_security import NO_NAMESPACE
from strongroom.storage.errors import ConditionFailed
from strongroom.storage.journal.entry import Changes
from strongroom.storage.journal.images import CELL
from strongroom.storage.page_tokens import page_position
from strongroom.storage.page_tokens import page_token as page_token_of

from .journal import add_message, deleted_messages, replace_queue
from .message_rows import open_messages
from .messages import BEFORE_FIRST, NAMESPACE_REPLICATION, AckLevels, QueueMessage, QueuePage
from .queue_rows import advanced, locked_queue, read_ack_levels

if TYPE_CHECKING:
    from collections.abc import Sequence

    from strongroom.kms import Keyring
    from strongroom.storage.engine.connection import Row
    from strongroom.storage.engine.database import Database
    from strongroom.storage.journal.writer import Journal

_SQL = load_queries("queues/queue")
_TYPES = 2**31


class Queue:
    """One queue and its dead letters, which are stored as the queue of the negative type.

    Messages belong to the cell, because other clusters read them. They are sealed under the cell's keys.

    Every operation raises `DatabaseUnavailable` if the database can't be reached, and `KmsError` if the cell's keys are unavailable.

    Args:
        database: The cell's database.
        keyring: The cell's unwrapped keys.
        journal: The journal of this process.
        queue_type: The type of the queue; 1 to 2^31 - 1.
    """

    def __init__(
        self, database: Database, keyring: Keyring, journal: Journal, *, queue_type: int = NAMESPACE_REPLICATION
    ) -> None:
        self._journal = journal
        check_number("queue_type", queue_type, least=1, limit=_TYPES)
        self._database = database
        self._keyring = keyring
        self._damaged = DamagedRows(database)
        self._type = queue_type
        self._dead_letters = -queue_type

    async def init(self, data: DataBlob) -> None:
        """Store the first acknowledgement levels of the queue and of its dead letters, with version 0.

        Levels that are already stored do not change.

        Args:
            data: The service's blob for a queue that nobody has read yet; at most 4 MiB.

        Raises:
            InvalidPersistenceRequest: The blob is not a `DataBlob`.
            TransactionSizeLimit: The blob has more than 4 MiB.
        """
        check_blob("data", data)
        keys = await self._keyring.open(self._keyring.cell_id)
        changes = Changes(CELL)
        async with self._database.transaction(NO_NAMESPACE) as connection:
            for queue_type in (self._type, self._dead_letters):
                row, packed = await locked_queue(connection, self._keyring, self._journal, queue_type, changes)
                if row["version"] == 0 and not DataBlob.unpack(packed).data:
                    sealed = keys.seal(QUEUE, (queue_type, row["next_message_id"], 0), data.pack())
                    await connection.execute(_SQL["init"], queue_type, sealed)
                    replace_queue(changes, queue_type, row["data"], sealed)
            await self._journal.write(connection, changes)

    async def enqueue_message(self, data: DataBlob) -> int:
        """Append a message to the queue.

        Args:
            data: The message; at most 4 MiB.

        Returns:
            The message's id.

        Raises:
            InvalidPersistenceRequest: The message is not a `DataBlob`.
            TransactionSizeLimit: The message has more than 4 MiB.
        """
        return await self._enqueue(self._type, data)

    async def read_messages(self, *, last_message_id: int = BEFORE_FIRST, max_count: int) -> tuple[QueueMessage, ...]:
        """Return the first messages after a message that was read.

        A message that was altered or moved has the error of opening it, hides no other one, and is kept (`DamagedRows`).

        Args:
            last_message_id: The id of the last message that was read; -1 to begin with the first message.
            max_count: The maximum number of messages to return; 0, a negative number or more than 10,000 for 10,000.

        Raises:
            InvalidPersistenceRequest: A number is invalid.
        """
        check_number("last_message_id", last_message_id, least=BEFORE_FIRST)
        max_count = wanted_page_size(max_count)
        return await self._read(self._type, last_message_id, None, max_count)

    async def delete_messages_before(self, message_id: int) -> None:
        """Delete all messages with a lower id.

        Args:
            message_id: The id of the first message that stays.

        Raises:
            InvalidPersistenceRequest: The id is invalid.
        """
        check_number("message_id", message_id)
        await self._delete_range(self._type, BEFORE_FIRST, message_id - 1)

    async def update_ack_level(self, data: DataBlob, *, version: int) -> int:
        """Replace the acknowledgement levels, if they still have the version that was read.

        Args:
            data: The service's new blob; at most 4 MiB.
            version: The version that was read; 0 before the first update.

        Returns:
            The new version, which is one more.

        Raises:
            ConditionFailed: Another version is stored.
            InvalidPersistenceRequest: The version is invalid.
            TransactionSizeLimit: The blob has more than 4 MiB.
        """
        return await self._update(self._type, data, version)

    async def get_ack_levels(self) -> AckLevels:
        """Return the acknowledgement levels; an empty blob of version 0 before `init`.

        Raises:
            IntegrityError: The levels do not open.
        """
        return await read_ack_levels(self._database, self._keyring, self._journal, self._type)

    async def enqueue_message_to_dlq(self, data: DataBlob) -> int:
        """Append a message to the dead letters.

        Args:
            data: The message; at most 4 MiB.

        Returns:
            The message's id.

        Raises:
            InvalidPersistenceRequest: The message is not a `DataBlob`.
            TransactionSizeLimit: The message has more than 4 MiB.
        """
        return await self._enqueue(self._dead_letters, data)

    async def read_messages_from_dlq(
        self, *, first_message_id: int, last_message_id: int, page_size: int, page_token: bytes | None = None
    ) -> QueuePage:
        """Return a page of the dead letters after one id, and up to and including another.

        A message that was altered or moved is returned as by `read_messages`.

        Args:
            first_message_id: The lower bound, exclusive; -1 to begin with the first message.
            last_message_id: The upper bound, inclusive.
            page_size: The maximum number of messages to return; 0, a negative number or more than 10,000 for 10,000.
            page_token: The `next_page_token` of the previous page; None or empty for the first page.

        Raises:
            InvalidPersistenceRequest: A number is invalid, or the token is from another queue.
        """
        _check_range(first_message_id, last_message_id)
        page_size = wanted_page_size(page_size)
        after = first_message_id
        if page_token:
            after = max(after, *page_position(page_token, "read_messages_from_dlq", self._scope(), numbers=1))
        messages = await self._read(self._dead_letters, after, last_message_id, page_size)
        is_full = len(messages) == page_size
        token = page_token_of("read_messages_from_dlq", self._scope(), messages[-1].message_id) if is_full else None
        return QueuePage(messages, token)

    async def delete_message_from_dlq(self, message_id: int) -> None:
        """Delete one dead letter. Deleting one that does not exist is not an error.

        Args:
            message_id: The id of the message.

        Raises:
            InvalidPersistenceRequest: The id is invalid.
        """
        check_number("message_id", message_id)
        await self._delete_range(self._dead_letters, message_id - 1, message_id)

    async def range_delete_messages_from_dlq(self, *, first_message_id: int, last_message_id: int) -> None:
        """Delete the dead letters that `read_messages_from_dlq` returns for the same range.

        Args:
            first_message_id: The lower bound, exclusive; -1 to begin with the first message.
            last_message_id: The upper bound, inclusive.

        Raises:
            InvalidPersistenceRequest: An id is invalid.
        """
        _check_range(first_message_id, last_message_id)
        await self._delete_range(self._dead_letters, first_message_id, last_message_id)

    async def update_dlq_ack_level(self, data: DataBlob, *, version: int) -> int:
        """Replace the acknowledgement levels of the dead letters, as `update_ack_level` does.

        Args:
            data: The service's new blob; at most 4 MiB.
            version: The version that was read; 0 before the first update.

        Returns:
            The new version, which is one more.

        Raises:
            ConditionFailed: Another version is stored.
            InvalidPersistenceRequest: The version is invalid.
            TransactionSizeLimit: The blob has more than 4 MiB.
        """
        return await self._update(self._dead_letters, data, version)

    async def get_dlq_ack_levels(self) -> AckLevels:
        """Return the acknowledgement levels of the dead letters; an empty blob of version 0 before `init`.

        Raises:
            IntegrityError: The levels do not open.
        """
        return await read_ack_levels(self._database, self._keyring, self._journal, self._dead_letters)

    async def _enqueue(self, queue_type: int, data: DataBlob) -> int:
        check_blob("data", data)
        keys = await self._keyring.open(self._keyring.cell_id)
        changes = Changes(CELL)
        async with self._database.transaction(self._keyring.cell_id) as connection:
            row, ack_levels = await locked_queue(connection, self._keyring, self._journal, queue_type, changes)
            message_id: int = row["next_message_id"]
            message = keys.seal(QUEUE_MESSAGE, (queue_type, message_id), data.pack())
            queue = keys.seal(QUEUE, (queue_type, message_id + 1, row["version"]), ack_levels)
            await connection.execute(_SQL["insert_message"], queue_type, message_id, self._keyring.cell_id, message)
            await connection.execute(_SQL["advance"], queue_type, queue)
            advanced(connection, self._journal, queue_type, message_id + 1, row["version"])
            add_message(changes, self._keyring.cell_id, queue_type, message_id, message)
            replace_queue(changes, queue_type, row["data"], queue)
            await self._journal.write(connection, changes)
        return message_id

    async def _update(self, queue_type: int, data: DataBlob, version: int) -> int:
        check_blob("data", data)
        check_number("version", version)
        keys = await self._keyring.open(self._keyring.cell_id)
        changes = Changes(CELL)
        async with self._database.transaction(NO_NAMESPACE) as connection:
            row, _ = await locked_queue(connection, self._keyring, self._journal, queue_type, changes)
            if row["version"] != version:
                msg = "the queue's acknowledgement levels were changed since they were read; read them again"
                raise ConditionFailed(msg)
            sealed = keys.seal(QUEUE, (queue_type, row["next_message_id"], version + 1), data.pack())
            await connection.execute(_SQL["update"], queue_type, sealed)
            advanced(connection, self._journal, queue_type, row["next_message_id"], version + 1)
            replace_queue(changes, queue_type, row["data"], sealed)
            await self._journal.write(connection, changes)
        return version + 1

    async def _read(self, queue_type: int, after: int, last: int | None, count: int) -> tuple[QueueMessage, ...]:
        async with self._database.connection(self._keyring.cell_id) as connection:
            rows: Sequence[Row] = await connection.fetch(_SQL["read"], queue_type, after, last, count)
        return await open_messages(self._keyring, self._damaged, queue_type, rows)

    async def _delete_range(self, queue_type: int, after: int, last: int) -> None:
        changes = deleted_messages(queue_type, after + 1, last + 1)
        visible = self._keyring.cell_id
        async with self._journal.entry(changes) as entry, self._database.connection(visible) as connection:
            entry.answer(await connection.fetchrow(_SQL["delete_range"], queue_type, after, last, *entry.row))

    def _scope(self) -> bytes:
        return str(self._dead_letters).encode()


def _check_range(first_message_id: int, last_message_id: int) -> None:
    check_number("first_message_id", first_message_id, least=BEFORE_FIRST)
    check_number("last_message_id", last_message_id, least=BEFORE_FIRST)
