"""Databases on a Citus cluster. Each is on all nodes, with an owner that may do nothing else, as on one server."""

from __future__ import annotations

import asyncio
from urllib.parse import unquote, urlsplit, urlunsplit

import asyncpg

from strongroom.storage import Database
from strongroom.storage.schema.citus import distribute_schema
from tests.support.databases import Databases, administer, dsn_of, quoted, superuser_of

SHARDS = 4
"""Citus's shards of each table. Its default is 32; fewer make a database sooner."""


class CitusDatabases(Databases):
    """Creates databases on all nodes of a cluster, and drops them.

    Attributes:
        nodes: The superuser's connection strings: of the coordinator, then of each worker.
    """

    is_citus = True

    def __init__(self, superuser_dsn, nodes):
        super().__init__(superuser_dsn)
        self.nodes = nodes

    async def create(self, name=None, *, role=None, options=""):
        """See `Databases.create`. Citus sends the new role to all nodes."""
        dsn = await super().create(name, role=role, options=options)
        name, owner = unquote(urlsplit(dsn).path[1:]), unquote(urlsplit(dsn).username)
        await asyncio.gather(
            *(
                administer(node, f"CREATE DATABASE {quoted(name)} OWNER {quoted(owner)} {options}")
                for node in self.nodes[1:]
            )
        )
        here = [dsn_of(node, database=name) for node in self.nodes]
        await asyncio.gather(*(administer(node, "CREATE EXTENSION citus") for node in here))
        adding = [f"SELECT citus_add_node('{host}', {port})" for host, port in map(place_of, here[1:])]
        host, port = place_of(here[0])
        await administer(
            here[0],
            f"SELECT citus_set_coordinator_host('{host}', {port})",
            *adding,
            f"ALTER DATABASE {quoted(name)} SET citus.shard_count = {SHARDS}",
            # A role is known in each database by itself. The owner could not make itself known with its first function.
            f"CREATE SCHEMA strongroom AUTHORIZATION {quoted(owner)}",
        )
        return dsn

    async def drop(self, dsn):
        """See `Databases.drop`."""
        name = quoted(unquote(urlsplit(dsn).path[1:]))
        await asyncio.gather(
            *(administer(node, f"DROP DATABASE IF EXISTS {name} WITH (FORCE)") for node in self.nodes[1:])
        )
        await super().drop(dsn)


def place_of(dsn):
    """Return host and port of a connection string."""
    parts = urlsplit(dsn)
    return parts.hostname, parts.port or 5432


async def nodes_of(superuser_dsn):
    """Return the superuser's connection strings of the coordinator and of each worker."""
    connection = await asyncpg.connect(superuser_dsn)
    try:
        workers = await connection.fetch(
            "SELECT nodename, nodeport FROM pg_dist_node WHERE groupid > 0 AND isactive ORDER BY nodeport, nodename"
        )
    finally:
        await connection.close()
    parts = urlsplit(superuser_dsn)
    user = parts.netloc.rpartition("@")[0]
    return [
        superuser_dsn,
        *(urlunsplit(parts._replace(netloc=f"{user}@{node['nodename']}:{node['nodeport']}")) for node in workers),
    ]


async def distribute(dsn):
    """Distribute the schema of a database, as its owner."""
    database = Database(dsn, insecure=True, distributed=True)
    try:
        await distribute_schema(database)
    finally:
        await database.aclose()


async def ask(dsn, query, *arguments):
    """Return the rows of a query as the cluster's administrator, in the database of an owner or a driver role."""
    connection = await asyncpg.connect(superuser_of(dsn))
    try:
        return await connection.fetch(query, *arguments)
    finally:
        await connection.close()
