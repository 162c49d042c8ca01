"""The checks of a Citus cluster: its nodes, their versions, and the distribution of the schema."""

from __future__ import annotations

from typing import TYPE_CHECKING

from strongroom.storage.schema.citus_status import cluster_status

from .report import Finding
from .row_level_security import DATABASE

if TYPE_CHECKING:
    from collections.abc import Iterator

    from strongroom.storage import Database
    from strongroom.storage.schema.citus_status import ClusterNode, ClusterStatus

_NAME = "Citus"
_PAGE = "See docs/how-to/citus.md."
_DISTRIBUTE = "Run: strongroom schema apply --distributed"


async def cluster(database: Database, *, distributed: bool) -> list[Finding]:
    """Return the findings about the cluster.

    Args:
        database: Connections to the coordinator.
        distributed: Whether the configuration says that the tables are distributed. If not, there are no findings.
    """
    return list(findings(await cluster_status(database))) if distributed else []


def findings(status: ClusterStatus) -> Iterator[Finding]:
    """Yield the findings about a cluster's state."""
    if not status.version:
        text = "the server has no Citus, and [database] distributed is true"
        yield Finding(DATABASE, _NAME, text, "wrong", "Correct database.dsn: it must name the coordinator.")
        return
    yield Finding(DATABASE, _NAME, f"version {status.version}, {len(status.nodes)} workers")
    for node in status.nodes:
        yield _node(node, status.version)
    if status.not_distributed:
        names = ", ".join(status.not_distributed)
        yield Finding(DATABASE, "distribution", f"not distributed: {names}", "wrong", _DISTRIBUTE)
    elif status.apart:
        text = f"not co-located with the others: {', '.join(status.apart)}; the rows of a shard are on several nodes"
        advice = "Restore the co-location with update_distributed_table_colocation(), or move the shards back. " + _PAGE
        yield Finding(DATABASE, "distribution", text, "wrong", advice)
    else:
        yield Finding(DATABASE, "distribution", "all tables and functions are distributed and co-located")


def _node(node: ClusterNode, version: str) -> Finding:
    check = f"worker {node.name}"
    if not node.is_active:
        host, _, port = node.name.replace("'", "''").rpartition(":")  # it comes from the database
        advice = f"Run on the coordinator: SELECT citus_activate_node('{host}', {port})"
        return Finding(DATABASE, check, "is not active; Citus sends nothing to it", "wrong", advice)
    if node.error:
        text = f"does not answer: {node.error}; its {node.shards} groups of shards can't be read or written"
        advice = f"Start it again, or promote its standby and run citus_update_node(). {_PAGE}"
        return Finding(DATABASE, check, text, "wrong", advice)
    if node.version != version:
        text = f"Citus {node.version}, the coordinator has {version}"
        advice = "Install one version on all nodes, and run ALTER EXTENSION citus UPDATE on each."
        return Finding(DATABASE, check, text, "wrong", advice)
    if not node.shards:
        advice = "To use it, run on the coordinator: SELECT citus_rebalance_start()"
        return Finding(DATABASE, check, "has no shards", "note", advice)
    return Finding(DATABASE, check, f"{node.shards} groups of shards")
