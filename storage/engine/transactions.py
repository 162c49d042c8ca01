"""Transactions. A caller that gives up never waits for a silent server."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING, Any, Literal

import asyncpg

from strongroom.storage.errors import NotCommitted

from .transaction_ends import Outcome, TransactionEnds
from .translate import to_storage_error

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from .own_session import OwnSession

ROLLBACK_TIMEOUT = 1.0
"""Seconds that ROLLBACK may take. After that the connection is closed, which has the same effect."""
CLOSING_ERRORS = (asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError, OSError, TimeoutError)
"""Errors of a server that does not answer when a connection is closed. The connection is then dropped."""


@asynccontextmanager
async def transaction_on(
    connection: OwnSession, *, isolation: Literal["read_committed", "repeatable_read"], read_only: bool
) -> AsyncIterator[None]:
    """Run a block in a transaction, which is committed unless the block raises an error.

    PostgreSQL answers the COMMIT of a transaction in which a statement failed with ROLLBACK, and with no error. So a block that
    handles the error of a statement itself, without a savepoint, gets an error here.

    A caller that is cancelled, or whose statement timed out, does nothing with the connection. `Database.release` closes it, and the
    server rolls back. So the error reaches the caller at once, and it is the block's own.

    Args:
        connection: The connection.
        isolation: The isolation level.
        read_only: Whether the transaction is read-only.

    Raises:
        NotCommitted: A statement of the block failed, and the block did not raise its error.
    """
    transaction = connection.transaction(isolation=isolation, readonly=read_only)
    await transaction.start()
    ends = connection.ends = TransactionEnds()
    outcome = Outcome.ROLLED_BACK  # as long as COMMIT is not sent
    try:
        try:
            yield
        finally:
            connection.ends = None
        outcome = Outcome.UNKNOWN
        await transaction.commit()
        outcome = Outcome.ROLLED_BACK if connection.command_tag == "ROLLBACK" else Outcome.COMMITTED
    except asyncio.CancelledError:
        raise
    except BaseException as error:
        if outcome is Outcome.ROLLED_BACK and not (connection.is_closed() or is_cancelling(connection)):
            await _rolled_back(connection, transaction)
        elif (refused := to_storage_error(error)) is not None and not refused.may_have_been_committed:
            outcome = Outcome.ROLLED_BACK
        raise
    finally:
        ends.end(outcome)
    if outcome is Outcome.ROLLED_BACK:
        raise NotCommitted


async def _rolled_back(connection: asyncpg.Connection[Any], transaction: Any) -> None:
    try:
        async with asyncio.timeout(ROLLBACK_TIMEOUT):
            await transaction.rollback()
    except CLOSING_ERRORS:
        connection.terminate()


def is_cancelling(connection: asyncpg.Connection[Any]) -> bool:
    """Return whether a statement of an open connection was given up, and the server has not confirmed its end yet."""
    protocol: Any = connection._protocol  # type: ignore[attr-defined]  # noqa: SLF001 - asyncpg's own pool asks the same way
    return bool(protocol._is_cancelling())  # noqa: SLF001


async def close(connection: asyncpg.Connection[Any], *, timeout: float) -> None:  # noqa: ASYNC109 - asyncpg's
    """Close a connection. Cancel its statement first, and give the server some seconds for both.

    Args:
        connection: The connection.
        timeout: Seconds for the server. After that the connection is dropped.
    """
    try:
        with suppress(*CLOSING_ERRORS):
            await connection.close(timeout=timeout)
    finally:
        connection.terminate()
