"""Spread the tables over a Citus cluster: what is distributed by which column, and the statements that do it.

History service, visibility, matching and queues are co-located on one integer column each, so that everything of one shard, task
queue or queue is on one node. What all nodes read is a reference table. A function goes to the node of the shard that it is called
for. DESIGN.md, "Citus", has the reasons, and what of it no test could run.
"""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING, NamedTuple

from strongroom.storage.engine.connection import SCHEMA
from strongroom.storage.engine.functions import load_functions
from strongroom.storage.engine.row_level_security import NO_NAMESPACE
from strongroom.storage.errors import SchemaMismatch

from .schema import locked, schema_status

if TYPE_CHECKING:
    from collections.abc import Mapping

    from strongroom.storage.engine.connection import Connection
    from strongroom.storage.engine.database import Database

DISTRIBUTED_TABLES: Mapping[str, str] = MappingProxyType(
    {
        "shards": "shard_id",
        "executions": "shard_id",
        "execution_maps": "shard_id",
        "current_executions": "shard_id",
        "history_node": "shard_id",
        "history_tree": "shard_id",
        "history_tasks": "shard_id",
        "replication_dlq_tasks": "shard_id",
        "visibility_records": "shard_id",
        "visibility_outbox": "shard_id",
        "visibility_deletes": "shard_id",
        "task_queues": "range_hash",
        "tasks": "range_hash",
        "task_queue_user_data": "range_hash",
        "build_id_to_task_queue": "range_hash",
        "queues": "queue_type",
        "queue_messages": "queue_type",
        "queues_v2": "queue_type",
        "queue_v2_messages": "queue_type",
    }
)
"""Each distributed table with its distribution column. All are integers, and co-located with `shards`."""
REFERENCE_TABLES = (
    "cell",
    "schema_version",
    "data_keys",
    "namespaces",
    "shreddings",
    "shredded_keks",
    "erasure_certificates",
    "namespace_metadata",
    "cluster_metadata",
    "cluster_membership",
    "nexus_endpoints",
    "nexus_endpoints_status",
    "access_policy",
    "audit_checkpoints",
)
"""Tables that every node has whole."""


class _Step(NamedTuple):
    """What is done to a table or function in one transaction."""

    name: str
    statements: tuple[str, ...]


def distribution_statements() -> list[str]:
    """Return the statements that distribute a schema, in order; each is done once, by whoever has `CREATE EXTENSION citus`.

    The functions that the last of them name are created by `distribute_schema`.
    """
    return [statement for step in (*_tables(), *_functions()) for statement in step.statements]


async def distribute_schema(database: Database) -> list[str]:
    """Distribute the tables and functions of an up-to-date schema. What is distributed already is passed over.

    Each table is a transaction: Citus copies rows over several connections, and takes no function in a transaction that did. So
    what breaks off is finished by running it again; the cell counts as distributed, and the functions of the other form go, when
    all is done. Meanwhile the service must be stopped.

    Args:
        database: of two connections or more: one holds the lock of the schema.

    Returns:
        The statements that were run.

    Raises:
        SchemaMismatch: the schema is not up to date, the cell is not made yet, or the server has no Citus.
    """
    async with database.transaction(NO_NAMESPACE, unlimited=True) as lock:
        await lock.execute("SET LOCAL idle_in_transaction_session_timeout = 0")
        await locked(lock)
        status = await schema_status(database)
        if not status.is_current:
            msg = f"the schema is not up to date; {status.advice} first"
            raise SchemaMismatch(msg)
        async with database.connection(NO_NAMESPACE) as connection:
            await _check_ready(connection)
            done = {row["name"] for row in await connection.fetch(_DISTRIBUTED, SCHEMA)}
            present = {row["name"] for row in await connection.fetch(_PRESENT, SCHEMA)}
        ran = await _run(database, [step for step in _tables() if step.name not in done])
        confined = load_functions(distributed=True).values()
        await _run(database, [_Step(each.name, (each.sql,)) for each in confined if each.name not in present])
        ran += await _run(database, [step for step in _functions() if step.name not in done])
        others = ", ".join(function.name for function in load_functions(distributed=False).values())
        await _run(database, [_Step("cell", ("UPDATE cell SET distributed = true WHERE NOT distributed",))])
        await _run(database, [_Step("functions of the other form", (f"DROP FUNCTION IF EXISTS {others}",))])
    return ran


_DISTRIBUTED = """
SELECT c.relname::text AS name FROM pg_dist_partition d JOIN pg_class c ON c.oid = d.logicalrelid
WHERE c.relnamespace = $1::regnamespace
UNION ALL
SELECT p.proname::text FROM pg_dist_object d JOIN pg_proc p ON p.oid = d.objid
WHERE d.classid = 'pg_proc'::regclass AND p.pronamespace = $1::regnamespace AND d.distribution_argument_index = 0
"""
# Citus sends each new function to all nodes and notes it, so only its argument tells that it goes to the node of its shard.
_PRESENT = "SELECT proname::text AS name FROM pg_proc WHERE pronamespace = $1::regnamespace"


async def _check_ready(connection: Connection) -> None:
    if not await connection.fetch("SELECT FROM pg_extension WHERE extname = 'citus'"):
        msg = "this database has no Citus: run CREATE EXTENSION citus on the coordinator and on every worker first"
        raise SchemaMismatch(msg)
    if not await connection.fetch("SELECT FROM cell"):
        msg = "the database belongs to no cell yet; run `strongroom init` first"
        raise SchemaMismatch(msg)


async def _run(database: Database, steps: list[_Step]) -> list[str]:
    """Run each step in a transaction; return their statements."""
    for step in steps:
        async with database.transaction(NO_NAMESPACE, unlimited=True) as connection:
            for statement in step.statements:
                await connection.execute(statement)
    return [statement for step in steps for statement in step.statements]


def _tables() -> list[_Step]:
    calls = {name: f"create_reference_table('{SCHEMA}.{name}')" for name in REFERENCE_TABLES}
    for name, column in DISTRIBUTED_TABLES.items():
        beside = "none" if name == "shards" else f"{SCHEMA}.shards"
        calls[name] = f"create_distributed_table('{SCHEMA}.{name}', '{column}', colocate_with => '{beside}')"
    return [
        # Citus leaves the rows that it copied to the nodes on the coordinator, where nothing would find them again: not even a
        # shredding that destroys wrapped roots.
        _Step(name, (f"SELECT {call}", f"SELECT truncate_local_data_after_distributing_table('{SCHEMA}.{name}')"))
        for name, call in calls.items()
    ]


def _functions() -> list[_Step]:
    steps = []
    for function in load_functions(distributed=True).values():
        signature = f"{SCHEMA}.{function.name}({', '.join(function.parameters)})"
        call = f"create_distributed_function('{signature}', 'p_shard', colocate_with => '{SCHEMA}.shards')"
        steps.append(_Step(function.name, (f"SELECT {call}",)))
    return steps
