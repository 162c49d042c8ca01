"""Create the schema, bring it up to date, and refuse a database that this version of the software can't work with."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import takewhile
from typing import TYPE_CHECKING

from strongroom.kms import commits_several_times
from strongroom.storage.engine.connection import SCHEMA
from strongroom.storage.engine.functions import load_functions
from strongroom.storage.engine.row_level_security import NO_NAMESPACE
from strongroom.storage.errors import SchemaMismatch

from .driver_role import driver_roles, grant_driver_role
from .migrations import current_version, migrations, record
from .online_steps import run_online_step
from .owner import ensure_schema
from .policies import create_policies

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from strongroom.storage.engine.connection import Connection, Row
    from strongroom.storage.engine.database import Database
    from strongroom.storage.engine.functions import Function

    from .migrations import Migration

_LOCK = 0x5374726F6E67  # "Strong"; a number that no other program locks in this database


@commits_several_times
async def apply_schema(
    database: Database, *, driver_role: str | None = None, steps: Sequence[Migration] | None = None
) -> list[Migration]:
    """Run the migrations that the database lacks, create missing policies and functions, and grant rights, in one transaction.

    An online step ends the transaction, and runs by itself. Run it again after an interruption. Concurrent callers run each migration
    once.

    Args:
        database: A connection as the owner of the schema, or as the role that will own it.
        driver_role: A role to grant the driver's rights to. Roles that have them get the rights on new tables in any case.
        steps: The migrations of this version of the software, in order; None for those of `migrations`.

    Returns:
        The migrations that were run.

    Raises:
        SchemaMismatch: A newer version of the software made the database.
        InvalidPersistenceRequest: The driver role does not exist, or row-level security would not bind it.
        StorageError: The connected role may not create the schema, or another role owns a part of it.
        PoolingNotSupported: A pooler in front of the database does not keep one session for each connection.
    """
    steps = migrations() if steps is None else steps
    await database.check_sessions()
    ran: list[Migration] = []
    while True:
        done, online = await _apply(database, driver_role, steps)
        ran += done
        if online is None:
            return ran
        if await run_online_step(database, online):
            ran.append(online)


async def _apply(
    database: Database, driver_role: str | None, steps: Sequence[Migration]
) -> tuple[list[Migration], Migration | None]:
    """Run the migrations up to the next online step. Return them, and that step; None if there is none and all is done."""
    async with database.transaction(NO_NAMESPACE, unlimited=True) as connection:
        await locked(connection)
        await ensure_schema(connection)
        # The migrations and policies name no schema. A temporary table does not take the place of a table.
        await connection.execute(f"SET LOCAL search_path = {SCHEMA}, pg_temp")
        await _check_search_path(connection)
        await connection.execute(
            "CREATE TABLE IF NOT EXISTS schema_version ("
            "version integer PRIMARY KEY, name text NOT NULL, applied_at timestamptz NOT NULL)"
        )
        present = await _version(connection)
        refuse_newer(present, steps[-1].version)
        missing = [step for step in steps if step.version > present]
        done = list(takewhile(lambda step: not step.is_online, missing))
        for step in done:
            await connection.execute(step.sql)
            await record(connection, step)
        if len(done) < len(missing):
            return done, missing[len(done)]
        await create_policies(connection)
        for function in await missing_functions(connection):
            await connection.execute(function.sql)
        roles = {*await driver_roles(connection), *(() if driver_role is None else (driver_role,))}
        for role in sorted(roles):
            await grant_driver_role(connection, role)
    return done, None


async def _check_search_path(connection: Connection) -> None:
    """Check that tables will be made in the schema, and not in another one."""
    row = await connection.fetchrow("SELECT current_schema()::text AS current")
    if row is None or row["current"] != SCHEMA:
        msg = f"the session is not in the schema {SCHEMA}; nothing was created. Check that the role may use that schema"
        raise SchemaMismatch(msg)


async def locked(connection: Connection) -> None:
    """Take the lock for changes of the schema, until the transaction ends."""
    await connection.execute("SELECT pg_advisory_xact_lock($1)", _LOCK)


async def missing_functions(connection: Connection) -> list[Function]:
    """Return the functions of this version of the software that the database lacks."""
    row = await connection.fetchrow("SELECT bool_or(distributed) AS distributed FROM strongroom.cell")
    functions = load_functions(distributed=bool(row and row["distributed"])).values()
    rows = await connection.fetch(
        "SELECT proname FROM pg_proc WHERE pronamespace = $1::regnamespace AND proname = ANY($2)",
        SCHEMA,
        [function.name for function in functions],
    )
    present = {row["proname"] for row in rows}
    return [function for function in functions if function.name not in present]


async def check_schema(database: Database) -> None:
    """Check that a database has the schema of this version of the software.

    Raises:
        SchemaMismatch: The schema is older or newer, or lacks functions.
    """
    async with database.connection(NO_NAMESPACE) as connection:
        present = await _version(connection)
        refuse_newer(present, current_version())
        if present < current_version():
            msg = (
                f"the database has schema version {present}, this version needs {current_version()}; "
                "run `strongroom schema apply`"
            )
            raise SchemaMismatch(msg)
        if await missing_functions(connection):
            msg = "the database lacks functions of this version; run `strongroom schema apply`"
            raise SchemaMismatch(msg)


@dataclass(frozen=True, slots=True)
class AppliedMigration:
    """A migration of the software or of the database.

    Attributes:
        version: The schema version after it.
        name: Its name.
        applied_at: The time at which it was run, UTC; None if the database lacks it.
    """

    version: int
    name: str
    applied_at: datetime | None


@dataclass(frozen=True, slots=True)
class SchemaStatus:
    """The schema of a database.

    Attributes:
        version: The schema version; 0 without a schema.
        migrations: All migrations of the database and of this version of the software, in order.
        missing_functions: The functions of this version that the database lacks.
        distributed: Whether the tables are distributed over a Citus cluster.
    """

    version: int
    migrations: tuple[AppliedMigration, ...]
    missing_functions: tuple[str, ...]
    distributed: bool

    @property
    def is_current(self) -> bool:
        """Whether this version of the software can work with it."""
        return self.version == current_version() and not self.missing_functions

    @property
    def advice(self) -> str:
        """What to do next."""
        if self.version > current_version():
            return "the database is newer than this version of the software: upgrade that"
        return "run `strongroom schema apply`" if not self.is_current else "nothing to do"


async def schema_status(database: Database) -> SchemaStatus:
    """Return the status of a database's schema, even if there is no schema yet."""
    async with database.connection(NO_NAMESPACE) as connection:
        table = await connection.fetchrow("SELECT to_regclass('strongroom.schema_version') IS NOT NULL AS exists")
        rows: Sequence[Row] = []
        if table is not None and table["exists"]:
            rows = await connection.fetch("SELECT version, name, applied_at FROM strongroom.schema_version")
        applied = {row["version"]: AppliedMigration(row["version"], row["name"], row["applied_at"]) for row in rows}
        known = {step.version: AppliedMigration(step.version, step.name, None) for step in migrations()}
        version = max(applied, default=0)
        if version < current_version():
            functions, distributed = tuple(load_functions(distributed=False)), False
        else:
            functions = tuple(function.name for function in await missing_functions(connection))
            row = await connection.fetchrow("SELECT bool_or(distributed) AS distributed FROM strongroom.cell")
            distributed = bool(row and row["distributed"])
    steps = known | applied
    return SchemaStatus(version, tuple(steps[number] for number in sorted(steps)), functions, distributed)


async def _version(connection: Connection) -> int:
    row = await connection.fetchrow("SELECT max(version) AS version FROM strongroom.schema_version")
    return (row and row["version"]) or 0


def refuse_newer(present: int, current: int) -> None:
    """Refuse a database whose schema is newer than the one that this version knows.

    Raises:
        SchemaMismatch: It is newer.
    """
    if present > current:
        msg = f"the database has schema version {present}, and this version of Strongroom knows {current}; run the newer one"
        raise SchemaMismatch(msg)
