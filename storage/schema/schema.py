"""Make the schema, bring it up to date, and refuse a database that this version does not know."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.resources import files
from typing import TYPE_CHECKING
from uuid import UUID

from strongroom.storage.engine.connection import SCHEMA
from strongroom.storage.engine.functions import load_functions
from strongroom.storage.engine.row_level_security import NO_NAMESPACE
from strongroom.storage.errors import CellMismatch, SchemaMismatch

from .driver_role import driver_roles, grant_driver_role

if TYPE_CHECKING:
    from strongroom.storage.engine.connection import Connection
    from strongroom.storage.engine.database import Database
    from strongroom.storage.engine.functions import Function

_FILE = re.compile(r"(\d{4})_(?:pre|post)_\w+\.sql")
_LOCK = 0x5374726F6E67  # "Strong": any number that no other program of this database locks


@dataclass(frozen=True, slots=True)
class Migration:
    """A numbered step: `pre` steps run before the new version is rolled out, `post` steps after the old one is gone."""

    version: int
    name: str
    sql: str


def migrations() -> list[Migration]:
    """Return all steps in order."""
    folder = files("strongroom.storage") / "sql" / "schema" / "migrations"
    found = [(match, entry) for entry in folder.iterdir() if (match := _FILE.fullmatch(entry.name))]
    return sorted(
        (Migration(int(match[1]), entry.name, entry.read_text(encoding="utf-8")) for match, entry in found),
        key=lambda migration: migration.version,
    )


def current_version() -> int:
    """Return the schema version that this code works with."""
    return migrations()[-1].version


async def apply_schema(database: Database, *, driver_role: str | None = None) -> list[Migration]:
    """Run the steps that the database lacks, create missing functions, and give rights, all in one transaction.

    Two callers at once do it once.

    Args:
        database: connected as the owner of the schema, or as who is to be it.
        driver_role: that services connect as; it gets the rights for that. Roles that had them get those on new tables in any case.

    Returns:
        The steps that were run.

    Raises:
        SchemaMismatch: the database was made by a newer version.
        InvalidPersistenceRequest: there is no such role, or it would not be held by row-level security.
    """
    async with database.transaction(NO_NAMESPACE, unlimited=True) as connection:
        await locked(connection)
        await connection.execute(f"CREATE SCHEMA IF NOT EXISTS {SCHEMA}")
        await connection.execute(
            "CREATE TABLE IF NOT EXISTS schema_version ("
            "version integer PRIMARY KEY, name text NOT NULL, applied_at timestamptz NOT NULL)"
        )
        present = await _version(connection)
        _refuse_newer(present)
        missing = [migration for migration in migrations() if migration.version > present]
        for migration in missing:
            await connection.execute(migration.sql)
            await connection.execute(
                "INSERT INTO schema_version (version, name, applied_at) VALUES ($1, $2, now())",
                migration.version,
                migration.name,
            )
        for function in await missing_functions(connection):
            await connection.execute(function.sql)
        roles = {*await driver_roles(connection), *(() if driver_role is None else (driver_role,))}
        for role in sorted(roles):
            await grant_driver_role(connection, role)
    return missing


async def locked(connection: Connection) -> None:
    """Take the lock under which the schema is changed, until the transaction ends."""
    await connection.execute("SELECT pg_advisory_xact_lock($1)", _LOCK)


async def missing_functions(connection: Connection) -> list[Function]:
    """Return the functions of this version that the database lacks."""
    row = await connection.fetchrow("SELECT bool_or(distributed) AS distributed FROM cell")
    functions = load_functions(distributed=bool(row and row["distributed"])).values()
    rows = await connection.fetch(
        "SELECT proname FROM pg_proc WHERE pronamespace = $1::regnamespace AND proname = ANY($2)",
        SCHEMA,
        [function.name for function in functions],
    )
    present = {row["proname"] for row in rows}
    return [function for function in functions if function.name not in present]


async def check_schema(database: Database) -> None:
    """Raise `SchemaMismatch` unless the database has exactly the schema that this version works with."""
    async with database.connection(NO_NAMESPACE) as connection:
        present = await _version(connection)
        _refuse_newer(present)
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
    """A step, and when it was run; None: it is missing."""

    version: int
    name: str
    applied_at: datetime | None


@dataclass(frozen=True, slots=True)
class SchemaStatus:
    """What schema a database has.

    Attributes:
        version: 0 where there is none.
        migrations: all that the database or this version knows, in order.
        missing_functions: of this version.
        distributed: whether the tables are spread over a Citus cluster.
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
        """What to do about it."""
        if self.version > current_version():
            return "the database is newer than this version of the software: upgrade that"
        return "run `strongroom schema apply`" if not self.is_current else "nothing to do"


