"""Connections and transactions."""

from __future__ import annotations

import asyncio
import time
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

import asyncpg

from strongroom.storage.errors import DatabaseUnavailable, StorageError

from .connection import SCHEMA
from .row_level_security import row_security_active, setting_of, setting_statement
from .server_address import connection_options
from .translate import translated

if TYPE_CHECKING:
    import ssl
    from collections.abc import AsyncIterator, Callable, Sequence

    from .connection import Connection, Row
    from .row_level_security import VisibleNamespaces
    from .watch import DatabaseWatch

_BY_KEY = {
    "enable_hashjoin": "off",
    "enable_mergejoin": "off",
    "enable_seqscan": "off",
    "plan_cache_mode": "force_generic_plan",
    "jit": "off",
}

GRACE = 5.0
"""Seconds that the server has, beyond the time limit of a statement, to say that it stopped it."""
_DAY = 86_400.0


class _Patient:
    """A connection whose answers are waited for however long they take."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    async def execute(self, query: str, *args: object, timeout: float | None = None) -> str:  # noqa: ASYNC109 - asyncpg's
        return await self._connection.execute(query, *args, timeout=timeout or _DAY)

    async def fetch(self, query: str, *args: object, timeout: float | None = None) -> Sequence[Row]:  # noqa: ASYNC109
        return await self._connection.fetch(query, *args, timeout=timeout or _DAY)

    async def fetchrow(self, query: str, *args: object) -> Row | None:
        rows = await self.fetch(query, *args)
        return rows[0] if rows else None


async def _close(connection: asyncpg.Connection[Any]) -> None:
    # The errors are those of a server that does not say goodbye; the connection is cut then.
    with suppress(asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError, OSError, TimeoutError):
        await connection.close(timeout=GRACE)


class Database:
    """A bounded list of connections, without the reset query that asyncpg's pool sends on each release.

    Nothing here changes a session's state outside a transaction but the namespaces that it may see, which each borrower says anew;
    so there is nothing to reset. A connection that comes back broken or inside a transaction is closed instead.

    Attributes:
        size: the most connections open at once.
        answer_timeout: seconds after which the server is taken for gone: it would have stopped a statement by then.
        lent: how many connections are in use, while somebody watches.
        watch: is told of what is done with the connections; None for nobody. Set before the first is lent.

    Args:
        dsn: PostgreSQL connection string.
        size: the most connections open at once; a further caller waits.
        statement_timeout: seconds after which the server stops a statement.
        lock_timeout: seconds that a statement waits for one lock; 0 for as long as the statement may take.
        connect_timeout: seconds for making one connection, and for waiting for a free one.
        by_key: all statements look rows up by their keys. The planner is then held to index look-ups and to one plan
            for any parameters: a plan that was made while a table was small does not stay when it has grown.
        distributed: the server is the coordinator of a Citus cluster, which finds the node of a statement only while it
            plans for certain parameters; so there is no one plan for any.
        tls: what to connect with, of `postgres_context`; the system's authorities if None.
        insecure: no TLS, for Unix sockets and loopback addresses.

    Raises:
        InvalidRequest: the dsn is none, says something else of TLS, or `insecure` does not fit its hosts.
    """

    def __init__(
        self,
        dsn: str,
        *,
        size: int = 4,
        statement_timeout: float = 30.0,
        lock_timeout: float = 0.0,
        connect_timeout: float = 10.0,
        by_key: bool = False,
        distributed: bool = False,
        tls: ssl.SSLContext | None = None,
        insecure: bool = False,
    ) -> None:
        self.size = size
        self.lent = 0
        self.watch: DatabaseWatch | None = None
        self._server = connection_options(dsn, tls=tls, insecure=insecure)
        self._settings = {
            "application_name": "strongroom",
            "search_path": SCHEMA,
            "timezone": "UTC",
            "statement_timeout": str(int(statement_timeout * 1000)),
            "lock_timeout": str(int(lock_timeout * 1000)),
        } | (_BY_KEY if by_key else {})
        if distributed:
            self._settings["plan_cache_mode"] = "auto"
        self.answer_timeout = statement_timeout + GRACE
        self._connect_timeout = connect_timeout
        self._idle: list[asyncpg.Connection[Any]] = []
        # The namespaces that each connection's session may see, as it was set; a role that sees all is not here.
        self._sight: WeakKeyDictionary[asyncpg.Connection[Any], str] = WeakKeyDictionary()
        self._places = asyncio.Semaphore(size)
        self._closed = False

    @asynccontextmanager
    async def connection(self, namespaces: VisibleNamespaces) -> AsyncIterator[Connection]:
        """Lend a connection; statements on it commit by themselves.

        Args:
            namespaces: whose rows they may see and write; see `second_wall.py`.
        """
        async with self._lent(namespaces) as connection:
            with translated():
                yield connection

    @asynccontextmanager
    async def transaction(
        self, namespaces: VisibleNamespaces, *, read_only: bool = False, unlimited: bool = False
    ) -> AsyncIterator[Connection]:
        """Lend a connection in a transaction, committed when the block ends well.

        Args:
            namespaces: as for `connection`.
            read_only: nothing is written, and all statements see one snapshot.
            unlimited: no statement is stopped for taking long.
        """
        isolation = "repeatable_read" if read_only else "read_committed"
        async with self._lent(namespaces) as connection:
            with translated():
                async with connection.transaction(isolation=isolation, readonly=read_only):  # type: ignore[arg-type]
                    if unlimited:
                        await connection.execute("SET LOCAL statement_timeout = 0")
                    yield _Patient(connection) if unlimited else connection

    def is_walled(self, connection: Connection) -> bool:
        """Return whether row-level security holds the session of a connection that was lent."""
        return connection in self._sight

    async def aclose(self) -> None:
        """Close all connections that are not lent."""
        self._closed = True
        idle, self._idle = self._idle, []
        await asyncio.gather(*map(_close, idle))

    async def acquire(self) -> asyncpg.Connection[Any]:
        """Take a connection, for who can't use the context managers; `release` gives it back.

        Its session sees the namespaces of whoever had it before: it is for functions that set them.

        Raises:
            DatabaseUnavailable: the server can't be reached, or all connections were busy for too long.
        """
        if self._places.locked():
            try:
                async with asyncio.timeout(self._connect_timeout):
                    await self._places.acquire()
            except TimeoutError:
                msg = "all connections to the database were busy for too long"
                raise DatabaseUnavailable(msg) from None
        else:
            await self._places.acquire()
        try:
            connection = await self._take()
        except BaseException:
            self._places.release()
            raise
        if self.watch is not None:
            self.lent += 1
        return connection

    def release(self, connection: asyncpg.Connection[Any], *, broken: bool = False) -> None:
        """Give a connection back; a broken one is closed: nobody knows what its server is doing."""
        self._places.release()
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
        began = 0.0 if self.watch is None else time.monotonic()
        try:
            setting = setting_of(namespaces)
            if setting is not None and self._sight.get(connection, setting) != setting:
                with translated():
                    await self._show(connection, setting)
            yield connection
        except StorageError as error:
            broken = error.may_have_been_committed
            raise
        finally:
            self.release(connection, broken=broken)
            if self.watch is not None:
                self.watch.used(time.monotonic() - began)

    async def _show(self, connection: asyncpg.Connection[Any], setting: str) -> None:
        """Have a session see what is said and nothing else; where it is open what became of that, the connection is closed."""
        try:
            await connection.execute(setting_statement(setting))
        except BaseException:
            connection.terminate()
            raise
        self._sight[connection] = setting

    async def listen(
        self, channel: str, heard: Callable[[str], None], *, listening: Callable[[], None] = lambda: None
    ) -> None:
        """Call back at each notification of a channel, on a connection beyond `size`, until that is lost.

        Args:
            channel: its name.
            heard: is called with what was sent along.
            listening: is called once, when nothing more is missed.

        Raises:
            DatabaseUnavailable: the server can't be reached.
        """
        connection = await self._connect()
        lost = asyncio.Event()
        try:
            connection.add_termination_listener(lambda _: lost.set())
            with translated():
                await connection.add_listener(channel, lambda *about: heard(str(about[-1])))
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
                    self._sight[connection] = ""  # until it is told
            except BaseException:
                connection.terminate()
                raise
        return connection
