"""A node in a container, started with testcontainers."""

from __future__ import annotations

from typing import TYPE_CHECKING

from docker.errors import DockerException

from tests.support.services import CannotStart
from tests.support.services.programs import engine_container

from .node import ElasticsearchNode, free_ports

if TYPE_CHECKING:
    from docker.models.containers import Container

IMAGE = "docker.elastic.co/elasticsearch/elasticsearch:9.2.0"
SETTINGS = {
    "discovery.type": "single-node",
    "xpack.security.enabled": "false",
    "xpack.ml.enabled": "false",
    "path.repo": "/tmp/snapshots",  # noqa: S108 - in the container
    "cluster.routing.allocation.disk.threshold_enabled": "false",
}


class DockerNode(ElasticsearchNode):
    """A container of Elastic's image. testcontainers removes it when our process ends, even after a crash."""

    kind = f"Docker ({IMAGE})"

    def __init__(self, *, heap: str = "512m"):
        (port,) = free_ports(1)
        self.url = f"http://127.0.0.1:{port}"
        settings = SETTINGS | {"ES_JAVA_OPTS": f"-Xms{heap} -Xmx{heap}"}
        container = engine_container(IMAGE)
        self._container = container.with_envs(**settings).with_bind_ports(9200, ("127.0.0.1", port))
        try:
            self._container.start()
        except DockerException as error:
            raise CannotStart(f"the Docker engine does not run {IMAGE}: {error}") from None

    def start(self) -> None:
        """Start the container, which keeps its files, and wait until all shards are up."""
        self._running().start()  # changes nothing where it runs
        self.wait()

    def kill(self) -> None:
        """Kill the container's process."""
        self._running().kill("SIGKILL")
        self._running().wait()

    def close(self) -> None:
        """Remove the container and its volume."""
        self._container.stop()

    def _running(self) -> Container:
        return self._container.get_wrapped_container()
