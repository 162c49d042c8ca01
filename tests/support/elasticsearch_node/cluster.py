"""A cluster of real nodes on this machine: `with elasticsearch_cluster() as cluster: ... cluster.nodes[0].kill()`."""

from __future__ import annotations

import tempfile
import time
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from tests.support.services import ELASTICSEARCH, Way, started

from .client import ElasticsearchAnswer
from .jvm_node import JvmNode
from .node import PATIENCE, free_ports

if TYPE_CHECKING:
    from collections.abc import Iterator


@dataclass(frozen=True, slots=True)
class ElasticsearchCluster:
    """Nodes that are one cluster."""

    nodes: tuple[JvmNode, ...]

    @property
    def urls(self) -> list[str]:
        """The addresses of all nodes."""
        return [node.url for node in self.nodes]

    def start(self) -> None:
        """Start the nodes that do not run, and wait until all are in the cluster and all shards and replicas are up."""
        for node in self.nodes:
            if node.pid is None:
                node.launch()
        deadline = time.monotonic() + PATIENCE
        for node in self.nodes:
            node.wait(deadline)
        self.wait_for("green", deadline)

    def wait_for(self, status: str, deadline: float | None = None) -> None:
        """Wait until all nodes that run are one cluster of a health.

        Args:
            status: The health.
            deadline: Monotonic time at which the last error is raised; None for `PATIENCE` from now.
        """
        if deadline is None:
            deadline = time.monotonic() + PATIENCE
        up = [node for node in self.nodes if node.pid is not None]
        path = f"/_cluster/health?wait_for_nodes={len(up)}&wait_for_status={status}&timeout=10s"
        while True:
            try:
                up[0].request("GET", path)
            except (OSError, ElasticsearchAnswer):
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.2)
            else:
                return

    def close(self) -> None:
        """Kill all nodes."""
        for node in self.nodes:
            node.close()


@contextmanager
def elasticsearch_cluster(nodes: int = 3, *, heap: str = "320m") -> Iterator[ElasticsearchCluster]:
    """Start a cluster, and end it with the block.

    Args:
        nodes: The number of nodes. Each may be the master, and holds shards.
        heap: The memory of each Java process.

    Raises:
        ServiceMissing: No node can be started here. The message has the reasons.
    """

    @contextmanager
    def local() -> Iterator[ElasticsearchCluster]:
        with tempfile.TemporaryDirectory(prefix="strongroom-es-") as folder:
            ports = free_ports(2 * nodes)
            names = [f"node-{number}" for number in range(nodes)]
            shared = {
                "discovery.seed_hosts": ",".join(f"127.0.0.1:{port}" for port in ports[nodes:]),
                "cluster.initial_master_nodes": ",".join(names),
            }
            cluster = ElasticsearchCluster(
                tuple(
                    JvmNode(Path(folder) / name, heap=heap, ports=pair, settings={**shared, "node.name": name})
                    for name, pair in zip(names, zip(ports[:nodes], ports[nodes:], strict=True), strict=True)
                )
            )
            try:
                cluster.start()
                yield cluster
            finally:
                cluster.close()

    with started(ELASTICSEARCH, {Way.LOCAL: local}, own=True) as cluster:
        yield cluster
