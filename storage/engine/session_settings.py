"""The settings of a session. They are set by a statement after connecting, because a pooler may drop startup parameters.

A pooler may also lend a session that an earlier client has changed, so everything else is reset in the same statement.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from strongroom.storage.errors import PoolingNotSupported

from .connection import SCHEMA
from .row_level_security import SETTING, new_mark

if TYPE_CHECKING:
    from collections.abc import Mapping

    from .connection import Connection

_RESET = (
    "RESET SESSION AUTHORIZATION; RESET ALL; DEALLOCATE ALL; UNLISTEN *; SELECT pg_catalog.pg_advisory_unlock_all()"
)
_FIXED = {
    "client_encoding": "UTF8",
    "standard_conforming_strings": "on",
    "quote_all_identifiers": "off",  # before the search path, whose text is compared
    "application_name": "strongroom",
    "search_path": SCHEMA,
    "timezone": "UTC",
    # A default of the role or the database must not change what a statement sees or means.
    "default_transaction_isolation": "read committed",
    "row_security": "on",
    "array_nulls": "on",
    "gin_fuzzy_search_limit": "0",  # above 0, an index of tokens returns a random part of the rows
    "exit_on_error": "off",  # else an expected error, such as a name that exists, ends the session
}
# A count marks the rows that its tokens find. If the marks do not fit, PostgreSQL keeps whole pages, and compares every row of them.
_LEAST_MEMORY = "64MB"
_WITH_MEMORY = (
    f"SELECT pg_catalog.set_config('work_mem', '{_LEAST_MEMORY}', false) "
    f"WHERE pg_catalog.pg_size_bytes(pg_catalog.current_setting('work_mem')) < pg_catalog.pg_size_bytes('{_LEAST_MEMORY}')"
)
_BY_KEY = {
    "enable_hashjoin": "off",
    "enable_mergejoin": "off",
    "enable_seqscan": "off",
    "plan_cache_mode": "force_generic_plan",
    "jit": "off",
}
_PROPAGATED = "citus.propagate_set_commands"
_ON_CITUS = {
    "plan_cache_mode": "auto",
    # Otherwise each look at the catalogue compares every table with the names of all shards: asyncpg's of array types took 3 to 27 s.
    "citus.override_table_visibility": "off",
    # SET LOCAL goes to the nodes of its transaction, so that the policies there know the namespaces.
    _PROPAGATED: "local",
}
# If the table of histories is missing, the policies count as active. Setting the namespaces does no harm if no policy applies.
_STATE = f"""
SELECT current_setting('search_path') AS search_path, current_setting('{SETTING}', true) AS namespaces, pg_backend_pid() AS process,
    coalesce((
        SELECT row_security_active(c.oid) FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace
        WHERE n.nspname = '{SCHEMA}' AND c.relname = 'history_node'
    ), true) AS row_level_security,
    current_setting('transaction_timeout', true) IS NOT NULL AS limits_transactions
"""  # noqa: S608 - our own names


@dataclass(frozen=True, slots=True)
class Session:
    """The session of a connection.

    Attributes:
        process: The server's process of the session.
        mark: A random text that only this session has. Its setting for row-level security begins with it.
        row_level_security: Whether the policies apply to the session's role.
        distributed: Whether tables are on other nodes, which the session's settings do not reach.
        limits_transactions: Whether the server has `transaction_timeout`, as PostgreSQL 17 and newer do.
    """

    process: int
    mark: str
    row_level_security: bool
    distributed: bool = False
    limits_transactions: bool = False


def session_settings(
    *, statement_timeout: float, lock_timeout: float, by_key: bool, distributed: bool
) -> Mapping[str, str]:
    """Return the settings of the sessions of a `Database`; its arguments have the same meaning."""
    settings = _FIXED | {
        "statement_timeout": str(int(statement_timeout * 1000)),
        "lock_timeout": str(int(lock_timeout * 1000)),
    }
    settings |= _BY_KEY if by_key else {}
    return settings | (_ON_CITUS if distributed else {})


async def begin_session(connection: Connection, settings: Mapping[str, str]) -> Session:
    """Reset a session, set its settings, and check that it has kept them.

    Raises:
        PoolingNotSupported: The next statement was answered by another session, or the settings were not kept.
    """
    mark = new_mark()  # alone, it shows no namespace
    changed = (f"SET {name} = '{value}'" for name, value in {**settings, SETTING: mark}.items())
    statements = [_RESET, *changed, _WITH_MEMORY]
    await connection.execute("; ".join(statements))
    row = await connection.fetchrow(_STATE)
    if row is None or row["namespaces"] != mark or row["search_path"] != SCHEMA:
        raise PoolingNotSupported
    return Session(
        row["process"], mark, bool(row["row_level_security"]), _PROPAGATED in settings, bool(row["limits_transactions"])
    )


def without_limits(session: Session, *names: str, scope: str = "SET LOCAL") -> str:
    """Return the statements that switch off time limits of the server, and `transaction_timeout` if the server has it.

    Args:
        session: The session.
        names: The settings.
        scope: "SET LOCAL" for the current transaction, "SET" for the session.
    """
    limits = [*names, *(["transaction_timeout"] if session.limits_transactions else [])]
    return "; ".join(f"{scope} {name} = 0" for name in limits)


async def keeps_session(connection: Connection, session: Session) -> bool:
    """Return whether the session of a connection is still the same one."""
    row = await connection.fetchrow(_STATE)
    if row is None or row["process"] != session.process:
        return False
    return (row["namespaces"] or "").startswith(session.mark)
