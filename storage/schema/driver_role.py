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

# A member of a role can take its rights with SET ROLE. A superuser is a member of every role.
_ROLE = """
    SELECT format('%I', $1::text) AS name, r.oid IS NOT NULL AS exists, m.superuser, m.bypasses, m.creates_roles,
           pg_has_role(r.oid, n.nspowner, 'MEMBER') AS owns
    FROM pg_namespace AS n
    LEFT JOIN pg_roles AS r ON r.rolname = $1
    CROSS JOIN LATERAL (
        SELECT bool_or(m.rolsuper) AS superuser, bool_or(m.rolbypassrls) AS bypasses, bool_or(m.rolcreaterole) AS creates_roles
        FROM pg_roles AS m WHERE pg_has_role(r.oid, m.oid, 'MEMBER')
    ) AS m
    WHERE n.nspname = $2
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
    assert row is not None  # noqa: S101 - the schema exists
    if not row["exists"]:
        msg = (
            f"the server has no role {row['name']}. Let an administrator run: CREATE ROLE {row['name']} LOGIN PASSWORD '...'; "
            "and then run this command again"
        )
        raise InvalidPersistenceRequest(msg)
    reasons = {
        "is a superuser, or a member of one": row["superuser"],
        "has BYPASSRLS, or is a member of a role that has": row["bypasses"],
        "may create roles (CREATEROLE), or is a member of a role that may": row["creates_roles"],
        "owns the schema, or is a member of the role that does": row["owns"],
    }
    if reason := next((reason for reason, applies in reasons.items() if applies), None):
        msg = f"row-level security would not bind the role {row['name']}, because it {reason}; use another role for services"
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
