"""Elasticsearch nodes that do not start end their test with a reason."""

from __future__ import annotations

import re
import time

import pytest

from tests.support.elasticsearch_node import cluster
from tests.support.elasticsearch_node.cluster import ElasticsearchCluster
from tests.support.elasticsearch_node.jvm_node import JvmNode
from tests.support.elasticsearch_node.node import PATIENCE, free_ports
from tests.support.tree import ROOT

LAST_REQUEST = 60
"""Longest time of the request that is under way at the deadline, in seconds."""


class SilentNode(JvmNode):
    """A node that runs and never answers."""

    pid = property(lambda _: 1)

    def __init__(self):
        self.url = f"http://127.0.0.1:{free_ports(1)[0]}"
        self.deadlines = []

    def wait(self, deadline=None):
        """Keep the deadline."""
        self.deadlines.append(deadline)


def test_a_node_gives_up_before_pytest_does():
    """If pytest ends a fixture that takes too long, nothing has the reason why the node did not start."""
    (limit,) = re.findall(r"--timeout=(\d+)", (ROOT / "pyproject.toml").read_text())
    assert int(limit) > PATIENCE + LAST_REQUEST


def test_all_nodes_of_a_cluster_share_one_deadline(monkeypatch):
    """Three nodes that do not answer take as long as one."""
    monkeypatch.setattr(cluster, "PATIENCE", 0.0)
    nodes = tuple(SilentNode() for _ in range(3))
    with pytest.raises(ConnectionRefusedError):
        ElasticsearchCluster(nodes).start()
    deadlines = {deadline for node in nodes for deadline in node.deadlines}
    assert len(deadlines) == 1
    assert deadlines.pop() < time.monotonic()
    assert [len(node.deadlines) for node in nodes] == [1, 1, 1]
