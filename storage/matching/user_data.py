"""The user data of task queues, and the queues that use a build id. One store serves plain and fair queues."""

from __future__ import annotations

import asyncio
import struct
from collections.abc import Mapping
from typing import TYPE_CHECKING
from uuid import UUID

from strongroom.kms.sealing.record_kinds import BUILD_ID, TASK_QUEUE_USER_DATA
from strongroom.storage.checks import check_id, open_keys, wanted_page_size
from strongroom.storage.engine.queries import load_queries
from strongroom.storage.errors import NotFound
from strongroom.storage.page_tokens import page_position
from strongroom.storage.page_tokens import page_token as make_token
from strongroom.storage.sealing import OFF_LOOP_BYTES, UNREADABLE, open_each

from .journal import add_build_ids, changed_user_data, remove_build_ids
from .task_queue_keys import build_id_token, task_queue_token, unpack_named, user_data_hash
from .user_data_rows import (
    TaskQueueUserData,
    TaskQueueUserDataConflict,
    UnreadableUserData,
    UserDataPage,
    UserDataUpdate,
    checked_updates,
    sealed_rows,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from strongroom.kms import Keyring, RecordKey
    from strongroom.storage.engine.connection import Connection, Row
    from strongroom.storage.engine.database import Database
    from strongroom.storage.journal.writer import Journal

    from .user_data_rows import UserDataRows

_SQL = load_queries("matching/user_data")
_TABLE = "task_queue_user_data"
_LIST = "list_task_queue_user_data_entries"
_POSITION = struct.Struct(">qq")


class TaskQueueUserDataStore:
    """Reads and writes user data. All user data of a namespace has the same range hash, so an update never spans shards.

    Every operation raises `DatabaseUnavailable` if the database can't be reached, and `KmsError` if the namespace's keys are
    unavailable.

    Args:
        database: The cell's database.
        keyring: The cell's unwrapped keys.
        journal: The journal of this process.
    """

    def __init__(self, database: Database, keyring: Keyring, journal: Journal) -> None:
        self._database = database
        self._keyring = keyring
        self._journal = journal

    async def get_task_queue_user_data(self, namespace_id: UUID, task_queue: str) -> TaskQueueUserData:
        """Return the user data of a queue.

        Args:
            namespace_id: The namespace of the queue.
            task_queue: The queue's name; 1 to 65,535 bytes of UTF-8.

        Raises:
            NotFound: The queue has no user data.
            NamespaceNotFound: The namespace does not exist.
            IntegrityError: The user data does not open.
            DataLoss: Older user data was put back.
        """
        name = check_id("task queue", task_queue)
        keys = await open_keys(self._keyring, namespace_id)
        range_hash, token = user_data_hash(keys), task_queue_token(keys, name)
        before = self._journal.rows.moment
        async with self._database.connection(namespace_id) as connection:
            row = await connection.fetchrow(_SQL["get"], range_hash, namespace_id, token)
        if row is None:
            msg = "the task queue has no user data"
            raise NotFound(msg)
        version, sealed = row["version"], row["data"]
        key = (range_hash, token, version)
        packed = await self._keyring.with_keys(
            namespace_id, lambda keys: keys.open(TASK_QUEUE_USER_DATA, key, sealed), keys=keys
        )
        await self._journal.rows.check(self._database, _TABLE, (namespace_id, token), (version,), before)
        stored_name, data = unpack_named(packed)
        return TaskQueueUserData(stored_name, version, data)

    async def update_task_queue_user_data(self, namespace_id: UUID, updates: Mapping[str, UserDataUpdate]) -> None:
        """Write the user data of several queues of a namespace, and their build ids: all or none.

        In Temporal's terms, every update is applied when this returns, and none is applied when it raises. The error names the
        updates in conflict.

        Args:
            namespace_id: The namespace of the queues.
            updates: The update of each queue, by the queue's name; 1 to 1000 updates with at most 10,000 build ids.

        Raises:
            TaskQueueUserDataConflict: The user data of a queue has another version than its update expects.
            InvalidPersistenceRequest: A name, number or build id is invalid, or there are too many.
            NamespaceNotFound: The namespace does not exist.
            TransactionSizeLimit: A blob has more than 4 MiB.
        """
        named, size = checked_updates(updates)
        keys = await open_keys(self._keyring, namespace_id)
        range_hash = user_data_hash(keys)
        if size >= OFF_LOOP_BYTES:
            rows = await asyncio.to_thread(sealed_rows, keys, range_hash, named)
        else:
            rows = sealed_rows(keys, range_hash, named)
        key = (range_hash, namespace_id)
        async with self._database.transaction(namespace_id) as connection:
            before = self._journal.rows.moment
            replaced = await _write_user_data(connection, key, rows)
            for token, version in zip(rows.tokens, rows.versions, strict=True):
                if version:
                    await self._journal.rows.check(connection, _TABLE, (namespace_id, token), (version,), before)
                self._journal.rows.written(connection, _TABLE, (namespace_id, token), (version + 1,))
            added: Sequence[Row] = ()
            removed: Sequence[Row] = ()
            if rows.added:
                columns = zip(*rows.added, strict=True)
                added = await connection.fetch(_SQL["add_build_ids"], *key, *columns, rows.added_names)
            if rows.removed:
                removed = await connection.fetch(_SQL["remove_build_ids"], *key, *zip(*rows.removed, strict=True))
            changes = changed_user_data(namespace_id, range_hash, zip(rows.tokens, rows.data, strict=True), replaced)
            names = dict(zip(rows.added, rows.added_names, strict=True))
            add_build_ids(changes, namespace_id, range_hash, names, added)
            remove_build_ids(changes, namespace_id, range_hash, rows.removed, removed)
            await self._journal.write(connection, changes)

    async def list_task_queue_user_data_entries(
        self, namespace_id: UUID, *, page_size: int, page_token: bytes | None = None
    ) -> UserDataPage:
        """List the user data of a namespace's queues, in the order of their tokens. This order reveals nothing about their names.

        Args:
            namespace_id: The namespace of the queues.
            page_size: The maximum number of entries to return; 0, a negative number or more than 10,000 for 10,000.
            page_token: The `next_page_token` of the previous page; None or empty for the first page.

        Raises:
            InvalidPersistenceRequest: The page size is invalid, or the token is from another namespace or operation.
            NamespaceNotFound: The namespace does not exist.
            KmsError: The namespace's keys are not available.
        """
        page_size = wanted_page_size(page_size)
        keys = await open_keys(self._keyring, namespace_id)
        range_hash = user_data_hash(keys)
        after: tuple[bytes, ...] = ()
        if page_token:
            after = (_POSITION.pack(*page_position(page_token, _LIST, namespace_id.bytes, numbers=2)),)
        before = self._journal.rows.moment
        async with self._database.connection(namespace_id) as connection:
            query = _SQL["list_after" if after else "list"]
            rows = await connection.fetch(query, range_hash, namespace_id, page_size + 1, *after)
        page = [(row["task_queue_id"], row["version"], row["data"]) for row in rows[:page_size]]
        entries: list[TaskQueueUserData] = []
        unreadable: list[UnreadableUserData] = []
        sealed: list[tuple[RecordKey, bytes]] = [((name, version), data) for name, version, data in page]
        opened = await open_each(self._keyring, namespace_id, TASK_QUEUE_USER_DATA, (range_hash,), sealed)
        for packed, (queue, version, _) in zip(opened, page, strict=True):
            try:
                if not isinstance(packed, bytes):
                    raise packed
                await self._journal.rows.check(self._database, _TABLE, (namespace_id, queue), (version,), before)
            except UNREADABLE as error:
                unreadable.append(UnreadableUserData(version, error))
            else:
                name, data = unpack_named(packed)
                entries.append(TaskQueueUserData(name, version, data))
        token = None
        if len(rows) > page_size:
            token = make_token(_LIST, namespace_id.bytes, *_POSITION.unpack(page[-1][0]))
        return UserDataPage(entries, token, unreadable)

    async def get_task_queues_by_build_id(self, namespace_id: UUID, build_id: str) -> Sequence[str]:
        """Return the names of the queues that use a build id, sorted.

        Args:
            namespace_id: The namespace of the queues.
            build_id: The build id; 1 to 65,535 bytes of UTF-8.

        Raises:
            InvalidPersistenceRequest: The build id is invalid.
            NamespaceNotFound: The namespace does not exist.
            IntegrityError: A name does not open.
        """
        encoded = check_id("build id", build_id)
        keys = await open_keys(self._keyring, namespace_id)
        range_hash, token = user_data_hash(keys), build_id_token(keys, encoded)
        async with self._database.connection(namespace_id) as connection:
            rows = await connection.fetch(_SQL["queues_of_build_id"], range_hash, namespace_id, token)
        sealed: list[tuple[RecordKey, bytes]] = [((row["task_queue_id"],), row["data"]) for row in rows]
        scope = (range_hash, token)
        opened = await self._keyring.with_keys(namespace_id, lambda keys: keys.open_many(BUILD_ID, sealed, scope=scope))
        return sorted(name.decode() for name in opened)

    async def count_task_queues_by_build_id(self, namespace_id: UUID, build_id: str) -> int:
        """Return the number of queues that use a build id.

        Args:
            namespace_id: The namespace of the queues.
            build_id: The build id; 1 to 65,535 bytes of UTF-8.

        Raises:
            InvalidPersistenceRequest: The build id is invalid.
            NamespaceNotFound: The namespace does not exist.
        """
        encoded = check_id("build id", build_id)
        keys = await open_keys(self._keyring, namespace_id)
        key = (user_data_hash(keys), namespace_id, build_id_token(keys, encoded))
        async with self._database.connection(namespace_id) as connection:
            row = await connection.fetchrow(_SQL["count_queues_of_build_id"], *key)
        return int(row["queues"]) if row else 0


async def _write_user_data(connection: Connection, key: tuple[int, UUID], rows: UserDataRows) -> Sequence[Row]:
    """Compare versions and write, or raise `TaskQueueUserDataConflict`. Return the rows that were replaced."""
    version_rows = await connection.fetch(_SQL["versions"], *key, rows.tokens)
    stored = {row["task_queue_id"]: row["version"] for row in version_rows}
    expected = list(zip(rows.tokens, rows.versions, rows.names, strict=True))
    conflicting = [name for token, version, name in expected if stored.get(token, 0) != version]
    if not conflicting:
        written_rows = await connection.fetch(
            _SQL["write"], *key, rows.tokens, [version + 1 for version in rows.versions], rows.data
        )
        written = {row["task_queue_id"] for row in written_rows}
        conflicting = [name for token, _, name in expected if token not in written]
    if conflicting:
        raise TaskQueueUserDataConflict(conflicting=conflicting)
    return version_rows
