"""User data of task queues, and which queues a build id is used on: the rest of Temporal's TaskStore. One store for both forms."""

from __future__ import annotations

import asyncio
import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from strongroom.kms.sealing.record_kinds import BUILD_ID, TASK_QUEUE_USER_DATA
from strongroom.storage.checks import check_blob, check_id, check_number, check_page_size, open_keys
from strongroom.storage.engine.queries import load_queries
from strongroom.storage.errors import ConditionFailed, InvalidPersistenceRequest, NotFound
from strongroom.storage.page_tokens import page_position
from strongroom.storage.page_tokens import page_token as make_token
from strongroom.storage.sealing import OFF_LOOP_BYTES, open_rows

from .task_queue_keys import build_id_token, pack_named, task_queue_token, unpack_named, user_data_hash

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping, Sequence
    from uuid import UUID

    from strongroom.kms import Key, Keyring, NamespaceKeys
    from strongroom.storage.data_blob import DataBlob
    from strongroom.storage.engine.connection import Connection
    from strongroom.storage.engine.database import Database

_SQL = load_queries("matching/user_data")
_LIST = "list_task_queue_user_data_entries"
_POSITION = struct.Struct(">qq")
_LAST_VERSION = 2**63 - 1
MAX_UPDATES = 1000
"""Queues of one update."""
MAX_BUILD_IDS = 10_000
"""Build ids of one update, added and removed."""


@dataclass(frozen=True, slots=True)
class TaskQueueUserData:
    """What the owners of a task queue keep with it.

    Attributes:
        task_queue: name of the queue.
        version: 1 after the first write, then one more with each.
        data: the service's own; sealed.
    """

    task_queue: str
    version: int
    data: DataBlob


@dataclass(frozen=True, slots=True)
class UserDataUpdate:
    """What is written for one queue.

    Attributes:
        version: as stored; 0 where nothing is. The write makes it one more.
        data: the service's own.
        build_ids_added: used on this queue from now on; one that already is stays.
        build_ids_removed: no longer used on it; taken away after the others were added.
    """

    version: int
    data: DataBlob
    build_ids_added: Collection[str] = ()
    build_ids_removed: Collection[str] = ()


@dataclass(frozen=True, slots=True)
class UserDataPage:
    """User data in an order that says nothing of the names, and a token for what follows; None at the end."""

    entries: Sequence[TaskQueueUserData]
    next_page_token: bytes | None


class TaskQueueUserDataConflict(ConditionFailed):
    """The user data of a queue is at another version; of the whole update nothing was applied.

    Attributes:
        conflicting: names of all queues that are at another version. Those of the others may be sent again.
    """

    def __init__(self, message: str | None = None, *, conflicting: Iterable[str] = ()) -> None:
        super().__init__(message or "the user data of a task queue is at another version; nothing was written")
        self.conflicting = frozenset(conflicting)


class _Rows(NamedTuple):
    """An update as columns; queues in the order of their tokens, in which they are written."""

    names: list[str]
    tokens: list[bytes]
    versions: list[int]
    data: list[bytes]
    added: list[tuple[bytes, bytes]]
    added_names: list[bytes]
    removed: list[tuple[bytes, bytes]]


