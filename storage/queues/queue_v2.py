"""Named queues, of dead history tasks above all: Temporal's QueueV2. A message may belong to a namespace, and dies with it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING
from uuid import UUID

from strongroom.kms import KeyringFileError, KmsError
from strongroom.kms.sealing.record_kinds import QUEUE_V2, QUEUE_V2_MESSAGE
from strongroom.storage.checks import check_blob, check_id, check_number, check_page_size, open_keys
from strongroom.storage.data_blob import DataBlob
from strongroom.storage.engine.queries import load_queries
from strongroom.storage.engine.row_level_security import EVERY_NAMESPACE, NO_NAMESPACE
from strongroom.storage.errors import ConditionFailed, NotFound
from strongroom.storage.page_tokens import page_position, page_token, token_id, token_of_bytes
from strongroom.storage.sealing import open_rows

if TYPE_CHECKING:
    from collections.abc import Sequence

    from strongroom.kms import Keyring, NamespaceKeys, RecordKey
    from strongroom.storage.engine.connection import Connection, Row
    from strongroom.storage.engine.database import Database

_SQL = load_queries("queues/queue_v2")
_TYPES = 2**31
_TOKEN_BYTES = 16


@dataclass(frozen=True, slots=True)
class QueueV2Message:
    """A message of a named queue.

    Attributes:
        message_id: from 0, without gaps, never given twice.
        namespace_id: whose it is; None for the deployment's own.
        data: the service's own; None where `unreadable` says why.
        unreadable: why it can't be shown: its namespace's keys are destroyed, or can't be had. None when it can.
    """

    message_id: int
    namespace_id: UUID | None
    data: DataBlob | None
    unreadable: str | None = None


@dataclass(frozen=True, slots=True)
class QueueV2Page:
    """Some messages, in order. `next_page_token` is what follows the last one, None where there was no message."""

    messages: tuple[QueueV2Message, ...]
    next_page_token: bytes | None


@dataclass(frozen=True, slots=True)
class QueueV2Info:
    """A queue: its name, how many messages it holds, and the id of the last one it was ever given; -1 for none."""

    queue_name: str
    message_count: int
    last_message_id: int


@dataclass(frozen=True, slots=True)
class QueueV2InfoPage:
    """Some queues, in an order of their own, and where to go on; `next_page_token` is None at the end."""

    queues: tuple[QueueV2Info, ...]
    next_page_token: bytes | None


class QueueV2:
    """Creates named queues, appends, reads and deletes messages."""

    def __init__(self, database: Database, keyring: Keyring) -> None:
        self._database = database
        self._keyring = keyring

    async def create_queue(self, queue_type: int, queue_name: str) -> None:
        """Create an empty queue.

        Raises:
            ConditionFailed: there is one of this type and name.
        """
        keys, queue_id = await self._identified(queue_type, queue_name)
        sealed = keys.seal(QUEUE_V2, (queue_type, queue_id, 0), queue_name.encode())
        async with self._database.connection(NO_NAMESPACE) as connection:
            if not await connection.fetch(_SQL["create"], queue_type, queue_id, sealed):
                msg = "a queue of this type and name exists"
                raise ConditionFailed(msg)

    async def enqueue_message(
        self, queue_type: int, queue_name: str, *, data: DataBlob, namespace_id: UUID | None = None
    ) -> int:
        """Append a message; return its id.

        Args:
            queue_type: of the queue.
            queue_name: of the queue.
            data: the message.
            namespace_id: whose it is: sealed under its keys, and gone with them. None for the cell's.

        Raises:
            NotFound: no such queue.
            NamespaceNotFound: no such namespace.
        """
        check_blob("data", data)
        keys, queue_id = await self._identified(queue_type, queue_name)
        owner = keys if namespace_id is None else await open_keys(self._keyring, namespace_id)
        async with self._database.transaction(owner.namespace_id) as connection:
            row = await connection.fetchrow(_SQL["lock"], queue_type, queue_id)
            if row is None:
                raise _no_queue()
            message_id: int = row["next_message_id"]
            name = await self._name(queue_type, queue_id, row)
            key = (queue_type, queue_id, message_id)
            message = owner.seal(QUEUE_V2_MESSAGE, key, data.pack())
            queue = keys.seal(QUEUE_V2, (queue_type, queue_id, message_id + 1), name)
            await connection.execute(_SQL["insert_message"], *key, owner.namespace_id, message)
            await connection.execute(_SQL["advance"], queue_type, queue_id, queue)
        return message_id

    async def read_messages(
        self, queue_type: int, queue_name: str, *, page_size: int, page_token: bytes | None = None
    ) -> QueueV2Page:
        """Return messages in order. One whose keys are destroyed or can't be had is told as such, and hides no other.

        Raises:
            NotFound: no such queue.
            IntegrityError: a message was altered or moved.
        """
        check_page_size(page_size)
        _, queue_id = await self._identified(queue_type, queue_name)
        scope = _scope(queue_type) + queue_id
        after = -1 if page_token is None else page_position(page_token, "read_messages", scope, numbers=1)[0]
        async with self._database.connection(EVERY_NAMESPACE) as connection:
            await _check_exists(connection, queue_type, queue_id)
            rows = await connection.fetch(_SQL["read"], queue_type, queue_id, after, page_size)
        messages = await self._opened(queue_type, queue_id, rows)
        return QueueV2Page(messages, _message_token(scope, messages[-1].message_id) if messages else None)

    async def range_delete_messages(self, queue_type: int, queue_name: str, *, last_message_id: int) -> int:
        """Delete all messages up to and with one; return how many.

        Raises:
            NotFound: no such queue.
        """
        check_number("last_message_id", last_message_id)
        _, queue_id = await self._identified(queue_type, queue_name)
        async with self._database.connection(EVERY_NAMESPACE) as connection:
            await _check_exists(connection, queue_type, queue_id)
            tag = await connection.execute(_SQL["delete"], queue_type, queue_id, last_message_id)
        return int(tag.rpartition(" ")[2])

    async def list_queues(self, queue_type: int, *, page_size: int, page_token: bytes | None = None) -> QueueV2InfoPage:
        """Return the queues of a type."""
        _check_type(queue_type)
        check_page_size(page_size)
        scope = _scope(queue_type)
        after = b"" if page_token is None else token_id(page_token, "list_queues", scope)
        async with self._database.connection(EVERY_NAMESPACE) as connection:
            rows = await connection.fetch(_SQL["list"], queue_type, after, page_size)
        queues = []
        for row in rows:
            name = await self._name(queue_type, row["queue_id"], row)
            queues.append(QueueV2Info(name.decode(), row["message_count"], row["next_message_id"] - 1))
        token = token_of_bytes("list_queues", scope, rows[-1]["queue_id"]) if len(rows) == page_size else None
        return QueueV2InfoPage(tuple(queues), token)

    async def _identified(self, queue_type: int, queue_name: str) -> tuple[NamespaceKeys, bytes]:
        """Return the cell's keys, and the token that stands for the queue's name."""
        _check_type(queue_type)
        encoded = check_id("queue_name", queue_name)
        keys = await self._keyring.open(self._keyring.cell_id)
        return keys, keys.identity("queue name").token(encoded)[:_TOKEN_BYTES]

    async def _name(self, queue_type: int, queue_id: bytes, row: Row) -> bytes:
        key = (queue_type, queue_id, row["next_message_id"])
        return await self._keyring.with_keys(self._keyring.cell_id, lambda keys: keys.open(QUEUE_V2, key, row["data"]))

    async def _opened(self, queue_type: int, queue_id: bytes, rows: Sequence[Row]) -> tuple[QueueV2Message, ...]:
        by_namespace: dict[UUID, list[Row]] = {}
        for row in rows:
            by_namespace.setdefault(UUID(bytes=row["namespace_id"].bytes), []).append(row)
        messages: dict[int, QueueV2Message] = {}
        for namespace_id, own in by_namespace.items():
            sealed: list[tuple[RecordKey, bytes]] = [((row["message_id"],), row["data"]) for row in own]
            opened = await self._open_own(namespace_id, (queue_type, queue_id), sealed)
            owner = None if namespace_id == self._keyring.cell_id else namespace_id
            for row, packed in zip(own, opened, strict=True):
                message_id = row["message_id"]
                messages[message_id] = (
                    QueueV2Message(message_id, owner, DataBlob.unpack(packed))
                    if isinstance(packed, bytes)
                    else QueueV2Message(message_id, owner, None, unreadable=str(packed))
                )
        return tuple(messages[row["message_id"]] for row in rows)

    async def _open_own(
        self, namespace_id: UUID, scope: RecordKey, rows: Sequence[tuple[RecordKey, bytes]]
    ) -> Sequence[bytes | Exception]:
        """Open one namespace's rows; in the place of one that has no key stands why."""
        try:
            return await open_rows(
                self._keyring,
                namespace_id,
                sum(len(sealed) for _, sealed in rows),
                lambda keys: keys.open_many(QUEUE_V2_MESSAGE, rows, scope=scope),
            )
        except (KmsError, KeyringFileError) as error:
            if namespace_id == self._keyring.cell_id:
                raise
            reason = error
        try:
            keys = await self._keyring.open(namespace_id)
        except (KmsError, KeyringFileError):
            return [reason] * len(rows)
        return [_open_one(keys, (*scope, *key), sealed) for key, sealed in rows]  # one of its keys may be there yet


def _open_one(keys: NamespaceKeys, key: RecordKey, sealed: bytes) -> bytes | KmsError:
    try:
        return keys.open(QUEUE_V2_MESSAGE, key, sealed)
    except KmsError as error:
        return error


async def _check_exists(connection: Connection, queue_type: int, queue_id: bytes) -> None:
    if await connection.fetchrow(_SQL["exists"], queue_type, queue_id) is None:
        raise _no_queue()


def _no_queue() -> NotFound:
    return NotFound("no queue of this type and name")


def _check_type(queue_type: object) -> None:
    check_number("queue_type", queue_type, least=1, limit=_TYPES)


def _scope(queue_type: int) -> bytes:
    return queue_type.to_bytes(4, "big")


def _message_token(scope: bytes, message_id: int) -> bytes:
    return page_token("read_messages", scope, message_id)
