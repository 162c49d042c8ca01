"""Check a database before a cell is made in it. Nothing is written."""

from __future__ import annotations

from typing import TYPE_CHECKING

from strongroom.storage.engine.connection import SCHEMA
from strongroom.storage.engine.row_level_security import NO_NAMESPACE
from strongroom.storage.errors import InvalidPersistenceRequest, SchemaMismatch

from .cell import check_cell
from .migrations import current_version
from .owner import may_not_create
from .schema import refuse_newer, schema_status

if TYPE_CHECKING:
    from strongroom.storage.engine.connection import Row
    from strongroom.storage.engine.database import Database

    from .cell import Cell

_FACTS = """
    SELECT quote_ident(current_user) AS role, quote_ident(current_database()) AS database,
           has_database_privilege(current_database(), 'CREATE') AS may_create,
           coalesce((SELECT pg_has_role(nspowner, 'USAGE') FROM pg_namespace WHERE nspname = $1), false) AS owns,
           EXISTS (SELECT FROM pg_namespace WHERE nspname = $1) AS has_schema,
           to_regclass($1 || '.schema_version') IS NOT NULL AS has_versions,
           to_regclass($1 || '.cell') IS NOT NULL AS has_cell,
           EXISTS (SELECT FROM pg_class WHERE relnamespace = (SELECT oid FROM pg_namespace WHERE nspname = $1)) AS has_tables
"""


async def check_claimable(database: Database, cell: Cell) -> None:
    """Check that a schema can be made and claimed for a cell, or that the database belongs to the cell already.

    Args:
        database: A connection as the owner of the schema, or as the role that will own it.
        cell: The cell.

    Raises:
        CellMismatch: The database belongs to another cell.
        SchemaMismatch: The schema is of a newer version, or its tables are of another program.
        InvalidPersistenceRequest: The role may not create the schema, or does not own it.
    """
    async with database.connection(NO_NAMESPACE) as connection:
        facts = await connection.fetchrow(_FACTS, SCHEMA)
        claimed = facts is not None and facts["has_cell"] and await connection.fetch("SELECT FROM cell")
    assert facts is not None  # noqa: S101 - the statement returns one row
    if facts["has_tables"] and not facts["has_versions"]:
        msg = (
            f"the schema {SCHEMA} of database {facts['database']} holds tables of another program; "
            "name a database without this schema in the dsn"
        )
        raise SchemaMismatch(msg)
    if facts["has_versions"]:
        refuse_newer((await schema_status(database)).version, current_version())
    if claimed:
        await check_cell(database, cell)
    _check_rights(facts)


def _check_rights(facts: Row) -> None:
    if not facts["has_schema"] and not facts["may_create"]:
        raise InvalidPersistenceRequest(may_not_create(facts["role"], facts["database"]))
    if facts["has_schema"] and not facts["owns"]:
        msg = (
            f"role {facts['role']} does not own schema {SCHEMA} of database {facts['database']}; connect as its owner. "
            "A further host needs no init: copy the configuration and the keyring to it"
        )
        raise InvalidPersistenceRequest(msg)
