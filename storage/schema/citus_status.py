"""The state of a Citus cluster: its nodes, and what of the schema is distributed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from strongroom.storage.engine.connection import SCHEMA
from strongroom.storage.engine.functions import load_functions
from strongroom.storage.engine.queries import load_queries
from strongroom.storage.engine.row_level_security import NO_NAMESPACE

from .tables import FIRST_DISTRIBUTED, TABLES

if TYPE_CHECKING:
    from strongroom.storage.engine.database import Database

_SQL = load_queries("schema/citus")


@dataclass(frozen=True, slots=True)
class ClusterNode:
    """A node of a cluster.

    Attributes:
        name: Host and port.
        is_active: Whether Citus sends statements to it.
        shards: The number of groups of co-located shards on it.
        version: The version of Citus's extension there; "" if the node does not answer, or was not asked.
        error: Why the node does not answer; "" if it does, or if it is not active and so was not asked.
    """

    name: str
    is_active: bool
    shards: int
    version: str
    error: str


@dataclass(frozen=True, slots=True)
class ClusterStatus:
    """The state of a cluster.

    Attributes:
        version: The version of Citus's extension on the coordinator; "" if it has none.
        nodes: All nodes but the coordinator.
        not_distributed: The tables and functions that should be distributed and are not.
        apart: The tables that are distributed otherwise than the others, so that the rows of one shard are on several nodes.
    """

    version: str
    nodes: tuple[ClusterNode, ...] = ()
    not_distributed: tuple[str, ...] = ()
    apart: tuple[str, ...] = ()


async def cluster_status(database: Database) -> ClusterStatus:
    """Return the state of the cluster that a database is on.

    Args:
        database: Connections to the coordinator.

    Raises:
        StorageError: The coordinator does not answer.
    """
    async with database.connection(NO_NAMESPACE) as connection:
        row = await connection.fetchrow(_SQL["version"])
        if row is None:
            return ClusterStatus("")
        tables = {each["name"]: each["colocation"] for each in await connection.fetch(_SQL["tables"], SCHEMA)}
        functions = {each["name"] for each in await connection.fetch(_SQL["functions"], SCHEMA)}
        nodes = await connection.fetch(
            _SQL["nodes"], f"{SCHEMA}.{FIRST_DISTRIBUTED}" if FIRST_DISTRIBUTED in tables else None
        )
    wanted = [table.name for table in TABLES if table.partition_column is not None]
    lacking = [name for name in wanted if name not in tables]
    lacking += [each.name for each in load_functions(distributed=True).values() if each.name not in functions]
    apart = [name for name in wanted if name in tables and tables[name] != tables.get(FIRST_DISTRIBUTED)]
    return ClusterStatus(
        row["version"],
        tuple(
            ClusterNode(
                f"{node['host']}:{node['port']}",
                node["is_active"],
                node["shards"],
                node["result"] if node["success"] else "",
                "" if node["success"] or not node["is_active"] else node["result"] or "no reason is known",
            )
            for node in nodes
        ),
        tuple(lacking),
        tuple(apart),
    )
