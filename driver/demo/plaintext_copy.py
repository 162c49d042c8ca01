"""The plaintext copy of imported executions. It is the control of the leak scan, which must find every planted string in it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import orjson

from strongroom.driver.importing.importer import history_nodes
from strongroom.storage import NO_NAMESPACE, Database

if TYPE_CHECKING:
    from collections.abc import Sequence

    from strongroom.driver.importing.import_file import Execution

# EXTERNAL, because the scan would not find text that PostgreSQL compresses. Sealed bytes are not compressed either.
_TABLES = (
    "CREATE TABLE history_node (run_id text, node_id bigint, data bytea STORAGE EXTERNAL)",
    "CREATE TABLE visibility_records (workflow_id text, run_id text, record text STORAGE EXTERNAL)",
)


async def write_copy(dsn: str, executions: Sequence[Execution]) -> None:
    """Write executions in clear into an empty database of this machine, and flush it to its files."""
    database = Database(dsn, insecure=True)
    try:
        async with database.transaction(NO_NAMESPACE) as connection:
            await connection.execute("CREATE SCHEMA strongroom")
            for statement in _TABLES:
                await connection.execute(statement)
            for execution in executions:
                record, nodes = execution.record, history_nodes(execution)
                await connection.execute(
                    "INSERT INTO history_node SELECT $1, * FROM unnest($2::bigint[], $3::bytea[])",
                    record.run_id,
                    [node.node_id for node in nodes],
                    [node.events.pack() for node in nodes],
                )
                await connection.execute(
                    "INSERT INTO visibility_records VALUES ($1, $2, $3)",
                    record.workflow_id,
                    record.run_id,
                    orjson.dumps(record.attributes()).decode() + record.memo.decode(),
                )
    finally:
        await database.aclose()
    await flush(dsn)


async def flush(superuser_dsn: str) -> None:
    """Write all dirty pages of the server to its files. Only a superuser or a member of pg_checkpoint may do that."""
    database = Database(superuser_dsn, size=1, insecure=True)
    try:
        async with database.connection(NO_NAMESPACE) as connection:
            await connection.execute("CHECKPOINT")
    finally:
        await database.aclose()
