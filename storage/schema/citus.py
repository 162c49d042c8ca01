"""Distribute the tables and functions over a Citus cluster.

Every distributed table is distributed by the first column of its key, an integer, and co-located with the others, so that all rows
of one shard, task queue or queue are on one node. All other tables stay on the coordinator. A call of a function runs on the node of
the shard that it is called for. storage/DESIGN.md, "Citus", has the reasons.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from strongroom.kms import commits_several_times
from strongroom.storage.engine.connection import SCHEMA
from strongroom.storage.engine.functions import load_functions
from strongroom.storage.engine.row_level_security import NO_NAMESPACE
from strongroom.storage.errors import SchemaMismatch

from .policies import policy_for_nodes
from .schema import locked, schema_status
from .tables import FIRST_DISTRIBUTED, TABLES

if TYPE_CHECKING:
    from strongroom.storage.engine.connection import Connection
    from strongroom.storage.engine.database import Database


class _Step(NamedTuple):
    """The statements that distribute one table or function, for one transaction."""

    name: str
    statements: tuple[str, ...]


def distribution_statements() -> list[str]:
    """Return the statements that distribute a schema, in order.

    A role that can create the extension `citus` runs each once. `distribute_schema` creates the functions that the last ones name.
    """
    return [statement for step in (*_tables(), *_functions()) for statement in step.statements]


@commits_several_times
async def distribute_schema(database: Database) -> list[str]:
    """Distribute the tables and functions of an up-to-date schema, except those that are distributed already.

    Stop the service first. Each table is distributed in its own transaction, because Citus copies rows over several connections and
    accepts no function in such a transaction. Run it again after an interruption: the cell is marked as distributed, and the
    functions of a single server are dropped, only at the end.

    Args:
        database: The coordinator, with at least two connections. One of them holds the lock of the schema.

    Returns:
        The statements that were run.

    Raises:
        SchemaMismatch: The schema is not up to date, the database belongs to no cell, or it has no Citus.
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
        others = ", ".join(f"{SCHEMA}.{function.name}" for function in load_functions(distributed=False).values())
        await _run(database, [_Step("cell", ("UPDATE strongroom.cell SET distributed = true WHERE NOT distributed",))])
        await _run(database, [_Step("functions of a single server", (f"DROP FUNCTION IF EXISTS {others}",))])
    return ran


_DISTRIBUTED = """
SELECT c.relname::text AS name FROM pg_dist_partition d JOIN pg_class c ON c.oid = d.logicalrelid
WHERE c.relnamespace = $1::regnamespace
UNION ALL
SELECT p.proname::text FROM pg_dist_object d JOIN pg_proc p ON p.oid = d.objid
WHERE d.classid = 'pg_proc'::regclass AND p.pronamespace = $1::regnamespace AND d.distribution_argument_index = 0
"""
# Citus copies every new function to all nodes and records it. Only a distribution argument sends its calls to the node of a shard.
_PRESENT = "SELECT proname::text AS name FROM pg_proc WHERE pronamespace = $1::regnamespace"


async def _check_ready(connection: Connection) -> None:
    if not await connection.fetch("SELECT FROM pg_extension WHERE extname = 'citus'"):
        msg = "this database has no Citus: run CREATE EXTENSION citus on the coordinator and on every worker first"
        raise SchemaMismatch(msg)
    if not await connection.fetch("SELECT WHERE current_setting('server_encoding') = 'UTF8'"):
        msg = "the encoding of the database is not UTF8: move the cell to a database with ENCODING 'UTF8' first"
        raise SchemaMismatch(msg)
    if not await connection.fetch("SELECT FROM strongroom.cell"):
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
    steps = []
    for table in TABLES:
        if table.partition_column is None:
            continue
        name = f"{SCHEMA}.{table.name}"
        first = "none" if table.name == FIRST_DISTRIBUTED else f"{SCHEMA}.{FIRST_DISTRIBUTED}"
        statements = (
            *(policy_for_nodes(table) if table.namespaced else ()),
            f"SELECT create_distributed_table('{name}', '{table.partition_column}', colocate_with => '{first}')",
            # Citus leaves the rows that it copied to the nodes in the coordinator's own table, where no statement reaches them.
            # They would outlive a shredding.
            f"SELECT truncate_local_data_after_distributing_table('{name}')",
        )
        steps.append(_Step(table.name, statements))
    return steps


def _functions() -> list[_Step]:
    steps = []
    for function in load_functions(distributed=True).values():
        signature = f"{SCHEMA}.{function.name}({', '.join(function.types)})"
        call = f"create_distributed_function('{signature}', 'p_shard', colocate_with => '{SCHEMA}.{FIRST_DISTRIBUTED}')"
        steps.append(_Step(function.name, (f"SELECT {call}",)))
    return steps
