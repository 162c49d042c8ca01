"""Message queues: Temporal's `Queue` for namespace replication, and its `QueueV2` for dead history tasks."""

from .messages import (
    NAMESPACE_REPLICATION,
    AckLevels,
    QueueMessage,
    QueuePage,
    QueueV2Info,
    QueueV2InfoPage,
    QueueV2Message,
    QueueV2Page,
)
from .queue import Queue
from .queue_v2 import QueueV2

__all__ = [
    "NAMESPACE_REPLICATION",
    "AckLevels",
    "Queue",
    "QueueMessage",
    "QueuePage",
    "QueueV2",
    "QueueV2Info",
    "QueueV2InfoPage",
    "QueueV2Message",
    "QueueV2Page",
]
