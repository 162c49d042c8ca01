"""Opens connections of one `Database`, each with a session of its own that has the database's settings."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import asyncpg

from strongroom.storage.errors import DatabaseTimeout, PoolingNotSupported, SchemaMismatch, StorageError

from .connecting import connect_to_any
from .poolers import check_sessions, name_of_pooler
from .session_settings import begin_session, keeps_session
from .transactions import CLOSING_ERRORS
from .translate import translated

if TYPE_CHECKING:
    from collections.abc import Mapping

    from .own_session import OwnSession
    from .session_settings import Session

_SESSION_PATIENCE = 5.0
"""Seconds that a notification may take in the check of sessions."""
_POOLER_WAITED = "query_wait_timeout"
"""PgBouncer's setting, and its message for a client that waited for that long."""
_NO_SESSION = (
    "If this is a pooler, its pool may be too small: raise default_pool_size in PgBouncer, or lower database.connections; "
    "see docs/how-to/pgbouncer.md. Otherwise check the load of the server"
)


class Connector:
    """Opens connections.

    Args:
        server: The arguments of `asyncpg.connect`, as `connection_options` returns them.
        settings: The settings of each session.
        timeout: Seconds to make a connection, with its session.
        answer_timeout: Seconds that a statement waits for its answer.
    """

    def __init__(
        self, server: Mapping[str, Any], settings: Mapping[str, str], *, timeout: float, answer_timeout: float
    ) -> None:
        self._server = server
        self._settings = settings
        self._timeout = timeout
        self._answer_timeout = answer_timeout
        self._naming: asyncio.Future[str] | None = None

    async def connect(self) -> OwnSession:
        """Open a connection and begin its session.

        Raises:
            DatabaseUnavailable: The server can't be reached, or a pooler had no session for the connection.
            PoolingNotSupported: A pooler gave the statements of the connection to different sessions.
        """
        connection = await self._bare_connection()
        try:
            with translated():
                connection.began(await self._begin(connection))
                return connection
        except BaseException as error:
            connection.terminate()
            if isinstance(error, PoolingNotSupported):
                raise await self._named() from None
            if isinstance(error, StorageError):
                error.may_have_been_committed = False  # no caller's statement was sent
            raise

    async def check_sessions(self) -> bool:
        """Check that the server, or the pooler in front of it, keeps one session for each connection.

        Returns:
            Whether there is a pooler, as far as the id of the server's process shows it.

        Raises:
            PoolingNotSupported: A pooler gives the statements of one connection to different sessions.
            DatabaseUnavailable: The server can't be reached, or a pooler had no session for a connection.
        """
        try:
            with translated():
                return await check_sessions(self._bare_connection, self._begin, patience=_SESSION_PATIENCE)
        except PoolingNotSupported:
            raise await self._named() from None
        except StorageError as error:
            error.may_have_been_committed = False
            raise

    async def name_of_pooler(self) -> str:
        """Return the name of the pooler in front of the server; "" if it is not known."""
        return await name_of_pooler(
            {**self._server, "host": self._server["host"][:1], "port": self._server["port"][:1]}
        )

    async def lost_session(self, connection: OwnSession, error: StorageError) -> PoolingNotSupported | None:
        """Return the error for a statement that failed in another session than its own, with the pooler's name if it is known.

        Args:
            connection: The connection of the statement.
            error: The error of the statement.

        Returns:
            None if the session was not the reason.
        """
        if isinstance(error, SchemaMismatch):  # the search path is in the session
            with suppress(*CLOSING_ERRORS):
                if not await keeps_session(connection, connection.session):
                    return await self._named()
        # An error after the statement, which may be committed, has its own message.
        is_other_session = isinstance(error, PoolingNotSupported) and not error.may_have_been_committed
        return await self._named() if is_other_session else None

    async def _named(self) -> PoolingNotSupported:
        """Return the error with the pooler's name, which is asked for once, because many calls may fail at the same time."""
        if self._naming is None:
            self._naming = asyncio.ensure_future(self.name_of_pooler())
        asked, name = self._naming, await asyncio.shield(self._naming)
        if not name and self._naming is asked:
            self._naming = None
        return PoolingNotSupported(pooler=name)

    async def _begin(self, connection: OwnSession) -> Session:
        """Begin the session of a new connection.

        A pooler may accept a connection while its pool has none to the server. The first statement then waits.

        Raises:
            DatabaseTimeout: There was no session for the connection.
        """
        try:
            async with asyncio.timeout(self._timeout):
                return await begin_session(connection, self._settings)
        except TimeoutError:
            waited = f"in {self._timeout:g} s"
        except asyncpg.PostgresError as error:
            if _POOLER_WAITED not in str(error):
                raise
            waited = f"within its {_POOLER_WAITED}"
        msg = f"the database at {connection.address} accepted a connection, but did not begin its session {waited}. {_NO_SESSION}"
        raise DatabaseTimeout(msg)

    async def _bare_connection(self) -> OwnSession:
        return await connect_to_any(self._server, timeout=self._timeout, command_timeout=self._answer_timeout)
