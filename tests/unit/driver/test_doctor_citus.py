from __future__ import annotations

from dataclasses import replace

from strongroom.driver.doctor.citus import findings
from strongroom.storage.schema.citus_status import ClusterNode, ClusterStatus

WORKER = ClusterNode("10.0.0.2:5432", is_active=True, shards=16, version="13.2-1", error="")
HEALTHY = ClusterStatus("13.2-1", (WORKER, replace(WORKER, name="10.0.0.3:5432")))


def wrong(status):
    """Return check and text of each finding that is wrong."""
    return {each.check: each.text for each in findings(status) if each.state == "wrong"}


def test_a_healthy_cluster_has_a_line_for_each_worker():
    """The lines name the version, the workers with their shards, and the distribution."""
    found = {each.check: each.text for each in findings(HEALTHY)}
    assert found == {
        "Citus": "version 13.2-1, 2 workers",
        "worker 10.0.0.2:5432": "16 groups of shards",
        "worker 10.0.0.3:5432": "16 groups of shards",
        "distribution": "all tables and functions are distributed and co-located",
    }


def test_each_fault_of_a_cluster_is_named():
    """A missing extension, a worker that is down or of another version, and tables that are not distributed are wrong."""
    assert "has no Citus" in wrong(ClusterStatus(""))["Citus"]
    down = replace(WORKER, version="", error="connection refused")
    assert (
        "does not answer: connection refused; its 16 groups"
        in wrong(ClusterStatus("13.2-1", (down,)))["worker 10.0.0.2:5432"]
    )
    older = replace(WORKER, version="13.1-1")
    assert wrong(ClusterStatus("13.2-1", (older,)))["worker 10.0.0.2:5432"].startswith("Citus 13.1-1, the coordinator")
    inactive = replace(WORKER, is_active=False, version="")  # Citus does not ask it
    (found,) = (each for each in findings(ClusterStatus("13.2-1", (inactive,))) if each.state == "wrong")
    assert found.text == "is not active; Citus sends nothing to it"
    assert "citus_activate_node('10.0.0.2', 5432)" in found.advice
    assert wrong(replace(HEALTHY, not_distributed=("tasks",)))["distribution"] == "not distributed: tasks"
    assert wrong(replace(HEALTHY, apart=("tasks",)))["distribution"].startswith("not co-located with the others: tasks")


def test_a_worker_without_shards_is_a_note():
    """A new worker gets shards only when they are moved."""
    (found,) = [
        each for each in findings(ClusterStatus("13.2-1", (replace(WORKER, shards=0),))) if each.state == "note"
    ]
    assert "citus_rebalance_start" in found.advice


def test_the_name_of_a_worker_ends_no_statement():
    """The name comes from the database, and the advice is a statement that a person runs."""
    inactive = replace(WORKER, name="a'); DROP TABLE x; --:5432", is_active=False)
    (found,) = (each for each in findings(ClusterStatus("13.2-1", (inactive,))) if each.state == "wrong")
    assert "citus_activate_node('a''); DROP TABLE x; --', 5432)" in found.advice
