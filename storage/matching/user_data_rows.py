"""User data as rows: what a caller reads and writes, the checks of an update, and the sealed columns of a statement."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from strongroom.kms import StrongroomError
from strongroom.kms.sealing.record_kinds import BUILD_ID, TASK_QUEUE_USER_DATA
from strongroom.storage.checks import check_blob, check_collection, check_id, check_mapping, check_number, check_type
from strongroom.storage.data_blob import DataBlob
from strongroom.storage.errors import ConditionFailed, InvalidPersistenceRequest

from .task_queue_keys import build_id_token, pack_named, task_queue_token

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from strongroom.kms import NamespaceKeys, RecordKey

_LAST_VERSION = 2**63 - 1
MAX_UPDATES = 1000
"""The maximum number of queues in one update."""
MAX_BUILD_IDS = 10_000
"""The maximum number of build ids in one update, added and removed."""


@dataclass(frozen=True, slots=True)
class TaskQueueUserData:
    """The user data of a task queue.

    Attributes:
        task_queue: The name of the queue.
        version: 1 after the first write; each later write adds 1.
        data: The service's blob, which is sealed.
    """

    task_queue: str
    version: int
    data: DataBlob


@dataclass(frozen=True, slots=True)
class UserDataUpdate:
    """The update of one queue's user data.

    Attributes:
        version: The stored version; 0 if the queue has no user data. The write adds 1.
        data: The service's new blob; at most 4 MiB.
        build_ids_added: The build ids that the queue uses from now on. Adding one that it already uses is not an error.
        build_ids_removed: The build ids that the queue no longer uses. They are removed after the others were added.
    """

    version: int
    data: DataBlob
    build_ids_added: Collection[str] = ()
    build_ids_removed: Collection[str] = ()


@dataclass(frozen=True, slots=True)
class UnreadableUserData:
    """The user data of a task queue that does not open, because its row was changed. The queue's name is sealed with it.

    Attributes:
        version: The stored version.
        reason: The error of opening it, for example `IntegrityError`.
    """

    version: int
    reason: StrongroomError


@dataclass(frozen=True, slots=True)
class UserDataPage:
    """A page of user data.

    Attributes:
        entries: The user data, in the order of the queues' tokens.
        next_page_token: The token of the next page; None at the end.
        unreadable: The user data that do not open.
    """

    entries: Sequence[TaskQueueUserData]
    next_page_token: bytes | None
    unreadable: Sequence[UnreadableUserData] = ()


class TaskQueueUserDataConflict(ConditionFailed):
    """The user data of a queue has another version than expected. Nothing of the whole update was written.

    Attributes:
        conflicting: The names of all queues in conflict. The updates of the others may be sent again.
    """

    def __init__(self, message: str | None = None, *, conflicting: Iterable[str] = ()) -> None:
        super().__init__(
            message
            or "the user data of a task queue has another version; nothing was written, so read it and try again"
        )
        self.conflicting = frozenset(conflicting)


class UserDataRows(NamedTuple):
    """The columns of an update. Queues are in the order of their tokens, in which they are written."""

    names: list[str]
    tokens: list[bytes]
    versions: list[int]
    data: list[bytes]
    added: list[tuple[bytes, bytes]]
    added_names: list[bytes]
    removed: list[tuple[bytes, bytes]]


def checked_updates(updates: Mapping[str, UserDataUpdate]) -> tuple[list[tuple[bytes, UserDataUpdate]], int]:
    """Refuse invalid updates.

    Returns:
        The updates with the bytes of their queues' names; and the size of all blobs, in bytes.
    """
    check_mapping("updates", updates)
    if not 0 < len(updates) <= MAX_UPDATES:
        msg = f"an update must have 1 to {MAX_UPDATES} task queues"
        raise InvalidPersistenceRequest(msg)
    named = [(check_id("task queue", task_queue), update) for task_queue, update in updates.items()]
    size = build_ids = 0
    for _, update in named:
        check_type("update", update, UserDataUpdate)
        check_number("version", update.version, limit=_LAST_VERSION)
        check_collection("build_ids_added", update.build_ids_added)
        check_collection("build_ids_removed", update.build_ids_removed)
        size += check_blob("data", update.data)
        for changed in (update.build_ids_added, update.build_ids_removed):
            if isinstance(changed, str):
                msg = "build ids must be a collection of texts"
                raise InvalidPersistenceRequest(msg)
            build_ids += len(changed)
    if build_ids > MAX_BUILD_IDS:
        msg = f"an update can add and remove at most {MAX_BUILD_IDS} build ids"
        raise InvalidPersistenceRequest(msg)
    return named, size


def sealed_rows(keys: NamespaceKeys, range_hash: int, named: Sequence[tuple[bytes, UserDataUpdate]]) -> UserDataRows:
    """Seal updates, and return their columns in the order of the queues' tokens."""
    ordered = sorted((task_queue_token(keys, name), name, update) for name, update in named)
    data: list[tuple[RecordKey, bytes]] = []
    added: list[tuple[bytes, bytes]] = []
    added_to: list[bytes] = []
    removed: list[tuple[bytes, bytes]] = []
    for token, name, update in ordered:
        data.append(((token, update.version + 1), pack_named(name, update.data)))
        build_ids = _build_id_tokens(keys, update.build_ids_added)
        added += [(build_id, token) for build_id in build_ids]
        added_to += [name] * len(build_ids)
        removed += [(build_id, token) for build_id in _build_id_tokens(keys, update.build_ids_removed)]
    scope = (range_hash,)
    named_rows = list(zip(added, added_to, strict=True))
    sealed, added_names = keys.seal_groups([(TASK_QUEUE_USER_DATA, scope, data), (BUILD_ID, scope, named_rows)])
    return UserDataRows(
        names=[name.decode() for _, name, _ in ordered],
        tokens=[token for token, _, _ in ordered],
        versions=[update.version for _, _, update in ordered],
        data=sealed,
        added=added,
        added_names=added_names,
        removed=removed,
    )


def _build_id_tokens(keys: NamespaceKeys, build_ids: Collection[str]) -> list[bytes]:
    """Return the tokens of build ids, sorted so that two updates never deadlock."""
    return sorted({build_id_token(keys, check_id("build id", build_id)) for build_id in build_ids})
