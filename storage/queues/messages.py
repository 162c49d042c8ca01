"""The arguments and results of the operations on queues: the replication queue (`Queue`) and named queues (`QueueV2`)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from uuid import UUID

    from strongroom.kms import StrongroomError
    from strongroom.storage.data_blob import DataBlob

NAMESPACE_REPLICATION = 1
"""The queue type of the namespace replication queue. Temporal uses no other type."""
BEFORE_FIRST = -1
"""The id before the first message, whose id is 0."""


@dataclass(frozen=True, slots=True)
class QueueMessage:
    """A message of a queue.

    Attributes:
        message_id: The sequence number of the message. Numbers start at 0, have no gaps and are never reused.
        data: The message; None if it can't be opened.
        unreadable: The error of opening the message, for example `IntegrityError`; None if it was opened.
    """

    message_id: int
    data: DataBlob | None
    unreadable: StrongroomError | None = None


@dataclass(frozen=True, slots=True)
class QueuePage:
    """A page of messages.

    Attributes:
        messages: The messages in the order of their ids.
        next_page_token: The token of the next page; None at the end.
    """

    messages: tuple[QueueMessage, ...]
    next_page_token: bytes | None


@dataclass(frozen=True, slots=True)
class AckLevels:
    """The acknowledgement levels of a queue: how far each reader has read.

    Attributes:
        data: The blob of the service; empty before `init`.
        version: The version of the queue's row; 0 before the first update.
    """

    data: DataBlob
    version: int


@dataclass(frozen=True, slots=True)
class QueueV2Message:
    """A message of a named queue.

    Attributes:
        message_id: The sequence number of the message. Numbers start at 0, have no gaps and are never reused.
        namespace_id: The namespace of the message; None for a message that belongs to the whole deployment.
        data: The message; None if it can't be opened.
        unreadable: The error of opening the message, for example `KeyDestroyed` or `IntegrityError`; None if it was opened.
    """

    message_id: int
    namespace_id: UUID | None
    data: DataBlob | None
    unreadable: StrongroomError | None = None


@dataclass(frozen=True, slots=True)
class QueueV2Page:
    """A page of messages.

    Attributes:
        messages: The messages in the order of their ids.
        next_page_token: The token of the position after the last message; None if the page has no message.
    """

    messages: tuple[QueueV2Message, ...]
    next_page_token: bytes | None


@dataclass(frozen=True, slots=True)
class QueueV2Info:
    """A queue in the list of queues.

    Attributes:
        queue_name: The name of the queue.
        message_count: The number of messages in the queue.
        last_message_id: The id of the newest message, even if it is deleted; -1 if no message was ever appended.
    """

    queue_name: str
    message_count: int
    last_message_id: int


@dataclass(frozen=True, slots=True)
class QueueV2InfoPage:
    """A page of the list of queues.

    Attributes:
        queues: The queues in the order of their tokens.
        next_page_token: The token of the next page; None at the end.
    """

    queues: tuple[QueueV2Info, ...]
    next_page_token: bytes | None
