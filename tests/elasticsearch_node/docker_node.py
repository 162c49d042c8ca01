"""A node in a container, through Docker's own command line: four commands do not need a library."""

from __future__ import annotations

import os
import subprocess
from uuid import uuid4

from .missing import ElasticsearchMissing
from .node import ElasticsearchNode, free_ports

IMAGE = "docker.elastic.co/elasticsearch/elasticsearch:9.2.0"
SETTINGS = {
    "discovery.type": "single-node",
    "xpack.security.enabled": "false",
    "xpack.ml.enabled": "false",
    "cluster.routing.allocation.disk.threshold_enabled": "false",
}


class DockerNode(ElasticsearchNode):
    """A container of Elastic's image, which is removed when our process ends, however it ends."""

    kind = f"Docker ({IMAGE})"

    def __init__(self, *, heap: str = "512m"):
        answer = _run("version", "--format", "{{.Server.Version}}")
        if answer is None:
            raise ElasticsearchMissing("there is no `docker` command")
        if answer.returncode:
            raise ElasticsearchMissing("no Docker engine answers")
        self._name = f"strongroom-{uuid4().hex[:12]}"
        settings = SETTINGS | {"ES_JAVA_OPTS": f"-Xms{heap} -Xmx{heap}"}
        variables = [item for name, value in settings.items() for item in ("--env", f"{name}={value}")]
        (port,) = free_ports(1)
        self.url = f"http://127.0.0.1:{port}"
        _must("create", "--name", self._name, "--publish", f"127.0.0.1:{port}:9200", *variables, IMAGE)
        # This shell outlives us by one line: its standard input ends when we do.
        self._reaper = subprocess.Popen(
            ["/bin/sh", "-c", f"cat > /dev/null; docker rm --force --volumes {self._name} > /dev/null"],
            stdin=subprocess.PIPE,
            start_new_session=True,
        )

    def start(self) -> None:
        """Start the container, which keeps its files, and wait until all shards are up."""
        _must("start", self._name)
        self._wait()

    def kill(self) -> None:
        """Kill the container's process."""
        _must("kill", "--signal", "KILL", self._name)
        _must("wait", self._name)

    def close(self) -> None:
        """Remove the container and its volume."""
        if self._reaper.stdin:
            self._reaper.stdin.close()
        self._reaper.wait()


def _run(*arguments: str) -> subprocess.CompletedProcess[str] | None:
    try:
        return subprocess.run(["docker", *arguments], check=False, capture_output=True, text=True, env=os.environ)
    except FileNotFoundError:
        return None


def _must(*arguments: str) -> str:
    done = _run(*arguments)
    if done is None or done.returncode:
        raise ElasticsearchMissing(f"docker {arguments[0]}: {done.stderr.strip() if done else 'not found'}")
    return done.stdout.strip()
