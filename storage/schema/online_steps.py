"""Run an online step: indexes that PostgreSQL builds or drops while other sessions write.

`CREATE INDEX CONCURRENTLY` runs in no transaction. If it is interrupted, it leaves an invalid index, which costs every write and helps
no search. So a step is run again until its version is recorded: a valid index is kept, an invalid one is dropped and built again.
"""

from __future__ import annotations

import asyncio
import logging
import re
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING, NamedTuple

from strongroom.storage.engine.connection import SCHEMA
from strongroom.storage.engine.dedicated import dedicated_connection
from strongroom.storage.errors import SchemaMismatch, StorageError

from .migrations import record

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from strongroom.storage.engine.connection import Connection
    from strongroom.storage.engine.database import Database

    from .migrations import Migration

_BUILDING = 0x4F6E6C696E65  # "Online"; not the number of `schema.locked`, because an index waits for the snapshots of all transactions
_PAUSE = 0.5
_SILENT = 5.0
"""Seconds to wait for the lock before a line is logged."""
_log = logging.getLogger("strongroom.schema")
_COMMENT = re.compile(r"--[^\n]*")
_STATEMENT = re.compile(r"(CREATE (?:UNIQUE )?|DROP )INDEX CONCURRENTLY (\w+)(?: ON .+)?")
_STATE = """
    SELECT i.indisvalid AND i.indisready AS is_valid
    FROM pg_index AS i JOIN pg_class AS c ON c.oid = i.indexrelid JOIN pg_namespace AS n ON n.oid = c.relnamespace
    WHERE n.nspname = $1 AND c.relname = $2
"""
_IS_RECORDED = "SELECT max(version) >= $1 AS value FROM strongroom.schema_version"
_UNLOCK = "SELECT pg_advisory_unlock($1) AS value"


class IndexChange(NamedTuple):
    """A statement of an online step.

    Attributes:
        name: The name of the index.
        sql: The statement that builds it; an empty text if the index is dropped.
    """

    name: str
    sql: str


def index_changes(step: Migration) -> list[IndexChange]:
    """Return the statements of an online step.

    Raises:
        SchemaMismatch: A statement is not `CREATE INDEX CONCURRENTLY` or `DROP INDEX CONCURRENTLY` with a name.
    """
    changes = []
    for text in _COMMENT.sub("", step.sql).split(";"):
        if not (statement := " ".join(text.split())):
            continue
        match = _STATEMENT.fullmatch(statement)
        if match is None:
            msg = f"{step.name} may only have CREATE INDEX CONCURRENTLY name ON ... and DROP INDEX CONCURRENTLY name"
            raise SchemaMismatch(msg)
        changes.append(IndexChange(match[2], "" if match[1] == "DROP " else statement))
    return changes


async def run_online_step(database: Database, step: Migration) -> bool:
    """Build and drop the indexes of a step, and record its version.

    One caller at a time builds. If a caller is killed, the server goes on building, and the next caller waits for the result.

    Args:
        database: A connection as the owner of the tables.
        step: The step. All steps before it were run.

    Returns:
        Whether this call recorded the version.

    Raises:
        SchemaMismatch: The step has another statement.
        StorageError: An index can't be built, for example because values of a unique index are equal.
    """
    changes = index_changes(step)
    async with dedicated_connection(database) as connection, _alone(connection):
        if await _value(connection, _IS_RECORDED, step.version):
            return False
        for change in changes:
            await _change(connection, change)
        await record(connection, step)
    return True


@asynccontextmanager
async def _alone(connection: Connection) -> AsyncIterator[None]:
    """Hold the lock for online steps.

    A caller that waited for the lock within a statement would have a snapshot, and the index of the holder would wait for that.
    A pooler can keep the session, so the lock is given back. If the block is cancelled, the server may go on with the build. The lock
    then stays until it has ended.
    """
    waited = 0.0
    while not await _value(connection, "SELECT pg_try_advisory_lock($1) AS value", _BUILDING):
        if waited < _SILENT <= waited + _PAUSE:
            _log.warning("another process builds indexes of this database; waiting until it has ended")
        waited += _PAUSE
        await asyncio.sleep(_PAUSE)
    try:
        yield
    except Exception:
        with suppress(StorageError):  # the session may have ended too
            await _value(connection, _UNLOCK, _BUILDING)
        raise
    await _value(connection, _UNLOCK, _BUILDING)


async def _change(connection: Connection, change: IndexChange) -> None:
    found = await connection.fetchrow(_STATE, SCHEMA, change.name)
    if found is not None and not (change.sql and found["is_valid"]):
        await connection.execute(f"DROP INDEX CONCURRENTLY {SCHEMA}.{change.name}")
        found = None
    if found is None and change.sql:
        await connection.execute(change.sql)


async def _value(connection: Connection, statement: str, value: int) -> bool:
    row = await connection.fetchrow(statement, value)
    return bool(row and row["value"])
