"""Spread the tables over a Citus cluster: what is distributed by which column, and the statements that do it.

History service, visibility, matching and queues are co-located on one integer column each, so that everything of one shard, task
queue or queue is on one node. What all nodes read is a reference table. A function goes to the node of the shard that it is called
for.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from .database import SCHEMA
from .errors import SchemaMismatch
from .functions import load_functions
from .schema import locked, schema_status

if TYPE_CHECKING:
    from .database import Database

DISTRIBUTED_TABLES = {
    "shards": "shard_id",
    "executions": "shard_id",
    "execution_maps": "shard_id",
    "current_executions": "shard_id",
    "history_node": "shard_id",
    "history_tree": "shard_id",
    "history_tasks": "shard_id",
    "replication_dlq_tasks": "shard_id",
    "visibility_records": "shard_id",
    "task_queues": "range_hash",
    "tasks": "range_hash",
    "task_queue_user_data": "range_hash",
    "build_id_to_task_queue": "range_hash",
    "queues": "queue_type",
    "queue_messages": "queue_type",
    "queues_v2": "queue_type",
    "queue_v2_messages": "queue_type",
}
"""Each distributed table with its distribution column. All are integers, and co-located with `shards`."""
REFERENCE_TABLES = (
    "cell",
    "schema_version",
    "data_keys",
    "namespaces",
    "namespace_metadata",
    "cluster_metadata",
    "cluster_membership",
    "nexus_endpoints",
    "nexus_endpoints_status",
)
"""Tables that every node has whole."""


def distribution_statements() -> list[str]:
    """Return the statements that distribute a schema, in order; each is done once, by whoever has `CREATE EXTENSION citus`."""
    return [statement for _, statement in _tables()] + [statement for _, statement in _functions()]


async def distribute_schema(database: Database) -> list[str]:
    """Distribute the tables and functions of an up-to-date schema. What is distributed already is passed over.

    Returns:
        The statements that were run.

    Raises:
        SchemaMismatch: the schema is not up to date, the cell is not made yet, or the server has no Citus.
    """
    status = await schema_status(database)
    if not status.is_current and not status.distributed:
        msg = f"the schema is not up to date; {status.advice} first"
        raise SchemaMismatch(msg)
    async with database.transaction(unlimited=True) as connection:
        await locked(connection)
        if not await connection.fetch("SELECT 1 FROM pg_extension WHERE extname = 'citus'"):
            msg = "this database has no Citus: run CREATE EXTENSION citus on the coordinator and on every worker first"
            raise SchemaMismatch(msg)
        if not await connection.fetch("SELECT 1 FROM cell"):
            msg = "the database belongs to no cell yet; run `strongroom init` first"
            raise SchemaMismatch(msg)
        await connection.execute("UPDATE cell SET distributed = true")
        done = {row["name"] for row in await connection.fetch(_DISTRIBUTED)}
        present = {row["proname"] for row in await connection.fetch(_PRESENT, SCHEMA)}
        for function in load_functions(distributed=True).values():
            if function.name not in present:
                await connection.execute(function.sql)
        ran = []
        for name, statement in (*_tables(), *_functions()):
            if name not in done:
                await connection.execute(statement)
                ran.append(statement)
        confined = {function.name for function in load_functions(distributed=True).values()}
        for function in load_functions(distributed=False).values():
            if function.name not in confined:  # one whose text confines itself is the same in both forms
                await connection.execute(f"DROP FUNCTION IF EXISTS {function.name}")
    return ran


_DISTRIBUTED = """
SELECT c.relname::text AS name FROM pg_dist_partition d JOIN pg_class c ON c.oid = d.logicalrelid
UNION ALL
SELECT p.proname::text FROM pg_dist_object d JOIN pg_proc p ON p.oid = d.objid WHERE d.distribution_argument_index IS NOT NULL
"""
_PRESENT = "SELECT proname FROM pg_proc WHERE pronamespace = $1::regnamespace"


def _tables() -> list[tuple[str, str]]:
    statements = [(name, f"SELECT create_reference_table('{SCHEMA}.{name}')") for name in REFERENCE_TABLES]
    for name, column in DISTRIBUTED_TABLES.items():
        beside = "none" if name == "shards" else f"{SCHEMA}.shards"
        statement = f"SELECT create_distributed_table('{SCHEMA}.{name}', '{column}', colocate_with => '{beside}')"
        statements.append((name, statement))
    return statements


def _functions() -> list[tuple[str, str]]:
    statements = []
    for function in load_functions(distributed=True).values():
        signature = f"{SCHEMA}.{function.name}({', '.join(function.parameters)})"
        beside = f"'p_shard', colocate_with => '{SCHEMA}.shards'"
        statements.append((function.name, f"SELECT create_distributed_function('{signature}', {beside})"))
    return statements
