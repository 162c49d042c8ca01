"""Connections and transactions."""

from __future__ import annotations

import asyncio
import time
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

import asyncpg

from strongroom.storage.errors import DatabaseUnavailable, StorageError

from .connection import SCHEMA, UnlimitedConnection
from .row_level_security import row_security_active, setting_of, setting_statement
from .server_address import connection_options
from .translate import translated

if TYPE_CHECKING:
    import ssl
    from collections.abc import AsyncIterator, Callable

    from .connection import Connection
    from .row_level_security import VisibleNamespaces
    from .watch import DatabaseWatch

_BY_KEY = {
    "enable_hashjoin": "off",
    "enable_mergejoin": "off",
    "enable_seqscan": "off",
    "plan_cache_mode": "force_generic_plan",
    "jit": "off",
}
_NO_LIMITS = "SET LOCAL statement_timeout = 0; SET LOCAL idle_in_transaction_session_timeout = 0"
_CLOSING_ERRORS = (asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError, OSError, TimeoutError)
"""Errors of a server that does not answer when a connection is closed. The connection is then dropped."""


class Database:
    """A bounded pool of connections, without the reset query that asyncpg's pool sends on each release.

    The only state of a session that changes outside a transaction is the set of namespaces that it may see. Each borrower sets
    that again, so there is nothing to reset. A connection that comes back broken or inside a transaction is closed.

    Attributes:
        size: The maximum number of connections open at once.
        answer_timeout: Seconds to wait for an answer. A working server stops the statement earlier, so no answer means a lost server.
        lent: The number of connections in use. It is counted only if `watch` is set.
        watch: The observer of the connections; None for no observer. It is set before the first connection is lent.

    Args:
        dsn: The PostgreSQL connection string.
        size: The maximum number of connections open at once; a further caller waits.
        statement_timeout: Seconds after which the server stops a statement.
        lock_timeout: Seconds that a statement waits for one lock; 0 for no separate limit.
        connect_timeout: Seconds to make a connection, and to wait for a free one.
        grace: Seconds to wait, after `statement_timeout`, for the server's report that it stopped the statement.
        by_key: Whether all statements look up rows by their keys. The planner then uses indexes and one generic plan, so that
            no plan for a small table is kept after the table has grown.
        distributed: Whether the server is the coordinator of a Citus cluster. Generic plans are then not used, because Citus
            finds the node of a statement only if it plans for the actual parameters.
        tls: The TLS context, of `postgres_context`; None for the system's authorities.
        insecure: Whether TLS is off, which is allowed for Unix sockets and loopback addresses.
        clock: Returns the time in seconds for the durations that `watch` gets; it never goes backwards.

    Raises:
        InvalidRequest: The dsn is not valid, contradicts the TLS settings, or `insecure` does not fit its hosts.
    """

    def __init__(  # noqa: PLR0913 - the settings of a process, given once
        self,
        dsn: str,
        *,
        size: int = 4,
        statement_timeout: float = 30.0,
        lock_timeout: float = 0.0,
        connect_timeout: float = 10.0,
        grace: float = 5.0,
        by_key: bool = False,
        distributed: bool = False,
        tls: ssl.SSLContext | None = None,
        insecure: bool = False,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.size = size
        self.lent = 0
        self.watch: DatabaseWatch | None = None
        self._server = connection_options(dsn, tls=tls, insecure=insecure)
        self._settings = {
            "application_name": "strongroom",
            "search_path": SCHEMA,
            "timezone": "UTC",
            # A default of the role or the database must not change what a statement sees or means.
            "default_transaction_isolation": "read committed",
            "row_security": "on",
            "array_nulls": "on",
            "statement_timeout": str(int(statement_timeout * 1000)),
            "lock_timeout": str(int(lock_timeout * 1000)),
        } | (_BY_KEY if by_key else {})
        if distributed:
            self._settings["plan_cache_mode"] = "auto"
        self.answer_timeout = statement_timeout + grace
        self._grace = grace
        self._clock = clock
        self._connect_timeout = connect_timeout
        self._idle: list[asyncpg.Connection[Any]] = []
        # The setting of each session that row-level security applies to. The session of a role that sees all rows is not here.
        self._settings_seen: WeakKeyDictionary[asyncpg.Connection[Any], str] = WeakKeyDictionary()
        self._free = asyncio.Semaphore(size)
        self._closed = False

    @asynccontextmanager
    async def connection(self, namespaces: VisibleNamespaces) -> AsyncIterator[Connection]:
        """Lend a connection. Each statement on it is a transaction of its own.

        Args:
            namespaces: The namespaces whose rows the statements may read and write; see `row_level_security.py`.

        Raises:
            DatabaseUnavailable: The server can't be reached, or all connections were busy for too long.
        """
        async with self._lent(namespaces) as connection:
            with translated():
                yield connection

    @asynccontextmanager
    async def transaction(
        self, namespaces: VisibleNamespaces, *, read_only: bool = False, unlimited: bool = False
    ) -> AsyncIterator[Connection]:
        """Lend a connection in a transaction, which is committed unless the block raises an error.

        Args:
            namespaces: The namespaces whose rows the statements may read and write.
            read_only: Whether the transaction is read-only. All its statements then see one snapshot.
            unlimited: Whether the statements have no time limit.

        Raises:
            DatabaseUnavailable: The server can't be reached, or all connections were busy for too long.
        """
        isolation = "repeatable_read" if read_only else "read_committed"
        async with self._lent(namespaces) as connection:
            with translated():
                async with connection.transaction(isolation=isolation, readonly=read_only):  # type: ignore[arg-type]
                    if unlimited:
                        await connection.execute("SET LOCAL statement_timeout = 0")
                    yield UnlimitedConnection(connection) if unlimited else connection

    @asynccontextmanager
    async def dedicated_transaction(self) -> AsyncIterator[Connection]:
        """Open a connection for one transaction without time limits, for example to hold an advisory lock.

        It is not one of the `size` connections, so that its holder can use those meanwhile.

        Raises:
            DatabaseUnavailable: The server can't be reached.
        """
        connection = await self._connect()
        try:
            with translated():
                async with connection.transaction():
                    await connection.execute(_NO_LIMITS)
                    yield UnlimitedConnection(connection)
        finally:
            connection.terminate()

    def has_row_level_security(self, connection: Connection) -> bool:
        """Return whether row-level security applies to the session of a connection that was lent."""
        return connection in self._settings_seen

    async def aclose(self) -> None:
        """Close all connections that are not lent."""
        self._closed = True
        idle, self._idle = self._idle, []
        await asyncio.gather(*map(self._close, idle))

    async def _close(self, connection: asyncpg.Connection[Any]) -> None:
        with suppress(*_CLOSING_ERRORS):
            await connection.close(timeout=self._grace)

    async def acquire(self) -> asyncpg.Connection[Any]:
        """Take a connection, for callers that can't use the context managers. `release` gives it back.

        The session still sees the previous borrower's namespaces. Only call functions in `sql/*/functions`, which set their own.

        Raises:
            DatabaseUnavailable: The server can't be reached, or all connections were busy for too long.
        """
        if self._free.locked():
            try:
                async with asyncio.timeout(self._connect_timeout):
                    await self._free.acquire()
            except TimeoutError:
                msg = "all connections to the database were busy for too long"
                raise DatabaseUnavailable(msg) from None
        else:
            await self._free.acquire()
        try:
            connection = await self._take()
        except BaseException:
            self._free.release()
            raise
        if self.watch is not None:
            self.lent += 1
        return connection

    def release(self, connection: asyncpg.Connection[Any], *, broken: bool = False) -> None:
        """Give a connection back.

        Args:
            connection: The connection.
            broken: Whether its state is unknown. It is then closed.
        """
        self._free.release()
        if self.watch is not None:
            self.lent -= 1
        if connection.is_closed():
            return
        if broken or self._closed or connection.is_in_transaction():
            connection.terminate()
        else:
            self._idle.append(connection)

    @asynccontextmanager
    async def _lent(self, namespaces: VisibleNamespaces) -> AsyncIterator[asyncpg.Connection[Any]]:
        connection = await self.acquire()
        broken = False
        started = 0.0 if self.watch is None else self._clock()
        try:
            setting = setting_of(namespaces)
            if setting is not None and self._settings_seen.get(connection, setting) != setting:
                with translated():
                    await self._set_visible(connection, setting)
            yield connection
        except StorageError as error:
            broken = error.may_have_been_committed
            raise
        finally:
            self.release(connection, broken=broken)
            if self.watch is not None:
                self.watch.used(self._clock() - started)

    async def _set_visible(self, connection: asyncpg.Connection[Any], setting: str) -> None:
        """Set the namespaces that a session sees. If the outcome is unknown, close the connection."""
        try:
            await connection.execute(setting_statement(setting))
        except BaseException:
            connection.terminate()
            raise
        self._settings_seen[connection] = setting

    async def listen(
        self, channel: str, notified: Callable[[str], None], *, listening: Callable[[], None] = lambda: None
    ) -> None:
        """Call a function for each notification of a channel, until the connection is lost. `size` does not count it.

        Args:
            channel: The channel's name.
            notified: Called with the payload of each notification.
            listening: Called once, when listening has begun. No later notification is missed while the connection lasts.

        Raises:
            DatabaseUnavailable: The server can't be reached.
        """
        connection = await self._connect()
        lost = asyncio.Event()
        try:
            connection.add_termination_listener(lambda _: lost.set())
            with translated():
                await connection.add_listener(channel, lambda *details: notified(str(details[-1])))
            listening()
            await lost.wait()
        finally:
            connection.terminate()

    async def _take(self) -> asyncpg.Connection[Any]:
        while self._idle:
            connection = self._idle.pop()
            if not connection.is_closed():
                return connection
        if self._closed:
            msg = "the database handle is closed"
            raise DatabaseUnavailable(msg)
        return await self._connect()

    async def _connect(self) -> asyncpg.Connection[Any]:
        with translated(connecting=True):
            connection: asyncpg.Connection[Any] = await asyncpg.connect(
                **self._server,
                timeout=self._connect_timeout,
                command_timeout=self.answer_timeout,
                server_settings=self._settings,
            )
            try:
                if await row_security_active(connection):
                    self._settings_seen[connection] = ""  # no namespace, until a borrower sets one
            except BaseException:
                connection.terminate()
                raise
        return connection