class TaskQueueUserDataStore:
    """Reads and writes user data. A namespace's user data all has one range_hash, so an update never spans shards."""

    def __init__(self, database: Database, keyring: Keyring) -> None:
        self._database = database
        self._keyring = keyring

    async def get_task_queue_user_data(self, namespace_id: UUID, task_queue: str) -> TaskQueueUserData:
        """Return the user data of a queue.

        Raises:
            NotFound: it has none.
        """
        name = check_id("task queue", task_queue)
        keys = await open_keys(self._keyring, namespace_id)
        range_hash, token = user_data_hash(keys), task_queue_token(keys, name)
        async with self._database.connection(namespace_id) as connection:
            row = await connection.fetchrow(_SQL["get"], range_hash, namespace_id, token)
        if row is None:
            msg = "the task queue has no user data"
            raise NotFound(msg)
        opened = await self._open(namespace_id, range_hash, [(token, row["version"], row["data"])])
        return opened[0]

    async def update_task_queue_user_data(self, namespace_id: UUID, updates: Mapping[str, UserDataUpdate]) -> None:
        """Write the user data of several queues of a namespace, and their build ids: all or none.

        Temporal's flags are: every update is applied when this returns, none is when it raises; which of them are in conflict
        is told by the error.

        Args:
            namespace_id: whose.
            updates: by name of the queue.

        Raises:
            TaskQueueUserDataConflict: a queue is at another version than its update expects.
            InvalidPersistenceRequest: an update that can't be.
            TransactionSizeLimit: a blob of more than 4 MiB.
        """
        named, size = _check(updates)
        keys = await open_keys(self._keyring, namespace_id)
        range_hash = user_data_hash(keys)
        if size >= OFF_LOOP_BYTES:
            rows = await asyncio.to_thread(_sealed, keys, range_hash, named)
        else:
            rows = _sealed(keys, range_hash, named)
        key = (range_hash, namespace_id)
        async with self._database.transaction(namespace_id) as connection:
            await _write_user_data(connection, key, rows)
            if rows.added:
                columns = zip(*rows.added, strict=True)
                await connection.execute(_SQL["add_build_ids"], *key, *columns, rows.added_names)
            if rows.removed:
                await connection.execute(_SQL["remove_build_ids"], *key, *zip(*rows.removed, strict=True))

    async def list_task_queue_user_data_entries(
        self, namespace_id: UUID, *, page_size: int, page_token: bytes | None = None
    ) -> UserDataPage:
        """List the user data of a namespace's queues.

        Raises:
            InvalidPersistenceRequest: a page size or token that can't be.
            IntegrityError: an entry does not open.
        """
        check_page_size(page_size)
        keys = await open_keys(self._keyring, namespace_id)
        range_hash = user_data_hash(keys)
        after: tuple[bytes, ...] = ()
        if page_token is not None:
            after = (_POSITION.pack(*page_position(page_token, _LIST, namespace_id.bytes, numbers=2)),)
        async with self._database.connection(namespace_id) as connection:
            query = _SQL["list_after" if after else "list"]
            rows = await connection.fetch(query, range_hash, namespace_id, page_size + 1, *after)
        page = [(row["task_queue_id"], row["version"], row["data"]) for row in rows[:page_size]]
        entries = await self._open(namespace_id, range_hash, page)
        if len(rows) <= page_size:
            return UserDataPage(entries, None)
        return UserDataPage(entries, make_token(_LIST, namespace_id.bytes, *_POSITION.unpack(page[-1][0])))

    async def get_task_queues_by_build_id(self, namespace_id: UUID, build_id: str) -> Sequence[str]:
        """Return the names of the queues that a build id is used on, sorted."""
        encoded = check_id("build id", build_id)
        keys = await open_keys(self._keyring, namespace_id)
        range_hash, token = user_data_hash(keys), build_id_token(keys, encoded)
        async with self._database.connection(namespace_id) as connection:
            rows = await connection.fetch(_SQL["queues_of_build_id"], range_hash, namespace_id, token)
        sealed: list[tuple[Key, bytes]] = [((row["task_queue_id"],), row["data"]) for row in rows]
        scope = (range_hash, token)
        opened = await self._keyring.with_keys(namespace_id, lambda keys: keys.open_many(BUILD_ID, sealed, scope=scope))
        return sorted(name.decode() for name in opened)

    async def count_task_queues_by_build_id(self, namespace_id: UUID, build_id: str) -> int:
        """Return how many queues a build id is used on."""
        encoded = check_id("build id", build_id)
        keys = await open_keys(self._keyring, namespace_id)
        key = (user_data_hash(keys), namespace_id, build_id_token(keys, encoded))
        async with self._database.connection(namespace_id) as connection:
            row = await connection.fetchrow(_SQL["count_queues_of_build_id"], *key)
        return int(row["queues"]) if row else 0

    async def _open(
        self, namespace_id: UUID, range_hash: int, page: Sequence[tuple[bytes, int, bytes]]
    ) -> list[TaskQueueUserData]:
        sealed: list[tuple[Key, bytes]] = [((token, version), data) for token, version, data in page]
        scope = (range_hash,)
        opened = await open_rows(
            self._keyring,
            namespace_id,
            sum(len(data) for _, _, data in page),
            lambda keys: keys.open_many(TASK_QUEUE_USER_DATA, sealed, scope=scope),
        )
        named = [unpack_named(packed) for packed in opened]
        return [
            TaskQueueUserData(name, version, data) for (name, data), (_, version, _) in zip(named, page, strict=True)
        ]