async def schema_status(database: Database) -> SchemaStatus:
    """Return what schema a database has; also of one that has none."""
    async with database.connection(NO_NAMESPACE) as connection:
        made = await connection.fetchrow("SELECT to_regclass('schema_version') IS NOT NULL AS made")
        rows = []
        if made is not None and made["made"]:
            rows = list(await connection.fetch("SELECT version, name, applied_at FROM schema_version"))
        applied = {row["version"]: AppliedMigration(row["version"], row["name"], row["applied_at"]) for row in rows}
        known = {step.version: AppliedMigration(step.version, step.name, None) for step in migrations()}
        version = max(applied, default=0)
        if version < current_version():
            functions, distributed = tuple(load_functions(distributed=False)), False
        else:
            functions = tuple(function.name for function in await missing_functions(connection))
            row = await connection.fetchrow("SELECT bool_or(distributed) AS distributed FROM cell")
            distributed = bool(row and row["distributed"])
    steps = known | applied
    return SchemaStatus(version, tuple(steps[number] for number in sorted(steps)), functions, distributed)


@dataclass(frozen=True, slots=True)
class Cell:
    """The deployment that a database belongs to.

    Attributes:
        cell_id: in the associated data of every sealed value.
        shard_count: how many shards workflows are spread over; fixed for the life of the cell.
        distributed: whether the tables are spread over a Citus cluster.
        region: that it is bound to, for its whole life; None for none.
    """

    cell_id: UUID
    shard_count: int
    distributed: bool = False
    region: str | None = None


async def claim_cell(database: Database, cell: Cell) -> None:
    """Note which cell the database belongs to, once.

    Raises:
        CellMismatch: it belongs to another one.
    """
    async with database.connection(NO_NAMESPACE) as connection:
        await connection.execute(
            "INSERT INTO cell (cell_id, shard_count, created_at, region) VALUES ($1, $2, $3, $4) ON CONFLICT DO NOTHING",
            cell.cell_id,
            cell.shard_count,
            datetime.now(UTC),
            cell.region,
        )
    await check_cell(database, cell)


async def check_cell(database: Database, cell: Cell) -> None:
    """Raise `CellMismatch` unless the database belongs to this cell."""
    async with database.connection(NO_NAMESPACE) as connection:
        row = await connection.fetchrow("SELECT cell_id, shard_count, distributed, region FROM cell")
    if row is None:
        msg = "the database belongs to no cell yet; run `strongroom init`"
        raise CellMismatch(msg)
    found = Cell(UUID(bytes=row["cell_id"].bytes), row["shard_count"], row["distributed"], row["region"])
    if found.distributed != cell.distributed:
        msg = f"the configuration must say so: distributed = {str(found.distributed).lower()} under [database]"
        raise CellMismatch(msg)
    if found.region != cell.region:
        msg = f"this database belongs to {_bound(found)}, the configuration names {_bound(cell)}; {_mend(found)}"
        raise CellMismatch(msg)
    if found != cell:
        msg = (
            f"the database belongs to cell {found.cell_id} with {found.shard_count} shards, "
            f"the configuration names cell {cell.cell_id} with {cell.shard_count}"
        )
        raise CellMismatch(msg)


def _bound(cell: Cell) -> str:
    return "a cell of no region" if cell.region is None else f"a cell of region {cell.region}"


def _mend(found: Cell) -> str:
    if found.region is None:
        return "take cell.region out of the configuration: a cell gets a region when it is made, by `strongroom init --region`"
    return (
        f'set cell.region = "{found.region}", or give the database of that region: the region of a cell never changes'
    )


async def _version(connection: Connection) -> int:
    row = await connection.fetchrow("SELECT max(version) AS version FROM schema_version")
    return (row and row["version"]) or 0


def _refuse_newer(present: int) -> None:
    if present > current_version():
        msg = f"the database has schema version {present}, newer than {current_version()} of this code; upgrade it"
        raise SchemaMismatch(msg)
