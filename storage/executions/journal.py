"""What writes of runs change, for the journal."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

from strongroom.storage.histories.journal import changed_history
from strongroom.storage.journal.entry import Changes
from strongroom.storage.journal.images import CURRENT_EXECUTIONS, EXECUTIONS, HISTORY_TASKS, TAG_BYTES, tag
from strongroom.storage.visibility_rows.journal import add_record

from .binding import CURRENT_MACS_BYTES, RUN_MACS_BYTES, RunRule
from .known_runs import UNKNOWN_TAG

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from uuid import UUID

    from .binding import WriteExecutionsColumns
    from .rows import ExecutionWrite
    from .tasks import TaskKey

_ARCHETYPE = struct.Struct(">q")
_TASK = struct.Struct(">hqq")
_TAG = slice(-TAG_BYTES, None)
_run_image = struct.Struct(f">B16s32s{TAG_BYTES}s").pack
_current_image = struct.Struct(f">B16s16sq{TAG_BYTES}s").pack
_task_image = struct.Struct(f">B16shqq{TAG_BYTES}s").pack
_RUN_NUMBER, _CURRENT_NUMBER, _TASK_NUMBER = bytes([EXECUTIONS]), bytes([CURRENT_EXECUTIONS]), bytes([HISTORY_TASKS])


def changes_of(
    writes: Sequence[ExecutionWrite], columns: WriteExecutionsColumns, names: Sequence[bytes]
) -> list[Changes]:
    """Return what each write changes.

    Args:
        writes: The writes, in the order of the columns.
        columns: Their sealed columns.
        names: The workflow token and run id of each run, in the order of the columns.
    """
    changes = [Changes(write.plan.shard_id) for write in writes]
    namespaces = [write.keys.namespace_id.bytes for write in writes]
    runs, macs = columns.runs, bytes(columns.runs.macs)
    inserted, end = int(RunRule.INSERT), 0  # comparing numbers takes half the time
    for number, rule, name, data in zip(runs.request, runs.rule, names, runs.data, strict=True):
        assert data is not None  # noqa: S101 - every place was sealed
        change, namespace = changes[number - 1], namespaces[number - 1]
        change.images.append(_run_image(EXECUTIONS, namespace, name, data[_TAG]))
        end += RUN_MACS_BYTES
        if rule != inserted:  # the statement compares the stored row's tag with the one that it is given
            change.replaced.append(_run_image(EXECUTIONS, namespace, name, macs[end - TAG_BYTES : end]))
    currents, macs, end = columns.currents, bytes(columns.currents.macs), 0
    for number, archetype_id, data in zip(currents.request, currents.archetype, currents.data, strict=True):
        end += CURRENT_MACS_BYTES
        if data is not None:  # the row is written
            change, namespace, workflow = changes[number - 1], namespaces[number - 1], writes[number - 1].workflow
            known = macs[end - TAG_BYTES : end]
            if known == UNKNOWN_TAG:  # the statement names the row that it replaces
                change.overwrite(current_row(namespace, workflow, archetype_id), data[_TAG])
            else:
                place = (CURRENT_EXECUTIONS, namespace, workflow, archetype_id)
                change.replaced.append(_current_image(*place, known))
                change.images.append(_current_image(*place, data[_TAG]))
    tasks = columns.tasks
    for number, category_id, fire_time, task_id, data in zip(
        tasks.request, tasks.category, tasks.fire_time, tasks.task, tasks.data, strict=True
    ):
        assert data is not None  # noqa: S101 - every place was sealed
        changes[number - 1].images.append(
            _task_image(HISTORY_TASKS, namespaces[number - 1], category_id, fire_time, task_id, data[_TAG])
        )
    changed_history(changes, namespaces, columns.history, first=1)
    for number, write in enumerate(writes):
        for record in write.plan.visibility:
            add_record(changes[number], write.keys.namespace_id, record.id, record.clear, record.sealed)
    return changes


def added_tasks(shard_id: int, namespace_id: UUID, tasks: Iterable[tuple[tuple[int, int, int], bytes]]) -> Changes:
    """Return the changes of a write that adds history tasks. Each is category, fire time and task id, then the sealed task."""
    prefix = _TASK_NUMBER + namespace_id.bytes
    return Changes(shard_id, [prefix + _TASK.pack(*key) + tag(data) for key, data in tasks])


def completed_tasks(shard_id: int, category_id: int, min_key: TaskKey, max_key: TaskKey) -> Changes:
    """Return the changes of a write that deletes a range of history tasks."""
    return Changes(
        shard_id, ranges=[(HISTORY_TASKS, _TASK.pack(category_id, *min_key), _TASK.pack(category_id, *max_key))]
    )


def run_row(namespace: bytes, workflow: bytes, run_id: bytes) -> bytes:
    """Return the image, without its tag, of a row of `executions`."""
    return _RUN_NUMBER + namespace + workflow + run_id


def current_row(namespace: bytes, workflow: bytes, archetype_id: int) -> bytes:
    """Return the image, without its tag, of a row of `current_executions`."""
    return _CURRENT_NUMBER + namespace + workflow + _ARCHETYPE.pack(archetype_id)
