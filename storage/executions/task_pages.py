"""Pages of history tasks and dead letters: open their rows, and make the token of the next page."""

from __future__ import annotations

from operator import attrgetter
from typing import TYPE_CHECKING
from uuid import UUID

from strongroom.kms import KmsError
from strongroom.storage.data_blob import DataBlob
from strongroom.storage.page_tokens import page_token

from .tasks import HistoryTask, TaskKey, UnreadableTask

if TYPE_CHECKING:
    from collections.abc import Sequence

    from strongroom.kms import Keyring, NamespaceKeys, RecordKey, RecordKind
    from strongroom.storage.engine.connection import Row


async def open_tasks(
    keyring: Keyring, kind: RecordKind, scope: RecordKey, page: Sequence[tuple[TaskKey, Row]], *, key_parts: int = 2
) -> tuple[list[HistoryTask], list[UnreadableTask]]:
    """Open tasks of several namespaces, each with the keys of its own namespace.

    Args:
        keyring: The unwrapped keys.
        kind: The record kind of the tasks.
        scope: The parts of the sealed values' keys that all tasks have in common.
        page: The rows with their keys.
        key_parts: The number of last parts of a task's key that the sealed value is bound to.

    Returns:
        The tasks, and the tasks whose namespace's keys are not available, both in the order of their keys.

    Raises:
        IntegrityError: A task does not open.
    """
    by_namespace: dict[bytes, list[tuple[TaskKey, bytes]]] = {}
    for key, row in page:
        by_namespace.setdefault(row["namespace_id"].bytes, []).append((key, row["data"]))
    tasks: list[HistoryTask] = []
    unreadable: list[UnreadableTask] = []
    for id_bytes, rows in by_namespace.items():
        namespace_id = UUID(bytes=id_bytes)
        sealed = [(key[-key_parts:], data) for key, data in rows]

        def use(keys: NamespaceKeys, sealed: Sequence[tuple[RecordKey, bytes]] = sealed) -> list[bytes]:
            return keys.open_many(kind, sealed, scope=scope)

        try:
            opened = await keyring.with_keys(namespace_id, use)
        except KmsError as error:
            unreadable += [UnreadableTask(key, namespace_id, error) for key, _ in rows]
        else:
            tasks += [
                HistoryTask(key, DataBlob.unpack(packed), namespace_id)
                for (key, _), packed in zip(rows, opened, strict=True)
            ]
    by_key = attrgetter("key")
    return sorted(tasks, key=by_key), sorted(unreadable, key=by_key)


def next_token(
    page: Sequence[tuple[TaskKey, Row]], size: int, max_key: TaskKey, operation: str, scope: bytes
) -> bytes | None:
    """Return the token of the next page; None if this page is not full, or ends right before `max_key`.

    Args:
        page: The rows of the page with their keys.
        size: The maximum number of rows of a page.
        max_key: The end of the range, exclusive.
        operation: The operation that the token is for.
        scope: What the operation reads.
    """
    if len(page) < size:
        return None
    last = page[-1][0]
    following = TaskKey(last.fire_time, last.task_id + 1)
    return page_token(operation, scope, *following) if following < max_key else None
