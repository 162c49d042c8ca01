"""The rights of the role that changes the schema: it owns the schema, or may create it. A superuser is not needed."""

from __future__ import annotations

from typing import TYPE_CHECKING

from strongroom.storage.engine.connection import SCHEMA
from strongroom.storage.errors import StorageError

if TYPE_CHECKING:
    from strongroom.storage.engine.connection import Connection

_ROLE = """
    SELECT format('%I', current_user) AS role, format('%I', current_database()) AS database,
           has_database_privilege(current_database(), 'CREATE') AS creates,
           EXISTS (SELECT FROM pg_namespace WHERE nspname = $1) AS has_schema
"""
_OTHERS = """
    WITH objects AS (
        SELECT nspowner AS owner FROM pg_namespace WHERE nspname = $1
        UNION SELECT c.relowner FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace WHERE n.nspname = $1
        UNION SELECT p.proowner FROM pg_proc AS p JOIN pg_namespace AS n ON n.oid = p.pronamespace WHERE n.nspname = $1
    )
    SELECT format('%I', pg_get_userbyid(owner)) AS owner FROM objects WHERE NOT pg_has_role(owner, 'USAGE') ORDER BY 1
"""


def may_not_create(role: str, database: str) -> str:
    """Return the message for a role that may not create the schema. Both names are quoted as identifiers."""
    return (
        f"the role {role} may not create a schema in the database {database}. "
        f"Let the database's owner run: GRANT CREATE ON DATABASE {database} TO {role};"
    )


async def ensure_schema(connection: Connection) -> None:
    """Create the schema if it is missing, and check that the role may change everything in it.

    An existing schema is not created again, because `CREATE SCHEMA IF NOT EXISTS` needs the right to create one in any case.

    Raises:
        StorageError: The role may not create the schema, or another role owns a part of it.
    """
    row = await connection.fetchrow(_ROLE, SCHEMA)
    assert row is not None  # noqa: S101 - the query has one row
    if not row["has_schema"]:
        if not row["creates"]:
            raise StorageError(may_not_create(row["role"], row["database"]))
        await connection.execute(f"CREATE SCHEMA {SCHEMA}")
        return
    others = [other["owner"] for other in await connection.fetch(_OTHERS, SCHEMA)]
    if others:
        msg = (
            f"the schema {SCHEMA}, or a part of it, belongs to {', '.join(others)}, and the role {row['role']} may not change it. "
            f"Connect as {others[0]}, with its dsn in STRONGROOM_OWNER_DSN, or restore a dump of the database as "
            f"{row['role']} (pg_restore --no-owner)."
        )
        raise StorageError(msg)