def _check(updates: Mapping[str, UserDataUpdate]) -> tuple[list[tuple[bytes, UserDataUpdate]], int]:
    """Refuse updates that can't be; return them with the bytes of their queues' names, and the size of all blobs."""
    if not 0 < len(updates) <= MAX_UPDATES:
        msg = f"an update is of 1 to {MAX_UPDATES} task queues"
        raise InvalidPersistenceRequest(msg)
    named = [(check_id("task queue", task_queue), update) for task_queue, update in updates.items()]
    size = build_ids = 0
    for _, update in named:
        check_number("version", update.version, limit=_LAST_VERSION)
        size += check_blob("data", update.data)
        for several in (update.build_ids_added, update.build_ids_removed):
            if isinstance(several, str):
                msg = "build ids must be a collection of texts"
                raise InvalidPersistenceRequest(msg)
            build_ids += len(several)
    if build_ids > MAX_BUILD_IDS:
        msg = f"an update adds and removes at most {MAX_BUILD_IDS} build ids"
        raise InvalidPersistenceRequest(msg)
    return named, size


def _sealed(keys: NamespaceKeys, range_hash: int, named: Sequence[tuple[bytes, UserDataUpdate]]) -> _Rows:
    placed = sorted((task_queue_token(keys, name), name, update) for name, update in named)
    data: list[tuple[Key, bytes]] = []
    added: list[tuple[bytes, bytes]] = []
    added_to: list[bytes] = []
    removed: list[tuple[bytes, bytes]] = []
    for token, name, update in placed:
        data.append(((token, update.version + 1), pack_named(name, update.data)))
        build_ids = _build_id_tokens(keys, update.build_ids_added)
        added += [(build_id, token) for build_id in build_ids]
        added_to += [name] * len(build_ids)
        removed += [(build_id, token) for build_id in _build_id_tokens(keys, update.build_ids_removed)]
    scope = (range_hash,)
    named_rows = list(zip(added, added_to, strict=True))
    sealed, added_names = keys.seal_groups([(TASK_QUEUE_USER_DATA, scope, data), (BUILD_ID, scope, named_rows)])
    return _Rows(
        names=[name.decode() for _, name, _ in placed],
        tokens=[token for token, _, _ in placed],
        versions=[update.version for _, _, update in placed],
        data=sealed,
        added=added,
        added_names=added_names,
        removed=removed,
    )


def _build_id_tokens(keys: NamespaceKeys, build_ids: Collection[str]) -> list[bytes]:
    """Return the tokens of build ids in one order for all callers, so that two updates never wait for each other."""
    return sorted({build_id_token(keys, check_id("build id", build_id)) for build_id in build_ids})


async def _write_user_data(connection: Connection, key: tuple[int, UUID], rows: _Rows) -> None:
    """Compare versions and write, or raise `TaskQueueUserDataConflict`."""
    found = await connection.fetch(_SQL["versions"], *key, rows.tokens)
    stored = {row["task_queue_id"]: row["version"] for row in found}
    expected = list(zip(rows.tokens, rows.versions, rows.names, strict=True))
    conflicting = [name for token, version, name in expected if stored.get(token, 0) != version]
    if not conflicting:
        written = await connection.fetch(
            _SQL["write"], *key, rows.tokens, [version + 1 for version in rows.versions], rows.data
        )
        there = {row["task_queue_id"] for row in written}
        conflicting = [name for token, _, name in expected if token not in there]
    if conflicting:
        raise TaskQueueUserDataConflict(conflicting=conflicting)
