"""The role that services connect as. It owns nothing, has only the rights that the stores need, and is bound by row-level security.

`strongroom schema apply --driver-role NAME` grants a role its rights. Each later `schema apply` grants them again, for new tables.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from strongroom.storage.engine.connection import SCHEMA
from strongroom.storage.errors import InvalidPersistenceRequest

from .tables import TABLES, VIEWS

if TYPE_CHECKING:
    from collections.abc import Sequence

    from strongroom.storage.engine.connection import Connection

_ROLE = """
    SELECT format('%I', r.rolname) AS name, r.rolsuper AS superuser, r.rolbypassrls AS bypasses, r.rolcreaterole AS creates_roles,
           pg_has_role(r.oid, n.nspowner, 'MEMBER') AS owns
    FROM pg_roles AS r, pg_namespace AS n WHERE r.rolname = $1 AND n.nspname = $2
"""
_GRANTED = """
    SELECT DISTINCT r.rolname AS name
    FROM pg_namespace AS n, aclexplode(n.nspacl) AS a JOIN pg_roles AS r ON r.oid = a.grantee
    WHERE n.nspname = $1 AND a.privilege_type = 'USAGE' AND a.grantee <> n.nspowner ORDER BY 1
"""


async def grant_driver_role(connection: Connection, role: str) -> None:
    """Grant a role the rights of the driver role, and revoke any other right on the schema.

    Args:
        connection: A connection as the owner of the schema, in a transaction.
        role: The name of the role.

    Raises:
        InvalidPersistenceRequest: The role does not exist, or row-level security would not bind it.
    """
    row = await connection.fetchrow(_ROLE, role, SCHEMA)
    if row is None:
        msg = "the database does not have this role; create it first: CREATE ROLE name LOGIN PASSWORD '...'"
        raise InvalidPersistenceRequest(msg)
    reasons = {
        "is a superuser": row["superuser"],
        "has BYPASSRLS": row["bypasses"],
        "may make roles (CREATEROLE)": row["creates_roles"],
        "owns the schema, or is a member of the role that does": row["owns"],
    }
    if reason := next((reason for reason, applies in reasons.items() if applies), None):
        msg = f"row-level security would not bind this role, because it {reason}; use another role for services"
        raise InvalidPersistenceRequest(msg)
    for statement in grants(row["name"]):
        await connection.execute(statement)


def grants(name: str) -> list[str]:
    """Return the statements that give a role its rights.

    Args:
        name: The name of the role, quoted as an identifier.
    """
    return [
        f"REVOKE ALL ON ALL TABLES IN SCHEMA {SCHEMA} FROM {name}",
        f"REVOKE ALL ON SCHEMA {SCHEMA} FROM {name}",
        f"GRANT USAGE ON SCHEMA {SCHEMA} TO {name}",
        *(f"GRANT {table.rights} ON {SCHEMA}.{table.name} TO {name}" for table in TABLES),
        *(f"GRANT SELECT ON {SCHEMA}.{view} TO {name}" for view in VIEWS),
        f"GRANT EXECUTE ON ALL FUNCTIONS IN SCHEMA {SCHEMA} TO {name}",
    ]


async def driver_roles(connection: Connection) -> Sequence[str]:
    """Return the roles that have rights on the schema."""
    return [row["name"] for row in await connection.fetch(_GRANTED, SCHEMA)]
