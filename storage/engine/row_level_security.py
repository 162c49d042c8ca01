"""The second wall between namespaces: row-level security of PostgreSQL (DESIGN.md, "The second wall").

A policy on each table that has a `namespace_id` shows a session the rows of the namespaces that it was told of, and lets it write no
others. Who lends a connection says which these are; the functions of `sql/functions` say so themselves. The policies hold for
the driver's role: an owner of the tables, a superuser and who has BYPASSRLS see everything.
"""

from __future__ import annotations

from collections.abc import Collection
from enum import Enum
from typing import TYPE_CHECKING, Final, Literal, TypeAlias
from uuid import UUID

if TYPE_CHECKING:
    from .connection import Connection

SETTING = "strongroom.namespaces"


class _Wall(Enum):
    EVERY_NAMESPACE = "*"
    SET_BY_FUNCTION = ""


EVERY_NAMESPACE: Final = _Wall.EVERY_NAMESPACE
"""For jobs of the whole cell: queues of a shard, the outbox, sealing anew, what looks for a name or for the users of a KEK."""
SET_BY_FUNCTION: Final = _Wall.SET_BY_FUNCTION
"""For what calls functions of `sql/functions` and nothing else."""
NO_NAMESPACE: Final[Collection[UUID]] = ()
"""For tables of the cell itself."""

VisibleNamespaces: TypeAlias = UUID | Collection[UUID] | Literal[_Wall.EVERY_NAMESPACE, _Wall.SET_BY_FUNCTION]
"""What a statement is about."""

_IS_ACTIVE = "SELECT row_security_active(oid) AS active FROM pg_class WHERE oid = to_regclass('history_node')"


async def row_security_active(connection: Connection) -> bool:
    """Return whether the policies hold for who is connected; False where there is no schema yet."""
    row = await connection.fetchrow(_IS_ACTIVE)
    return bool(row and row["active"])


def setting_of(namespaces: VisibleNamespaces) -> str | None:
    """Return the value of the session's setting; None where any will do."""
    if isinstance(namespaces, UUID):
        return str(namespaces)
    if isinstance(namespaces, _Wall):
        return namespaces.value or None
    return ",".join(map(str, namespaces))


def setting_statement(setting: str) -> str:
    """Return the statement that makes a setting: ids and a star, of which nothing needs to be quoted."""
    return f"SET {SETTING} = '{setting}'"
