"""What the supervisor and a worker process send to each other, over a socket of their own: JSON, one line for each message."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import Any

LINE_BYTES = 4 * 2**20
"""Maximum size of a message. The configuration is in the first one."""


@dataclass(frozen=True, slots=True)
class Assignment:
    """The first message, from the supervisor to a new worker process.

    Attributes:
        document: The content of the configuration. All workers have the same, even if the file changes meanwhile.
        folder: The folder that relative paths in it start at.
        source: The path of the configuration, for messages.
        worker: The number of the worker.
        workers: The number of workers.
        restarts: How often this worker was started again.
        parent: The process id of the supervisor.
    """

    document: dict[str, Any]
    folder: str
    source: str
    worker: int
    workers: int
    restarts: int
    parent: int


@dataclass(frozen=True, slots=True)
class Report:
    """A message of a worker to the supervisor, each second.

    Attributes:
        state: The state of the worker: starting, serving, draining or failed.
        connections: The number of open connections.
        in_flight: The number of calls that are not answered yet.
        database: Whether the database answered lately: reachable, slow or unreachable.
        error: The reason, if the state is failed.
    """

    state: str
    connections: int = 0
    in_flight: int = 0
    database: str = "unknown"
    error: str = ""


def encoded(message: Assignment | Report) -> bytes:
    """Return a message as one line."""
    return json.dumps(asdict(message)).encode() + b"\n"
