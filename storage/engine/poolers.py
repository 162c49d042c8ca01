"""Refuse poolers that give the statements of one connection to different sessions (DESIGN.md, "Poolers").

Each new connection checks that its second statement meets the session that the first one has set (`session_settings.py`). That
misses a pooler that happens to give it the same session twice. `check_sessions` forces such a pooler to show itself. A pooler that
begins to share sessions later is found by the statements themselves (`own_session.py`).
"""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack, suppress
from secrets import token_hex
from typing import TYPE_CHECKING, Any, TypeVar

import asyncpg

from strongroom.kms.loop_deadline import loop_deadline
from strongroom.storage.errors import PoolingNotSupported

from .session_settings import keeps_session

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from .session_settings import Session

_Opened = TypeVar("_Opened", bound="asyncpg.Connection[Any]")
_HOLDERS = 3
"""Connections that hold a transaction during the check, so that a shared session is given to one of them."""
_CONSOLE = "pgbouncer"
"""The name of PgBouncer's administration database. PgBouncer answers for it, whether or not the user may use it."""
_IDENTIFIED: Mapping[str, str] = {
    "no pool configured": "PgCat",
    "odyssey": "Odyssey",
    "supavisor": "Supavisor",
    "tenant or user not found": "Supavisor",
    "not allowed": "PgBouncer",
    "no such user": "PgBouncer",
    "bouncer": "PgBouncer",
}
"""Texts of the answers of poolers for that database."""
_STATEMENT_POOLING = "statement pooling"
_NAMING_SECONDS = 3.0


async def check_sessions(
    connect: Callable[[], Awaitable[_Opened]], begin: Callable[[_Opened], Awaitable[Session]], *, patience: float
) -> bool:
    """Check that each connection keeps its session, also while it is idle and others need sessions.

    - No two open connections may have the same server process.
    - A session must still be there after other connections have begun transactions.
    - A notification must reach a connection that sends nothing. It can't if the connection has no session between its statements,
      whichever session it would be given next.

    Args:
        connect: Opens a connection without settings.
        begin: Begins the session of a connection, and sets its settings.
        patience: Seconds to wait for the notification.

    Returns:
        Whether there is a pooler or proxy, as far as the server's process shows it.

    Raises:
        PoolingNotSupported: A session was shared or lost.
        DatabaseUnavailable: Not all connections of the check could be opened.
    """
    async with AsyncExitStack() as stack:

        async def opened() -> tuple[_Opened, Session]:
            connection = await connect()
            stack.callback(connection.terminate)
            return connection, await begin(connection)

        idle, session = await opened()
        heard = asyncio.Event()
        channel = f"strongroom_session_{token_hex(8)}"
        await idle.add_listener(channel, lambda *_: heard.set())
        others = [session.process]
        for _ in range(_HOLDERS):
            holder, theirs = await opened()
            if theirs.process in others:
                raise PoolingNotSupported
            others.append(theirs.process)
            await _hold(holder)
            if not await keeps_session(holder, theirs) or not await keeps_session(idle, session):
                raise PoolingNotSupported
        await holder.execute(f"NOTIFY {channel}; COMMIT")
        try:
            async with loop_deadline(patience):  # a busy event loop is not taken for a pooler
                await heard.wait()
        except TimeoutError:
            raise PoolingNotSupported from None
        return idle.get_server_pid() != session.process


async def _hold(connection: asyncpg.Connection[Any]) -> None:
    """Begin a transaction, so that no other connection is given its session."""
    try:
        await connection.transaction().start()
    except asyncpg.PostgresError as error:
        if _STATEMENT_POOLING in str(error):
            raise PoolingNotSupported from None
        raise


async def name_of_pooler(options: Mapping[str, Any], *, timeout: float = _NAMING_SECONDS) -> str:  # noqa: ASYNC109 - asyncpg's
    """Return the name of the pooler in front of a server, with its version if the pooler reports it; "" if it is not known.

    Args:
        options: The arguments of `asyncpg.connect`.
        timeout: Seconds for each of two attempts.
    """
    with suppress(asyncpg.PostgresError, asyncpg.InterfaceError, OSError, TimeoutError, ValueError):
        connection = await asyncpg.connect(**options, timeout=timeout)
        try:
            if "SHOW" in await connection.execute("SHOW pool_version", timeout=timeout):
                return "Pgpool-II"
        except asyncpg.PostgresError:
            pass
        finally:
            connection.terminate()
    try:
        console = await asyncpg.connect(**{**options, "database": _CONSOLE}, timeout=timeout)
    except (asyncpg.PostgresError, asyncpg.InterfaceError, OSError, TimeoutError, ValueError) as error:
        said = str(error).lower().replace(f'"{_CONSOLE}"', "")  # PostgreSQL repeats the name of a missing database
        return next((name for text, name in _IDENTIFIED.items() if text in said), "")
    version = str(getattr(console.get_settings(), "server_version", ""))
    console.terminate()
    return f"PgBouncer {version.partition('/')[0]}" if "bouncer" in version else ""
