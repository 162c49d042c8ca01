"""Pages of history tasks and dead letters: open their rows, and make the token of the next page."""

from __future__ import annotations

import asyncio
from functools import partial
from operator import attrgetter
from typing import TYPE_CHECKING, NamedTuple, TypeAlias
from uuid import UUID

from strongroom.storage.cell.damaged_rows import DAMAGED, DamagedRow, DamagedRows
from strongroom.storage.data_blob import DataBlob
from strongroom.storage.page_tokens import page_token
from strongroom.storage.sealing import open_each

from .tasks import HistoryTask, TaskKey, UnreadableTask

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from strongroom.kms import Keyring, RecordKey, RecordKind
    from strongroom.storage.engine.database import Database

    OpenedTasks: TypeAlias = tuple[list[HistoryTask], list[UnreadableTask]]
    """The tasks of a page, and the tasks that do not open."""


class SealedTask(NamedTuple):
    """A row of a queue."""

    key: TaskKey
    namespace_id: UUID
    data: bytes


def page_opener(keyring: Keyring, database: Database) -> Callable[..., Awaitable[OpenedTasks]]:
    """Return `open_tasks` with the keys and the database of a store."""
    return partial(open_tasks, keyring, DamagedRows(database))


async def open_tasks(
    keyring: Keyring,
    damaged_rows: DamagedRows,
    kind: RecordKind,
    scope: RecordKey,
    page: Sequence[SealedTask],
    *,
    key_parts: int = 2,
) -> OpenedTasks:
    """Open tasks of several namespaces at the same time, each with the keys of its own namespace. Damaged rows are kept.

    Args:
        keyring: The unwrapped keys.
        damaged_rows: Keeps the rows that were altered.
        kind: The record kind of the tasks.
        scope: The parts of the sealed values' keys that all tasks have in common.
        page: The rows.
        key_parts: The number of last parts of a task's key that the sealed value is bound to.

    Returns:
        The tasks, and the tasks that do not open, both in the order of their keys.

    Raises:
        DatabaseUnavailable: Damaged rows can't be kept.
    """
    if not page:
        return [], []
    by_namespace: dict[bytes, list[tuple[TaskKey, bytes]]] = {}
    for key, owner, data in page:
        by_namespace.setdefault(owner.bytes, []).append((key, data))
    tasks: list[HistoryTask] = []
    unreadable: list[UnreadableTask] = []
    damaged: list[DamagedRow] = []

    async def open_of(id_bytes: bytes) -> None:
        namespace_id, rows = UUID(bytes=id_bytes), by_namespace[id_bytes]
        sealed: list[tuple[RecordKey, bytes]] = [(key[-key_parts:], data) for key, data in rows]
        opened = await open_each(keyring, namespace_id, kind, scope, sealed)
        for (key, data), packed in zip(rows, opened, strict=True):
            if isinstance(packed, bytes):
                tasks.append(HistoryTask(key, DataBlob.unpack(packed), namespace_id))
                continue
            unreadable.append(UnreadableTask(key, namespace_id, packed))
            if isinstance(packed, DAMAGED):
                damaged.append(DamagedRow(namespace_id, (*scope, *key[-key_parts:]), data, packed))

    if len(by_namespace) == 1:
        await open_of(*by_namespace)
    else:
        await asyncio.gather(*map(open_of, by_namespace))  # KMS that do not answer delay the page only once
    if damaged:
        await damaged_rows.keep(kind, damaged)
    by_key = attrgetter("key")
    return sorted(tasks, key=by_key), sorted(unreadable, key=by_key)


def next_token(page: Sequence[SealedTask], size: int, max_key: TaskKey, operation: str, scope: bytes) -> bytes | None:
    """Return the token of the next page; None if this page is not full, or ends right before `max_key`.

    Args:
        page: The rows of the page.
        size: The maximum number of rows of a page.
        max_key: The end of the range, exclusive.
        operation: The operation that the token is for.
        scope: What the operation reads.
    """
    if len(page) < size:
        return None
    last = page[-1].key
    following = TaskKey(last.fire_time, last.task_id + 1)
    return page_token(operation, scope, *following) if following < max_key else None
