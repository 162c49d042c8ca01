"""Open a page of tasks. A task that does not open hides no other one, and its row is kept."""

from __future__ import annotations

from itertools import repeat
from typing import TYPE_CHECKING

from strongroom.kms import IntegrityError, UnsupportedFormat
from strongroom.kms.sealing.record_kinds import TASK
from strongroom.storage.cell.damaged_rows import DamagedRow
from strongroom.storage.data_blob import DataBlob
from strongroom.storage.sealing import UNAVAILABLE, open_each, open_rows

from .task_requests import Task, UnreadableQueueTask

if TYPE_CHECKING:
    from collections.abc import Sequence

    from strongroom.kms import Keyring, NamespaceKeys, RecordKey, StrongroomError
    from strongroom.storage.cell.damaged_rows import DamagedRows

    from .task_batches import SealedTasks

_new_task = tuple.__new__


async def open_tasks(
    keyring: Keyring,
    damaged_rows: DamagedRows,
    keys: NamespaceKeys,
    scope: RecordKey,
    page: SealedTasks,
    *,
    subqueue: int,
) -> tuple[Sequence[Task], Sequence[UnreadableQueueTask]]:
    """Open the tasks of a page.

    Args:
        keyring: The unwrapped keys.
        damaged_rows: Keeps the rows that were altered.
        keys: The keys of the queue's namespace.
        scope: The parts of the sealed values' keys that all tasks have in common.
        page: The sealed tasks.
        subqueue: The subqueue of the tasks.

    Returns:
        The tasks, and those that do not open, both in order.

    Raises:
        KmsError: The namespace's keys are not available.
        DatabaseUnavailable: Damaged rows can't be kept.
    """
    passes, task_ids, sealed = page
    positions = list(zip(passes, task_ids, strict=True))
    rows: list[tuple[RecordKey, bytes]] = list(zip(positions, sealed, strict=True))

    def open_all(keys: NamespaceKeys) -> list[bytes]:
        return keys.open_many(TASK, rows, scope=scope)

    try:
        opened = await open_rows(keyring, keys.namespace_id, sum(map(len, sealed)), open_all, keys=keys)
    except (IntegrityError, UnsupportedFormat):
        each = await open_each(keyring, keys.namespace_id, TASK, scope, rows)
        tasks, unreadable = _split(positions, each, subqueue)
        data = dict(rows)
        damaged = [
            DamagedRow(keys.namespace_id, (*scope, *key), data[key], task.reason)
            for task in unreadable
            for key in [(task.task_pass, task.task_id)]
        ]
        if damaged:
            await damaged_rows.keep(TASK, damaged)
        return tasks, unreadable
    blobs = DataBlob.unpack_many(opened)
    return [_new_task(Task, values) for values in zip(task_ids, blobs, passes, repeat(subqueue))], ()


def _split(
    positions: Sequence[tuple[int, int]], opened: Sequence[bytes | StrongroomError], subqueue: int
) -> tuple[list[Task], list[UnreadableQueueTask]]:
    """Return the tasks that were opened, and those whose rows were changed.

    Raises:
        KmsError: The key of a task is not available.
    """
    tasks: list[Task] = []
    unreadable: list[UnreadableQueueTask] = []
    for (task_pass, task_id), packed in zip(positions, opened, strict=True):
        if isinstance(packed, bytes):
            tasks.append(Task(task_id, DataBlob.unpack(packed), task_pass, subqueue))
        elif isinstance(packed, UNAVAILABLE):
            raise packed  # it may open later, so the queue must not go on without it
        else:
            unreadable.append(UnreadableQueueTask(task_id, task_pass, subqueue, packed))
    return tasks, unreadable
