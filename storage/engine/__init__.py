"""Connections, transactions and statements: everything that knows asyncpg.

`database.py` lends connections (`idle.py`, `transactions.py`), and `row_level_security.py` says which rows they see. `connector.py`
opens them: `connecting.py` finds a server, `session_settings.py` begins a session, and `poolers.py` refuses poolers that share
sessions. `notifications.py` listens. `group_commit.py` lets calls share a statement,
by the rules in `group_commit_states.py`. A write waits for its barrier (`barrier.py`). `functions.py` and `queries.py` load the SQL,
and `translate.py` translates the errors.
"""

from .barrier import Barrier
from .connection import Connection, Row
from .database import Database
from .row_level_security import EVERY_NAMESPACE, NO_NAMESPACE, SET_BY_FUNCTION, VisibleNamespaces
from .server_address import addresses, check_dsn, is_local, postgres_context
from .watch import DatabaseWatch, StatementReport

__all__ = [
    "EVERY_NAMESPACE",
    "NO_NAMESPACE",
    "SET_BY_FUNCTION",
    "Barrier",
    "Connection",
    "Database",
    "DatabaseWatch",
    "Row",
    "StatementReport",
    "VisibleNamespaces",
    "addresses",
    "check_dsn",
    "is_local",
    "postgres_context",
]
