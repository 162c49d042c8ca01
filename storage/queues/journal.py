"""What writes of queues change, for the journal."""

from __future__ import annotations

from typing import TYPE_CHECKING

from strongroom.storage.journal.entry import Changes
from strongroom.storage.journal.images import CELL, tag
from strongroom.storage.journal.rows import RowImages

if TYPE_CHECKING:
    from uuid import UUID

_QUEUES, _MESSAGES = RowImages("queues"), RowImages("queue_messages")
_LAST = 2**63 - 1
"""The highest message id. No message has it, because ids count from 0."""
_NAMED, _NAMED_MESSAGES = RowImages("queues_v2"), RowImages("queue_v2_messages")


def replace_queue(changes: Changes, queue_type: int, old: bytes | None, new: bytes) -> None:
    """Add a new value of a queue's row, in place of the old one; None if there is none."""
    changes.replace(_QUEUES.row(None, queue_type), None if old is None else tag(old), tag(new))


def add_message(changes: Changes, namespace_id: UUID, queue_type: int, message_id: int, sealed: bytes) -> None:
    """Add a message."""
    changes.add(_MESSAGES.row(namespace_id, queue_type, message_id), tag(sealed))


def deleted_messages(queue_type: int, first: int, end: int) -> Changes:
    """Return the changes of a write that deletes messages from one id, inclusive, to another, exclusive."""
    ends = _MESSAGES.key(queue_type, min(first, _LAST)), _MESSAGES.key(queue_type, min(end, _LAST))
    return Changes(CELL, ranges=[(_MESSAGES.number, *ends)])


def replace_named_queue(changes: Changes, queue_type: int, queue_id: bytes, old: bytes | None, new: bytes) -> None:
    """Add a new value of a named queue's row, in place of the old one; None if there is none."""
    changes.replace(_NAMED.row(None, queue_type, queue_id), None if old is None else tag(old), tag(new))


def add_named_message(changes: Changes, namespace_id: UUID, key: tuple[int, bytes, int], sealed: bytes) -> None:
    """Add a message of a named queue."""
    changes.add(_NAMED_MESSAGES.row(namespace_id, *key), tag(sealed))


def deleted_named_messages(queue_type: int, queue_id: bytes, last_message_id: int) -> Changes:
    """Return the changes of a write that deletes the messages of a named queue up to one, inclusive."""
    end = min(last_message_id + 1, _LAST)
    ends = _NAMED_MESSAGES.key(queue_type, queue_id, 0), _NAMED_MESSAGES.key(queue_type, queue_id, end)
    return Changes(CELL, ranges=[(_NAMED_MESSAGES.number, *ends)])
