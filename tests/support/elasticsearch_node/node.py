"""The base class of all nodes, and a node at a given address."""

from __future__ import annotations

import socket
import time
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any

from .client import Client, ElasticsearchAnswer

if TYPE_CHECKING:
    from pathlib import Path

READY = "/_cluster/health?wait_for_status=yellow&wait_for_no_initializing_shards=true&timeout=30s"
PATIENCE = 220.0
"""Time for nodes to be up, in seconds. It is below pytest's own timeout, which ends a session without the node's reason."""


class NotOurs(Exception):  # noqa: N818 - the name says what is wrong
    """The tests did not start this node, so they must not stop it."""


class ElasticsearchNode(ABC):
    """One Elasticsearch node on 127.0.0.1, without TLS and passwords."""

    url: str
    """The address without a path. It stays the same after `kill` and `start`."""
    kind: str
    """The way in which the node was started, for reports."""

    @property
    def pid(self) -> int | None:
        """The process id of the node, if it runs on this machine and is up."""
        return None

    @property
    def data(self) -> Path | None:
        """The folder of its shards and translogs, for a search in the files."""
        return None

    @abstractmethod
    def kill(self) -> None:
        """Kill the node without a flush, as a loss of power does."""

    @abstractmethod
    def start(self) -> None:
        """Start the node on the same data and address, and wait until all shards are up."""

    @abstractmethod
    def close(self) -> None:
        """End the node, and remove its files."""

    def is_up(self) -> bool:
        """Return whether the node answers."""
        try:
            with Client(self.url, timeout=60) as client:
                client.request("GET", "/_cluster/health")
        except (OSError, ElasticsearchAnswer):
            return False
        return True

    def request(self, method: str, path: str, body: Any = None) -> Any:
        """Send one request on its own connection; see `Client.request`."""
        with Client(self.url) as client:
            return client.request(method, path, body)

    def _check(self) -> None:  # noqa: B027 - not every node can find out
        """Raise if the node can't come up any more."""

    def wait(self, deadline: float | None = None) -> None:
        """Wait until the node answers and has its shards.

        Args:
            deadline: Monotonic time at which the last error is raised; None for `PATIENCE` from now.
        """
        if deadline is None:
            deadline = time.monotonic() + PATIENCE
        while True:
            self._check()
            try:
                self.request("GET", READY)
            except (OSError, ElasticsearchAnswer):
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.1)
            else:
                return


class ExternalNode(ElasticsearchNode):
    """A node at a given address, which the tests did not start."""

    kind = "STRONGROOM_ELASTICSEARCH_URL"

    def __init__(self, url: str):
        self.url = url.rstrip("/")

    def kill(self) -> None:
        """Refuse."""
        raise NotOurs

    def start(self) -> None:
        """Refuse."""
        raise NotOurs

    def close(self) -> None:
        """Leave the node as it is."""


def free_ports(count: int) -> list[int]:
    """Return ports of 127.0.0.1 for servers that start within a minute. Until then the system gives them to no other program."""
    return [_free_port() for _ in range(count)]


def _free_port() -> int:
    # The side that closes a connection first keeps its port for a minute. Only servers with SO_REUSEADDR can use it, as all do.
    with (
        socket.create_server(("127.0.0.1", 0)) as listening,
        socket.create_connection(listening.getsockname()) as client,
    ):
        accepted, _ = listening.accept()
        accepted.close()
        client.recv(1)
        port: int = listening.getsockname()[1]
        return port
