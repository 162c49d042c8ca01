"""A connection for statements that PostgreSQL refuses in a transaction, without time limits."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from .connection import UnlimitedConnection
from .noted_commits import noted
from .session_settings import without_limits
from .translate import translated

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from .connection import Connection
    from .database import Database


@asynccontextmanager
async def dedicated_connection(database: Database) -> AsyncIterator[Connection]:
    """Open a connection without time limits whose statements are transactions of their own. It sees no namespace.

    It is not one of the connections of the pool.

    Raises:
        DatabaseUnavailable: The server can't be reached.
    """
    connection = await database.connect()
    try:
        with translated():
            await connection.execute(
                without_limits(connection.session, "statement_timeout", "lock_timeout", scope="SET")
            )
            yield noted(UnlimitedConnection(connection))
    finally:
        connection.terminate()
