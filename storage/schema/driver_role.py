"""The role that services connect as: it owns nothing, may only what the stores do, and is held by row-level security.

`strongroom schema apply --driver-role NAME` gives a role its rights; each later `schema apply` gives them again, for new tables.
"""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING

from strongroom.storage.engine.connection import SCHEMA
from strongroom.storage.errors import InvalidPersistenceRequest

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from strongroom.storage.engine.connection import Connection

_READ, _REPLACE = "SELECT", "SELECT, UPDATE"
_CHANGE, _ALL = "SELECT, INSERT, UPDATE", "SELECT, INSERT, UPDATE, DELETE"

RIGHTS: Mapping[str, str] = MappingProxyType(
    {
        "cell": _READ,
        "schema_version": _READ,
        "visibility_search": _READ,
        "namespace_metadata": _REPLACE,
        "nexus_endpoints_status": _REPLACE,
        "data_keys": _CHANGE,  # a version is never used again, so its row stays
        "namespaces": _CHANGE,
        "access_policy": _CHANGE,
        "audit_checkpoints": _CHANGE,
        "erasure_certificates": _CHANGE,
        "shreddings": _ALL,
        "shredded_keks": _ALL,
        "shards": _CHANGE,
        "executions": _ALL,
        "execution_maps": _ALL,
        "current_executions": _ALL,
        "history_node": _ALL,
        "history_tree": _ALL,
        "history_tasks": _ALL,
        "replication_dlq_tasks": _ALL,
        "task_queues": _ALL,
        "tasks": _ALL,
        "task_queue_user_data": _ALL,
        "build_id_to_task_queue": _ALL,
        "cluster_metadata": _ALL,
        "cluster_membership": _ALL,
        "queues": _CHANGE,
        "queue_messages": _ALL,
        "queues_v2": _CHANGE,
        "queue_v2_messages": _ALL,
        "nexus_endpoints": _ALL,
        "visibility_records": _ALL,
        "visibility_outbox": _ALL,
        "visibility_deletes": _ALL,
    }
)
"""What the role may do with each table and view; nothing else, and nothing with any other."""

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
    """Give a role exactly the rights of `RIGHTS`, whatever it had on the schema before.

    Raises:
        InvalidPersistenceRequest: there is no such role, or the second wall would not hold it.
    """
    row = await connection.fetchrow(_ROLE, role, SCHEMA)
    if row is None:
        msg = "there is no such role in the database; make it first: CREATE ROLE name LOGIN PASSWORD '...'"
        raise InvalidPersistenceRequest(msg)
    reasons = {
        "is a superuser": row["superuser"],
        "has BYPASSRLS": row["bypasses"],
        "may make roles (CREATEROLE)": row["creates_roles"],
        "owns the schema, or is a member of the role that does": row["owns"],
    }
    if reason := next((reason for reason, applies in reasons.items() if applies), None):
        msg = f"row-level security would not hold this role: it {reason}; take another role for services"
        raise InvalidPersistenceRequest(msg)
    for statement in grants(row["name"]):
        await connection.execute(statement)


def grants(name: str) -> list[str]:
    """Return the statements that give a role its rights.

    Args:
        name: of the role, quoted as an identifier.
    """
    return [
        f"REVOKE ALL ON ALL TABLES IN SCHEMA {SCHEMA} FROM {name}",
        f"REVOKE ALL ON SCHEMA {SCHEMA} FROM {name}",
        f"GRANT USAGE ON SCHEMA {SCHEMA} TO {name}",
        *(f"GRANT {rights} ON {SCHEMA}.{table} TO {name}" for table, rights in RIGHTS.items()),
        f"GRANT EXECUTE ON ALL FUNCTIONS IN SCHEMA {SCHEMA} TO {name}",
    ]


async def driver_roles(connection: Connection) -> Sequence[str]:
    """Return the roles that were given rights on the schema."""
    return [row["name"] for row in await connection.fetch(_GRANTED, SCHEMA)]
