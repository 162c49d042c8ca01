"""Connections and transactions."""

from __future__ import annotations

import asyncio
import time
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Literal

from strongroom.storage.errors import DatabaseUnavailable, StorageError

from .connection import UnlimitedConnection, unwrapped
from .connector import Connector
from .idle import IdleConnections
from .noted_commits import noted, noted_at_commit
from .notifications import DEFAULT_PROBES, listen
from .row_level_security import setting_of
from .server_address import connection_options
from .session_settings import session_settings, without_limits
from .transactions import close, is_cancelling, transaction_on
from .translate import translated

if TYPE_CHECKING:
    import ssl
    from collections.abc import AsyncIterator, Callable

    from strongroom.storage.errors import PoolingNotSupported

    from .connection import Connection
    from .notifications import ProbeLimits
    from .own_session import OwnSession
    from .row_level_security import VisibleNamespaces
    from .watch import DatabaseWatch

STATEMENT_TIMEOUT = 30.0
"""Seconds after which the server stops a statement."""
CONNECT_TIMEOUT = 10.0
"""Seconds to wait for a connection."""
GRACE = 5.0
"""Seconds to wait for the report of a stopped statement."""
_IDLE = "idle_in_transaction_session_timeout"
_DROP_TIMEOUT = 1.0
"""Seconds in which the server may confirm that a statement was cancelled. The connection's place in the pool is free after that."""


