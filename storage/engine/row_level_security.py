"""Row-level security of PostgreSQL (DESIGN.md, "Row-level security").

A policy on each table that has a `namespace_id` lets a session read and write only the rows of the namespaces in its setting. The
borrower of a connection names these namespaces; the functions in `sql/*/functions` set them themselves. The policies apply to the
driver's role. They do not apply to an owner of the tables, a superuser or a role with BYPASSRLS.

The setting begins with the mark of its session, and so does each statement (`own_session.py`).
"""

from __future__ import annotations

from collections.abc import Collection
from enum import Enum
from secrets import token_hex
from typing import Final, Literal, TypeAlias
from uuid import UUID

from strongroom.storage.errors import InvalidPersistenceRequest

SETTING = "strongroom.namespaces"
SET_NAMESPACES = f"""
SELECT set_config('{SETTING}', $1 || $2, false) WHERE left(current_setting('{SETTING}', true), 20) = $1
"""
"""If the session has the mark $1, sets the namespaces that it sees to $2, and returns a row."""
LOST_SESSION = "strongroom.session_of_this_statement"
"""A parameter that never exists. The policies read it to make a statement fail that is not in the session of its connection."""


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


def setting_of(namespaces: VisibleNamespaces) -> str | None:
    """Return the value of the session's setting; None if the statement does not depend on it.

    Raises:
        InvalidPersistenceRequest: A namespace is not a UUID. A text could be a star, or end the statement that sets it.
    """
    if isinstance(namespaces, UUID):
        return str(namespaces)
    if isinstance(namespaces, _Visibility):
        return namespaces.value or None
    if not isinstance(namespaces, Collection) or not all(isinstance(one, UUID) for one in namespaces):
        msg = "namespace_id must be a UUID"
        raise InvalidPersistenceRequest(msg)
    return ",".join(map(str, namespaces))


def new_mark() -> str:
    """Return the mark of a new session, of 20 characters. It is a comment, because each statement of the session begins with it."""
    return f"/*{token_hex(8)}*/"
