"""The checks of the connections to the database: sessions, and as many connections of each kind as a service opens."""

from __future__ import annotations

import asyncio
import time
from contextlib import AsyncExitStack
from secrets import token_hex
from typing import TYPE_CHECKING

from strongroom.storage import NO_NAMESPACE, DatabaseTimeout, StorageError

from .report import Finding, wrong
from .row_level_security import DATABASE

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from strongroom.driver.strongroom import Strongroom
    from strongroom.storage import Database

SESSIONS = "sessions"
SESSION_ADVICE = (
    "Set pool_mode = session for this database and user, or name the server in database.dsn; "
    "see docs/how-to/pgbouncer.md."
)
_ROOM = (
    "Allow more connections for this role: max_connections and CONNECTION LIMIT of the server, default_pool_size and "
    "max_db_connections of a PgBouncer. Or lower database.connections."
)
_PATIENCE = 10.0
"""Seconds that a notification may take."""


async def connections(strongroom: Strongroom) -> AsyncIterator[Finding]:
    """Open every kind of connection that a service uses, all at the same time, and report each kind.

    Raises:
        PoolingNotSupported: A pooler gives the statements of one connection to different sessions.
    """
    try:
        pooled = await strongroom.database.check_sessions()
    except DatabaseTimeout as error:
        yield wrong(DATABASE, SESSIONS, error, _ROOM)
        return
    text = "each connection keeps its own"
    if pooled:
        text += f", through {await strongroom.database.name_of_pooler() or 'a pooler'}"
    yield Finding(DATABASE, SESSIONS, text)
    size = strongroom.config.connections
    async with AsyncExitStack() as stack:
        pools = (
            ("transactions", strongroom.database, size),
            ("reads and writes by key", strongroom.by_key, size),
            ("key registry", strongroom.registry, 1),
        )
        for purpose, database, number in pools:
            yield await _opened(stack, purpose, database, number)
        yield await _locked(stack, strongroom.database)
        yield await _notified(strongroom.by_key, strongroom.database, "notifications of keys")
        if strongroom.search_index is not None:
            yield await _notified(strongroom.by_key, strongroom.database, "notifications of the outbox")


async def _opened(stack: AsyncExitStack, purpose: str, database: Database, number: int) -> Finding:
    check = f"connections for {purpose}"
    for opened in range(number):
        try:
            await stack.enter_async_context(database.connection(NO_NAMESPACE))
        except StorageError as error:
            return Finding(DATABASE, check, f"only {opened} of {number} were opened: {error}", "wrong", _ROOM)
    return Finding(DATABASE, check, f"{number} opened")


async def _locked(stack: AsyncExitStack, database: Database) -> Finding:
    """Open the connection that holds the lock during a shredding."""
    check = "connection for locks"
    try:
        await stack.enter_async_context(database.dedicated_transaction())
    except StorageError as error:
        return wrong(DATABASE, check, error, _ROOM)
    return Finding(DATABASE, check, "1 opened")


async def _notified(sender: Database, listener: Database, check: str) -> Finding:
    """Listen on a connection as a service does, and notify it from another one."""
    channel, heard, ready = f"strongroom_doctor_{token_hex(8)}", asyncio.Event(), asyncio.Event()
    listening = asyncio.create_task(listener.listen(channel, lambda _: heard.set(), listening=ready.set))
    try:
        await _first(listening, ready)
        started = time.perf_counter()
        async with sender.dedicated_transaction() as connection:
            await connection.execute(f"NOTIFY {channel}")
        await _first(listening, heard)
    except StorageError as error:
        return wrong(DATABASE, check, error, _ROOM)
    except TimeoutError:
        return Finding(DATABASE, check, f"none arrived within {_PATIENCE:g} s", "wrong", SESSION_ADVICE)
    finally:
        listening.cancel()
        await asyncio.gather(listening, return_exceptions=True)
    return Finding(DATABASE, check, f"arrived after {1000 * (time.perf_counter() - started):.0f} ms")


async def _first(listening: asyncio.Task[None], event: asyncio.Event) -> None:
    """Wait for an event. If listening ends before, raise its error."""
    waiting = asyncio.create_task(event.wait())
    try:
        done, _ = await asyncio.wait({listening, waiting}, timeout=_PATIENCE, return_when=asyncio.FIRST_COMPLETED)
    finally:
        waiting.cancel()
    if waiting in done:
        return
    if not done:
        raise TimeoutError
    await listening
    raise TimeoutError
