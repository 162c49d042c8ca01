"""What writes of matching change, for the journal."""

from __future__ import annotations

import struct
from operator import itemgetter
from typing import TYPE_CHECKING, TypeAlias

from strongroom.storage.journal.entry import Changes
from strongroom.storage.journal.images import TAG_BYTES, TASKS, tag, task_queue_group
from strongroom.storage.journal.rows import RowImages

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from uuid import UUID

    from strongroom.kms import RecordKey
    from strongroom.storage.engine.connection import Row

    from .task_queue_keys import RowKey

    _Parts: TypeAlias = Sequence[tuple[bytes, Sequence[tuple[RecordKey, bytes]]]]
    _Request: TypeAlias = tuple[int, UUID, int, _Parts]

_QUEUE = struct.Struct(">B16si16sh?")
_TASK = struct.Struct(f">{_QUEUE.size}sqq{TAG_BYTES}s")
_QUEUES, _TASKS = RowImages("task_queues"), RowImages("tasks")
_USER_DATA, _BUILD_IDS = RowImages("task_queue_user_data"), RowImages("build_id_to_task_queue")


def added_tasks(requests: Iterable[_Request], fair: bool, sealed: Sequence[bytes]) -> list[Changes]:  # noqa: FBT001 - as in rows
    """Return the changes of a statement that adds tasks: one for each group of queues, because it adds all or none.

    Args:
        requests: The range hash, namespace and type of each queue, with the tasks of each of its parts.
        fair: Whether the queues are fair.
        sealed: The sealed tasks, in the order of the requests.
    """
    changes: dict[int, Changes] = {}
    tags = map(itemgetter(slice(-TAG_BYTES, None)), sealed)
    pack = _TASK.pack
    for range_hash, namespace_id, task_type, parts in requests:
        group = task_queue_group(range_hash)
        change = changes.get(group)
        if change is None:
            change = changes[group] = Changes(group)
        for queue_id, rows in parts:
            prefix = _QUEUE.pack(TASKS, namespace_id.bytes, range_hash, queue_id, task_type, fair)
            change.images += [pack(prefix, *key, own) for (key, _), own in zip(rows, tags)]  # noqa: B905 - of all requests
    return list(changes.values())


def completed_tasks(key: RowKey, max_pass: int, max_task_id: int) -> Changes:
    """Return the changes of a statement that deletes the first tasks of a queue."""
    range_hash, _, *queue = key
    ends = _TASKS.key(range_hash, *queue, 0, 0), _TASKS.key(range_hash, *queue, max_pass, max_task_id)
    return Changes(task_queue_group(range_hash), ranges=[(TASKS, *ends)])


def changed_queue(key: RowKey, sealed: bytes | None) -> Changes:
    """Return the changes of a write to a queue's row; the sealed value is None if the row is deleted."""
    range_hash, namespace_id, *rest = key
    row = _QUEUES.row(namespace_id, range_hash, *rest)
    changes = Changes(task_queue_group(range_hash))
    if sealed is None:
        changes.rows.append(row)
    else:
        changes.overwrite(row, tag(sealed))
    return changes


def changed_user_data(
    namespace_id: UUID, range_hash: int, written: Iterable[tuple[bytes, bytes]], replaced: Iterable[Row]
) -> Changes:
    """Return the changes of an update of user data.

    Args:
        namespace_id: The namespace.
        range_hash: The range hash of its user data.
        written: The token of each queue with its sealed user data.
        replaced: The token and the tag of each row that was replaced.
    """
    changes = Changes(task_queue_group(range_hash))
    tags = {row["task_queue_id"]: row["tag"] for row in replaced}
    for token, data in written:
        changes.replace(_USER_DATA.row(namespace_id, range_hash, token), tags.get(token), tag(data))
    return changes


def add_build_ids(
    changes: Changes,
    namespace_id: UUID,
    range_hash: int,
    wanted: Mapping[tuple[bytes, bytes], bytes],
    added: Iterable[Row],
) -> None:
    """Add the rows of build ids to the changes of an update, except those that existed.

    Args:
        changes: The changes.
        namespace_id: The namespace.
        range_hash: The range hash of its user data.
        wanted: The sealed name of each pair of a build id and a queue.
        added: The pairs that were written.
    """
    for row in added:
        pair = (row["build_id"], row["task_queue_id"])
        changes.add(_BUILD_IDS.row(namespace_id, range_hash, *pair), tag(wanted[pair]))


def remove_build_ids(
    changes: Changes, namespace_id: UUID, range_hash: int, wanted: Iterable[tuple[bytes, bytes]], removed: Iterable[Row]
) -> None:
    """Take the rows of build ids out of the sums, if they existed; see `add_build_ids`."""
    tags = {(row["build_id"], row["task_queue_id"]): row["tag"] for row in removed}
    for pair in wanted:
        if pair in tags:
            changes.remove(_BUILD_IDS.row(namespace_id, range_hash, *pair), tags[pair])
