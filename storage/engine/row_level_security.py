"""Row-level security of PostgreSQL (DESIGN.md, "Row-level security").

A policy on each table that has a `namespace_id` lets a session read and write only the rows of the namespaces in its setting. The
borrower of a connection names these namespaces; the functions in `sql/*/functions` set them themselves. The policies apply to the
driver's role. They do not apply to an owner of the tables, a superuser or a role with BYPASSRLS.
"""

from __future__ import annotations

from collections.abc import Collection
from enum import Enum
from typing import TYPE_CHECKING, Final, Literal, TypeAlias
from uuid import UUID

from .connection import SCHEMA

if TYPE_CHECKING:
    from .connection import Connection

SETTING = "strongroom.namespaces"


class _Visibility(Enum):
    EVERY_NAMESPACE = "*"
    SET_BY_FUNCTION = ""


EVERY_NAMESPACE: Final = _Visibility.EVERY_NAMESPACE
"""For jobs of the whole cell: queues of a shard, the outbox, resealing, and the search for a name or for the users of a KEK."""
SET_BY_FUNCTION: Final = _Visibility.SET_BY_FUNCTION
"""For statements that only call functions in `sql/*/functions`, which set the namespaces themselves."""
NO_NAMESPACE: Final[Collection[UUID]] = ()
"""For tables without a namespace."""

VisibleNamespaces: TypeAlias = (
    UUID | Collection[UUID] | Literal[_Visibility.EVERY_NAMESPACE, _Visibility.SET_BY_FUNCTION]
)
"""The namespaces whose rows a statement may read and write."""

_IS_ACTIVE = """
    SELECT coalesce((
        SELECT row_security_active(c.oid) FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace
        WHERE n.nspname = $1 AND c.relname = 'history_node'
    ), true) AS active, set_config($2, '', false)
"""


async def row_security_active(connection: Connection) -> bool:
    """Return whether the policies apply to the session's role, and let the session see no namespace.

    The server may have given the session another setting: a default of the role or of the database, or a parameter of the dsn.

    If the table is missing, return True. Setting the namespaces does no harm if no policy applies.
    """
    row = await connection.fetchrow(_IS_ACTIVE, SCHEMA, SETTING)
    return row is None or bool(row["active"])


def setting_of(namespaces: VisibleNamespaces) -> str | None:
    """Return the value of the session's setting; None if the statement does not depend on it."""
    if isinstance(namespaces, UUID):
        return str(namespaces)
    if isinstance(namespaces, _Visibility):
        return namespaces.value or None
    return ",".join(map(str, namespaces))


def setting_statement(setting: str) -> str:
    """Return the statement that sets the setting. Its value is ids or a star, so nothing needs to be quoted."""
    return f"SET {SETTING} = '{setting}'"