class Database:
    """A bounded pool of connections, without the reset query that asyncpg's pool sends on each release.

    The only state of a session that changes outside a transaction is the set of namespaces that it may see. Each borrower sets
    that again, so there is nothing to reset. A connection that comes back broken, inside a transaction or with an unanswered statement
    is closed in the background, and its borrower does not wait for the server.

    Attributes:
        size: The maximum number of connections open at once.
        answer_timeout: Seconds to wait for an answer. A working server stops the statement earlier, so no answer means a lost server.
        lent: The number of connections in use. It is counted only if `watch` is set.
        distributed: Whether the server is the coordinator of a Citus cluster.
        watch: The observer of the connections; None for no observer. It is set before the first connection is lent.

    Args:
        dsn: The PostgreSQL connection string.
        size: The maximum number of connections open at once; a further caller waits.
        statement_timeout: Seconds after which the server stops a statement.
        lock_timeout: Seconds that a statement waits for one lock; 0 for no separate limit.
        connect_timeout: Seconds to make a connection, and to wait for a free one.
        grace: Seconds to wait, after `statement_timeout`, for the server's report that it stopped the statement.
        close_timeout: Seconds to wait for the server when `aclose` closes connections.
        probes: When the connections for notifications are probed.
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
        statement_timeout: float = STATEMENT_TIMEOUT,
        lock_timeout: float = 0.0,
        connect_timeout: float = CONNECT_TIMEOUT,
        grace: float = GRACE,
        close_timeout: float = 1.0,
        probes: ProbeLimits = DEFAULT_PROBES,
        by_key: bool = False,
        distributed: bool = False,
        tls: ssl.SSLContext | None = None,
        insecure: bool = False,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.size, self.distributed = size, distributed
        self.lent = 0
        self.watch: DatabaseWatch | None = None
        self.answer_timeout = statement_timeout + grace
        settings = session_settings(
            statement_timeout=statement_timeout, lock_timeout=lock_timeout, by_key=by_key, distributed=distributed
        )
        server = connection_options(dsn, tls=tls, insecure=insecure)
        self._connector = Connector(server, settings, timeout=connect_timeout, answer_timeout=self.answer_timeout)
        self._close_timeout = close_timeout
        self._probes = probes
        self._clock = clock
        self._connect_timeout = connect_timeout
        self._idle = IdleConnections(clock)
        self._dropping: set[asyncio.Task[None]] = set()
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
                yield noted(connection)

    @asynccontextmanager
    async def transaction(
        self, namespaces: VisibleNamespaces, *, read_only: bool = False, unlimited: bool = False
    ) -> AsyncIterator[Connection]:
        """Lend a connection in a transaction, which is committed unless the block raises an error.

        PostgreSQL rolls back a transaction in which a statement failed. A block that handles such an error itself needs a savepoint.

        Args:
            namespaces: The namespaces whose rows the statements may read and write.
            read_only: Whether the transaction is read-only. All its statements then see one snapshot.
            unlimited: Whether the statements have no time limit.

        Raises:
            DatabaseUnavailable: The server can't be reached, or all connections were busy for too long.
            NotCommitted: A statement of the block failed, and the block did not raise its error. Nothing was committed.
        """
        isolation: Literal["repeatable_read", "read_committed"] = "repeatable_read" if read_only else "read_committed"
        async with self._lent(namespaces) as connection:
            with translated(), noted_at_commit() as noting:
                async with transaction_on(connection, isolation=isolation, read_only=read_only):
                    if connection.for_nodes:
                        await connection.show_on_nodes()
                    if unlimited:
                        await connection.execute(without_limits(connection.session, "statement_timeout"))
                    yield noting(UnlimitedConnection(connection) if unlimited else connection)

    @asynccontextmanager
    async def dedicated_transaction(self) -> AsyncIterator[Connection]:
        """Open a connection for one transaction without time limits, for example to hold an advisory lock.

        It is not one of the `size` connections, so that its holder can use those meanwhile.

        Raises:
            DatabaseUnavailable: The server can't be reached.
            NotCommitted: A statement of the block failed, and the block did not raise its error. Nothing was committed.
        """
        connection = await self._connector.connect()
        try:
            with translated():
                async with transaction_on(connection, isolation="read_committed", read_only=False):
                    await connection.execute(without_limits(connection.session, "statement_timeout", _IDLE))
                    yield UnlimitedConnection(connection)
        finally:
            connection.terminate()

    async def connect(self) -> OwnSession:
        """Open a connection that is not one of the `size` connections. The caller closes it."""
        return await self._connector.connect()

    def has_row_level_security(self, connection: Connection) -> bool:
        """Return whether row-level security applies to the session of a connection that was lent."""
        return bool(unwrapped(connection).session.row_level_security)

    async def aclose(self) -> None:
        """Close all connections that are not lent. A server that does not answer is waited for `close_timeout` at most."""
        self._closed = True
        await self._idle.aclose(timeout=self._close_timeout)
        if self._dropping:
            await asyncio.wait(self._dropping)

    async def acquire(self) -> OwnSession:
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

    def release(self, connection: OwnSession, *, broken: bool = False) -> None:
        """Give a connection back.

        Args:
            connection: The connection.
            broken: Whether its state is unknown. It is then closed, as is one with a transaction or an unanswered statement.
        """
        if self.watch is not None:
            self.lent -= 1
        connection.for_nodes = ""
        if connection.is_closed():
            self._free.release()
        elif broken or self._closed or is_cancelling(connection) or connection.is_in_transaction():
            dropping = asyncio.get_running_loop().create_task(self._drop(connection))
            self._dropping.add(dropping)
            dropping.add_done_callback(self._dropping.discard)
        else:
            self._idle.put(connection)
            self._free.release()

    async def _drop(self, connection: OwnSession) -> None:
        """Cancel the statement of a connection and close it, then let another caller have its place."""
        try:
            await close(connection, timeout=_DROP_TIMEOUT)
        finally:
            self._free.release()

    @asynccontextmanager
    async def _lent(self, namespaces: VisibleNamespaces) -> AsyncIterator[OwnSession]:
        connection = await self.acquire()
        broken = False
        started = 0.0 if self.watch is None else self._clock()
        try:
            setting = setting_of(namespaces)
            if setting is not None:
                with translated():
                    await connection.show(setting)
            yield connection
        except StorageError as error:
            lost = await self.lost_session(connection, error)
            broken = error.may_have_been_committed or lost is not None
            if lost is not None:
                raise lost from None
            raise
        finally:
            self.release(connection, broken=broken)
            if self.watch is not None:
                self.watch.used(self._clock() - started)

    async def lost_session(self, connection: OwnSession, error: StorageError) -> PoolingNotSupported | None:
        """Return the error for a statement that failed in another session than its own; see `Connector.lost_session`."""
        return await self._connector.lost_session(connection, error)

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
        await listen(self._connector.connect, channel, notified, listening=listening, probes=self._probes)

    async def check_sessions(self) -> bool:
        """Check that each connection keeps its session; see `Connector.check_sessions`."""
        return await self._connector.check_sessions()

    async def name_of_pooler(self) -> str:
        """Return the name of the pooler in front of the server, with its version if the pooler gives it; "" if it is not known."""
        return await self._connector.name_of_pooler()

    async def _take(self) -> OwnSession:
        connection = await self._idle.take()
        if connection is not None:
            return connection
        if self._closed:
            msg = "the database handle is closed"
            raise DatabaseUnavailable(msg)
        return await self._connector.connect()
